use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use peft_core::kernels::has_blocks;
use peft_format::{BlockType, Checkpoint, gguf};

use crate::{
    Description, HeadKind, ModelConfig, ModelError, ModelLayout, Part, Role,
    description::LANGUAGE_HEAD,
};

/// What a checkpoint holds of a classification head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadState {
    /// None: one is made for the task.
    Absent,
    /// One with this many outputs; `labels` names them where `config.json` does.
    Present {
        /// Number of outputs.
        outputs: usize,
        /// Their names, or nothing.
        labels: Vec<String>,
    },
}

impl HeadState {
    /// Refuse a head with another number of outputs.
    pub(crate) fn expect_outputs(&self, path: &Path, outputs: usize) -> Result<(), ModelError> {
        match self {
            Self::Present { outputs: found, .. } if *found != outputs => Err(ModelError::Head {
                path: path.to_owned(),
                problem: format!("its head has {found} outputs, but the task needs {outputs}"),
                fix: "put a new head on it with `new_head`, or use data with the head's labels"
                    .into(),
            }),
            _ => Ok(()),
        }
    }
}

/// How a weight is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// As floats.
    Floats(FloatDType),
    /// In the quantised blocks that the checkpoint has.
    Blocks(BlockType),
    /// In quantised blocks that are made of the checkpoint's values.
    Made(BlockType),
}

impl Storage {
    /// Bytes of so many values.
    pub fn bytes(self, values: usize) -> usize {
        match self {
            Self::Floats(FloatDType::F64) => 8 * values,
            Self::Floats(FloatDType::F16 | FloatDType::BF16) => 2 * values,
            Self::Floats(_) => 4 * values,
            Self::Blocks(kind) | Self::Made(kind) => {
                values.div_ceil(kind.block_len()) * kind.block_bytes()
            }
        }
    }
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Floats(FloatDType::F64) => f.write_str("F64"),
            Self::Floats(FloatDType::F16) => f.write_str("F16"),
            Self::Floats(FloatDType::BF16) => f.write_str("BF16"),
            Self::Floats(_) => f.write_str("F32"),
            Self::Blocks(kind) | Self::Made(kind) => kind.fmt(f),
        }
    }
}

/// A Hugging Face model folder, or a GGUF file in its words: its configuration and its tensors, not yet
/// read.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    config: ModelConfig,
    /// With the head that the checkpoint has, or that its kind has first.
    description: Description,
    checkpoint: Checkpoint,
    dtype: FloatDType,
    base_dtype: Option<FloatDType>,
    quantize: Option<BlockType>,
    /// Whether matrices of the checkpoint are quantised.
    quantised: bool,
    /// The modules that give the checkpoint's own scores, of sequences or of tokens, if they are to count for nothing.
    dropped: Vec<String>,
    /// Head and table of a model that has both in one, if they are to be two.
    parted: Option<TiedHead>,
}

/// The two names of what a model is in one that reads its table of tokens the other way round for its logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TiedHead {
    /// The head, such as `lm_head`.
    pub head: String,
    /// The table, such as `model.embed_tokens`.
    pub table: String,
}

