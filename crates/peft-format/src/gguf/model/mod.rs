//! A model's file under Hugging Face's names, shapes and values.

mod architecture;
pub(super) mod change;
mod config;
mod families;
mod place;
mod rope;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
use safetensors::Dtype;
use serde_json::{Map, Value as Json};

pub use architecture::Architecture;

use super::{GgufFile, GgufTensor};
use crate::blocks::BlockType;
use crate::checkpoint::TensorInfo;
use crate::error::{FormatError, Result, shorten};
use crate::near;
use crate::stored::StoredTensor;
use change::Change;

/// Tensors that hold parameters of the rotary embedding and no weights; the configuration has them.
const ROPE_TENSORS: [&str; 3] = [
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

/// Attention heads, which say how rows of `q` and `k` are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadCounts {
    /// Heads of queries.
    pub query: usize,
    /// Heads of keys and values.
    pub key_value: usize,
}

/// A GGUF model as a Hugging Face checkpoint.
///
/// What llama.cpp's conversion does to values is undone: the rows of `q` and `k` of the Llama
/// architecture get back their order, without requantising, for rows are whole blocks; the norms of
/// the Gemmas lose the 1 that was added; GPT-2's matrices are \[in, out\] again; Mamba's `A_log` is
/// the logarithm of what was stored, and Mamba-2's numbers of heads are lists again.
#[derive(Debug)]
pub struct GgufModel {
    file: GgufFile,
    architecture: Architecture,
    tensors: BTreeMap<String, Place>,
    config: Map<String, Json>,
}

/// Where a tensor of Hugging Face is in the file.
#[derive(Debug)]
struct Place {
    name: String,
    change: Change,
    /// Bytes in Hugging Face's form, once somebody borrowed them that the file has in another.
    kept: OnceLock<Vec<u8>>,
}

