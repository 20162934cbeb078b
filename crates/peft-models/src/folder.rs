use std::path::{Path, PathBuf};

use burn::tensor::FloatDType;
use peft_format::Checkpoint;

use crate::{EncoderConfig, ModelError, ModelLayout, encoder::Names};

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

/// A Hugging Face model folder: its configuration and its tensors, not yet read.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    config: EncoderConfig,
    checkpoint: Checkpoint,
    dtype: FloatDType,
    base_dtype: Option<FloatDType>,
}

impl ModelFolder {
    /// Open a folder; tensors are mapped, not read.
    ///
    /// # Errors
    /// If files are missing or broken, or the architecture is not supported.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let config = EncoderConfig::read(&path.join("config.json"))?;
        let checkpoint = Checkpoint::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            config,
            checkpoint,
            dtype: FloatDType::F32,
            base_dtype: None,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Drop with this probability everywhere in training, whatever the configuration says.
    pub fn set_dropout(&mut self, probability: f64) {
        self.config.hidden_dropout = probability;
        self.config.attention_dropout = probability;
        self.config.head_dropout = probability;
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

    /// The type that frozen matrices are kept in.
    pub fn base_dtype(&self) -> FloatDType {
        self.base_dtype.unwrap_or(self.dtype)
    }

    /// The tensors.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What the checkpoint holds of a classification head.
    pub fn head(&self) -> HeadState {
        let name = format!("{}.weight", Names::of(self.config.family).classifier);
        match self.checkpoint.info(&name) {
            Some(info) if info.shape.len() == 2 => {
                let outputs = info.shape[0];
                let named = self.config.labels.len() == outputs;
                let labels = if named {
                    self.config.labels.clone()
                } else {
                    Vec::new()
                };
                HeadState::Present { outputs, labels }
            }
            _ => HeadState::Absent,
        }
    }

    /// The modules of the head, by the checkpoint's names: what PEFT saves in full.
    pub fn head_modules(&self) -> &'static [&'static str] {
        Names::of(self.config.family).head_modules
    }

    /// What the model of this folder with so many outputs is made of, from the configuration alone.
    pub fn layout(&self, outputs: usize) -> ModelLayout {
        ModelLayout::new(&Names::of(self.config.family), &self.config, outputs)
    }

    /// The name under which the checkpoint holds a parameter: with or without the family's prefix,
    /// and with the first releases' names of the norms.
    pub fn find(&self, name: &str) -> Option<String> {
        let bare = name.strip_prefix(Names::of(self.config.family).prefix);
        [Some(name), bare].into_iter().flatten().find_map(|name| {
            let old = name
                .strip_suffix("LayerNorm.weight")
                .map(|module| format!("{module}LayerNorm.gamma"))
                .or_else(|| {
                    let module = name.strip_suffix("LayerNorm.bias")?;
                    Some(format!("{module}LayerNorm.beta"))
                });
            [Some(name.to_owned()), old]
                .into_iter()
                .flatten()
                .find(|name| self.checkpoint.contains(name))
        })
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
            None => Ok(made),
            Some((first, shape)) => Err(ModelError::Missing {
                path: self.path.clone(),
                count: missing.len(),
                first: first.clone(),
                shape: shape.clone(),
            }),
        }
    }
}