impl ModelFolder {
    /// Open a folder, a GGUF file, or a folder with nothing but one GGUF file for a model; tensors are
    /// mapped, not read. The configuration of a GGUF file is that of its metadata, and its tensors have
    /// Hugging Face's names, shapes and order. Quantised ones are kept in their [blocks](Self::storage) where the
    /// device can multiply with them, and decoded one by one as they are loaded elsewhere.
    ///
    /// # Errors
    /// If files are missing or broken, or the architecture is not supported.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let (config, checkpoint) = match gguf::locate(path)? {
            Some(file) => {
                let checkpoint = Checkpoint::open(&file)?;
                let fields = checkpoint.config()?.unwrap_or_default();
                (ModelConfig::of(&file, &fields)?, checkpoint)
            }
            None if path.is_file() => {
                return Err(ModelError::Config {
                    path: path.to_owned(),
                    problem: "it is a file, but no GGUF file".into(),
                    fix: "give the folder that holds `config.json` and the weights".into(),
                });
            }
            None => {
                let config = ModelConfig::read(&path.join("config.json"))?;
                (config, Checkpoint::open(path)?)
            }
        };
        let head = match head(&config, &checkpoint, SEQUENCE) {
            HeadState::Present { outputs, .. } => HeadKind::Sequence { outputs },
            HeadState::Absent if config.is_causal() => HeadKind::Language,
            HeadState::Absent => HeadKind::Sequence { outputs: 2 },
        };
        Ok(Self {
            path: path.to_owned(),
            description: described(path, &config, head)?,
            config,
            quantised: checkpoint.is_quantised(),
            checkpoint,
            dtype: FloatDType::F32,
            base_dtype: None,
            quantize: None,
            dropped: Vec::new(),
            parted: None,
        })
    }

    /// The folder or file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Go on as if the checkpoint had no scores of its own: the module that gives them is made afresh,
    /// for whatever number of outputs. Modules of the head before it are kept, as Hugging Face does with
    /// `ignore_mismatched_sizes`.
    pub fn drop_head(&mut self) {
        let heads = [SEQUENCE, TOKENS].into_iter();
        self.dropped = heads
            .filter_map(|head| scores(&self.config, head))
            .collect();
        let kind = match self.config.is_causal() {
            true => HeadKind::Language,
            false => HeadKind::Sequence { outputs: 2 },
        };
        if let Ok(description) = Description::new(&self.config, kind) {
            self.description = description;
        }
    }

    /// What a model of this folder has in one, if its head is its table of tokens, parted or not.
    pub fn tied_head(&self) -> Option<TiedHead> {
        match &self.parted {
            Some(parted) => Some(parted.clone()),
            None => self.config.is_tied().then(|| TiedHead {
                head: LANGUAGE_HEAD.into(),
                table: self.description.embeddings.clone(),
            }),
        }
    }

    /// Go on as if the head had a weight of its own, which has the values of the table of tokens: adapters of
    /// either leave the other one alone then. Nothing happens to a model with a head of its own.
    ///
    /// # Errors
    /// None that a folder that was opened has.
    pub fn part_head(&mut self) -> Result<(), ModelError> {
        if let (None, Some(tied)) = (&self.parted, self.tied_head()) {
            self.config.untie();
            self.description = described(&self.path, &self.config, self.description.head)?;
            self.parted = Some(tied);
        }
        Ok(())
    }

    /// Whether head and table were [parted](Self::part_head).
    pub fn is_parted(&self) -> bool {
        self.parted.is_some()
    }

    /// Drop with this probability everywhere in training, whatever the configuration says.
    pub fn set_dropout(&mut self, probability: f64) {
        self.config.set_dropout(probability);
    }

    /// Compute in another type than `f32`; half-precision checkpoints are widened either way.
    pub fn set_dtype(&mut self, dtype: FloatDType) {
        self.dtype = dtype;
    }

    /// The type that models of this folder compute in.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// Keep the frozen matrices in another type than the computation's: `bf16` or `f16` halve the
    /// memory that the model takes. Norms, biases, heads and adapters stay as they are. A half-precision
    /// checkpoint loses nothing in its own type; a wider one is rounded.
    pub fn set_base_dtype(&mut self, dtype: FloatDType) {
        self.base_dtype = Some(dtype);
    }

    /// Keep the weights of the frozen linear layers in quantised blocks that are made of them as they are loaded, as
    /// QLoRA does: NF4, Q8_0 (8 bits) or Q4_0 (4 bits). Tables, norms, biases and heads stay as they are, and so do
    /// layers whose rows are not whole blocks.
    pub fn set_quantize(&mut self, kind: BlockType) {
        self.quantize = Some(kind);
    }

    /// How a part's weight is kept in memory on a device: frozen matrices of a quantised checkpoint as they are
    /// stored, unless a [type of floats](Self::set_base_dtype) was asked for; others in the type of the
    /// computation, unless another or [blocks](Self::set_quantize) were.
    pub fn storage(&self, part: &Part, device: &Device) -> Storage {
        let floats = Storage::Floats(self.dtype);
        if !part.is_narrowed() {
            return floats;
        }
        if let Some(dtype) = self.base_dtype {
            return Storage::Floats(dtype);
        }
        if self.dtype != FloatDType::F32 || !has_blocks(device) {
            return floats;
        }
        let width = part.shape.last().copied().unwrap_or(0);
        let name = format!("{}.weight", part.name);
        let stored = self
            .find(&name)
            .and_then(|name| self.checkpoint.kind(&name));
        let is_layer = part.widths().is_some() && part.role != Role::Head;
        match (stored, self.quantize) {
            (Some(kind), _) if !kind.is_float() => Storage::Blocks(kind),
            (_, Some(kind)) if is_layer && width.is_multiple_of(kind.block_len()) => {
                Storage::Made(kind)
            }
            (Some(BlockType::F16), None) if self.quantised => Storage::Floats(FloatDType::F16),
            (Some(BlockType::Bf16), None) if self.quantised => Storage::Floats(FloatDType::BF16),
            _ => floats,
        }
    }

    /// Whether quantised weights are decoded as they are loaded though nobody asked for floats: the products of this
    /// device cannot multiply with blocks.
    pub fn is_decoded(&self, device: &Device) -> bool {
        self.checkpoint.is_quantised() && self.base_dtype.is_none() && !has_blocks(device)
    }

    /// The tensors.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What the model of this folder is made of: with the head that the checkpoint has, else with that of
    /// its kind: scores of a sequence with two outputs for an encoder, logits of the next token for others.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What a model of this folder with a head is made of.
    ///
    /// # Errors
    /// If a model of this kind has no such head.
    pub fn describe(&self, head: HeadKind) -> Result<Description, ModelError> {
        described(&self.path, &self.config, head)
    }

    /// [`describe`](Self::describe), as names and shapes.
    ///
    /// # Errors
    /// If a model of this kind has no such head.
    pub fn layout(&self, head: HeadKind) -> Result<ModelLayout, ModelError> {
        Ok(self.describe(head)?.layout())
    }

    /// What the checkpoint holds of a head that scores sequences.
    pub fn head(&self) -> HeadState {
        self.head_for(SEQUENCE)
    }

    /// What the checkpoint holds of a head of a kind, of whatever number of outputs. In some families both kinds have one name,
    /// and are told apart by nothing in the checkpoint.
    pub fn head_for(&self, kind: HeadKind) -> HeadState {
        match self.dropped.is_empty() {
            false => HeadState::Absent,
            true => head(&self.config, &self.checkpoint, kind),
        }
    }

    /// The modules of the folder's own head, by their last names.
    pub fn head_modules(&self) -> &'static [&'static str] {
        self.description.head_modules
    }

    /// The name under which the checkpoint holds a parameter: with or without the family's prefix, or as
    /// old releases had it.
    pub fn find(&self, name: &str) -> Option<String> {
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        if self.dropped.iter().any(|dropped| dropped == module) {
            return None;
        }
        if let Some(parted) = self.parted.as_ref().filter(|parted| parted.head == module) {
            return self.find(&name.replacen(&parted.head, &parted.table, 1));
        }
        let mut spellings = self.description.spellings(name).into_iter();
        spellings.find(|name| self.checkpoint.contains(name))
    }

    /// Compare the checkpoint's names and shapes with what a model needs, without reading tensors;
    /// gives the modules of the head that loading would make afresh.
    ///
    /// # Errors
    /// [`ModelError::Missing`] and [`ModelError::Shape`], as loading the model would end.
    pub fn check(&self, layout: &ModelLayout) -> Result<Vec<String>, ModelError> {
        let made: Vec<String> = layout
            .heads
            .iter()
            .filter(|head| self.find(&format!("{head}.weight")).is_none())
            .cloned()
            .collect();
        let mut missing: Vec<&(String, Vec<usize>)> = Vec::new();
        for parameter in &layout.parameters {
            let (name, shape) = parameter;
            let module = name.rsplit_once('.').map_or(name.as_str(), |(m, _)| m);
            if made.iter().any(|head| head == module) {
                continue;
            }
            let Some(found) = self.find(name) else {
                missing.push(parameter);
                continue;
            };
            let stored = self.checkpoint.info(&found).map(|info| info.shape);
            let stored = stored.unwrap_or_default();
            if stored != *shape {
                return Err(ModelError::Shape {
                    path: self.path.clone(),
                    name: found,
                    found: stored,
                    expected: shape.clone(),
                });
            }
        }
        match missing.first() {
            None => self.expect_no_leftover().map(|()| made),
            Some((first, shape)) => Err(ModelError::Missing {
                path: self.path.clone(),
                count: missing.len(),
                first: first.clone(),
                shape: shape.clone(),
            }),
        }
    }
}