impl GgufModel {
    /// Opens a model.
    ///
    /// # Errors
    /// Those of [`GgufFile::open`], and [`FormatError`] for an adapter, an architecture that is not
    /// read, metadata that are missing or contradict the tensors, a mixture of experts, and tensors
    /// that the architecture does not have.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_file(GgufFile::open(path)?)
    }

    pub(crate) fn from_map(path: &Path, map: Arc<Mmap>) -> Result<Self> {
        Self::from_file(GgufFile::from_map(path, map)?)
    }

    fn from_file(file: GgufFile) -> Result<Self> {
        let kind = file.text("general.type")?;
        if let Some(kind) = kind.filter(|kind| *kind != "model") {
            return Err(FormatError::WrongKind {
                path: file.path().to_owned(),
                expected: "a GGUF model",
                found: format!("`general.type` is `{}`", shorten(kind)),
                fix: "give the file of the model; an adapter is given as such".into(),
            });
        }
        let architecture = architecture(&file)?;
        let heads = config::heads(&file, architecture)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            if ROPE_TENSORS.contains(&name) {
                continue;
            }
            let (hf, change) = place::find(&file, architecture, heads, name, tensor)?;
            let name = name.to_owned();
            let kept = OnceLock::new();
            tensors.insert(hf, Place { name, change, kept });
        }
        let config = config::build(&file, architecture)?;
        Ok(Self {
            file,
            architecture,
            tensors,
            config,
        })
    }

    /// The file itself.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// The model family.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// What `config.json` would say: `model_type`, `architectures` and all the sizes, switches and
    /// rotary parameters that the metadata hold.
    ///
    /// Floats are the shortest decimals of the stored `f32`. Parameters that the file leaves out
    /// have llama.cpp's defaults. Divisors of rotary frequencies (`rope_freqs`, Llama 3.1 and later)
    /// become `rope_scaling` of type `longrope` with equal long and short factors and an attention
    /// factor of 1, which computes the same frequencies.
    pub fn config(&self) -> &Map<String, Json> {
        &self.config
    }

    /// Hugging Face's names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What the file says of the tensor of Hugging Face's name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.file.tensor(&self.tensors.get(name)?.name).ok()
    }

    /// The blocks of a quantised tensor, in the order of the file; `None` for floats.
    pub(crate) fn blocks(&self, name: &str) -> Option<&[u8]> {
        let place = self.tensors.get(name)?;
        let quantised = !self.file.tensor(&place.name).ok()?.kind.is_float();
        quantised.then(|| self.file.slice(&place.name)).flatten()
    }

    /// Element type and shape as of a checkpoint of floats: F32 for whatever is decoded or computed.
    pub(crate) fn info(&self, name: &str) -> Option<TensorInfo> {
        let place = self.tensors.get(name)?;
        let tensor = self.file.tensor(&place.name).ok()?;
        let plain = place.change.keeps_values() && place.change != Change::Transposed;
        let dtype = match tensor.kind {
            BlockType::F16 if plain => Dtype::F16,
            BlockType::Bf16 if plain => Dtype::BF16,
            _ => Dtype::F32,
        };
        let shape = place.change.shape(&tensor.shape);
        Some(TensorInfo { dtype, shape })
    }

    /// The elements of [`info`](Self::info): the mapped ones where the file has them so.
    pub(crate) fn bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let place = self.tensors.get(name)?;
        let kind = self.file.tensor(&place.name).ok()?.kind;
        if kind.is_float()
            && matches!(
                place.change,
                Change::None | Change::Squeezed | Change::Folded
            )
        {
            return self.file.slice(&place.name).map(Cow::Borrowed);
        }
        if kind.is_float() && matches!(place.change, Change::Interleaved { .. }) {
            return Some(Cow::Owned(self.stored(name).ok()?.bytes.to_vec()));
        }
        let values = self.to_f32(name).ok()?;
        Some(Cow::Owned(
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ))
    }

    /// The bytes of [`bytes`](Self::bytes), kept if they are no part of the file.
    pub(crate) fn view(&self, name: &str) -> Option<&[u8]> {
        let kept = &self.tensors.get(name)?.kept;
        if kept.get().is_none() {
            match self.bytes(name)? {
                Cow::Borrowed(bytes) => return Some(bytes),
                Cow::Owned(bytes) => drop(kept.set(bytes)), // another thread may have been faster
            }
        }
        kept.get().map(Vec::as_slice)
    }

    /// How [`stored`](Self::stored) gives a tensor.
    pub(crate) fn kind(&self, name: &str) -> Option<BlockType> {
        let place = self.tensors.get(name)?;
        match place.change {
            Change::PlusOne | Change::NegativeExponential { .. } => Some(BlockType::F32),
            _ => Some(self.file.tensor(&place.name).ok()?.kind),
        }
    }

    /// The blocks of a tensor with Hugging Face's values, and its rows in Hugging Face's order.
    ///
    /// They are pages of the file where that has them so; rows in another order are copied, values
    /// that had to be computed are [`BlockType::F32`], and a transposed matrix is left as it is
    /// stored.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn stored(&self, name: &str) -> Result<StoredTensor> {
        let place = self.place(name)?;
        let tensor = self.file.tensor(&place.name)?;
        let bytes = self.file.bytes(&place.name)?;
        let computed = |f: &dyn Fn(f32) -> f32| {
            let values = change::mapped(tensor.kind, &bytes, f);
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (BlockType::F32, bytes.into())
        };
        let (kind, bytes) = match place.change {
            Change::None | Change::Transposed | Change::Squeezed | Change::Folded => {
                (tensor.kind, bytes)
            }
            Change::Interleaved { heads } => {
                let row_bytes = bytes.len() / tensor.shape[0];
                let rows = change::undo_interleaving(&bytes, heads, row_bytes);
                (tensor.kind, rows.into())
            }
            Change::PlusOne => computed(&|v| v - 1.0),
            Change::NegativeExponential { .. } => computed(&|v| (-v).ln()),
        };
        let transposed = place.change == Change::Transposed;
        let shape = match transposed {
            true => tensor.shape.clone(),
            false => place.change.shape(&tensor.shape),
        };
        Ok(StoredTensor {
            kind,
            shape,
            bytes,
            transposed,
        })
    }

    /// The elements of a tensor as `f32`, in Hugging Face's shape and order.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let stored = self.stored(name)?;
        let values = stored.to_f32();
        Ok(match (stored.transposed, stored.shape.first()) {
            (true, Some(&rows)) => change::transpose(&values, rows),
            _ => values,
        })
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.tensors.get(name).ok_or_else(|| {
            let near = near::nearest(name, self.names(), 3);
            FormatError::MissingTensor {
                path: self.file.path().to_owned(),
                tensor: shorten(name),
                near: near::did_you_mean(&near),
            }
        })
    }
}

fn architecture(file: &GgufFile) -> Result<Architecture> {
    let key = "general.architecture";
    let name = file.required(key, "the name of an architecture", file.text(key)?)?;
    let mut read = Architecture::of_models();
    read.find(|a| a.name() == name)
        .ok_or_else(|| not_read(file, name))
}

/// A model of an architecture of which none are read.
fn not_read(file: &GgufFile, name: &str) -> FormatError {
    let known: Vec<&str> = Architecture::of_models().map(|a| a.name()).collect();
    FormatError::WrongKind {
        path: file.path().to_owned(),
        expected: "a GGUF model of an architecture that is read",
        found: format!("`general.architecture` is `{}`", shorten(name)),
        fix: format!("use a model of {}", known.join(", ")),
    }
}