fn described(path: &Path, config: &ModelConfig, head: HeadKind) -> Result<Description, ModelError> {
    Description::new(config, head).map_err(|problem| ModelError::Head {
        path: path.to_owned(),
        problem,
        fix: "choose another task, or a checkpoint of another kind".into(),
    })
}

/// Heads whose number of outputs does not matter.
const SEQUENCE: HeadKind = HeadKind::Sequence { outputs: 1 };
const TOKENS: HeadKind = HeadKind::Tokens { outputs: 1 };

/// The module that gives the scores of a head, if models of this kind can have one. Its name does not
/// depend on the number of outputs.
fn scores(config: &ModelConfig, head: HeadKind) -> Option<String> {
    let described = Description::new(config, head).ok()?;
    Some(described.output().to_owned())
}

/// What a checkpoint holds of a head that scores sequences or tokens.
fn head(config: &ModelConfig, checkpoint: &Checkpoint, kind: HeadKind) -> HeadState {
    let kind = match kind {
        HeadKind::Tokens { .. } => TOKENS,
        _ => SEQUENCE,
    };
    let name = scores(config, kind).map(|module| format!("{module}.weight"));
    match name.and_then(|name| checkpoint.info(&name)) {
        Some(info) if info.shape.len() == 2 => {
            let (outputs, labels) = (info.shape[0], config.labels());
            let named = labels.len() == outputs;
            let labels = if named { labels.to_vec() } else { Vec::new() };
            HeadState::Present { outputs, labels }
        }
        _ => HeadState::Absent,
    }
}
