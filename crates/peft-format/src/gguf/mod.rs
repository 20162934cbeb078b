//! GGUF files, llama.cpp's format: models and LoRA adapters with all they need in one file.
//!
//! | item | what it does |
//! |---|---|
//! | [`GgufFile`] | metadata and tensors of versions 2 and 3 as the file has them, mapped and lazy |
//! | [`GgufModel`] | the same under Hugging Face's names, with its values and its `config.json` |
//! | [`GgufLora`] | LoRA adapters in the form that llama.cpp loads |
//! | [`tokenizer`] | the tokenizer of the metadata as a `tokenizer.json` |
//! | [`GgufWriter`] | writing |

mod cursor;
mod file;
mod header;
mod lora;
mod model;
pub mod tokenizer;
mod value;
mod writer;

use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::error::Result;

pub use file::{GgufFile, GgufTensor};
pub use lora::GgufLora;
pub use model::{Architecture, GgufModel, HeadCounts};
pub use value::{Array, Value, ValueType};
pub use writer::{GgufTensorSpec, GgufValue, GgufWriter};

/// The first bytes of a file.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";

/// Where tensors start, unless `general.alignment` says otherwise: at multiples of this.
const ALIGNMENT: u64 = 32;

/// The GGUF file that a path means: the file itself, by its name or its first bytes, or the only one
/// of a folder that has neither `config.json` nor other weights. `None` for anything else.
///
/// # Errors
/// [`FormatError::WrongKind`](crate::FormatError::WrongKind) for such a folder with several of them.
pub fn locate(path: &Path) -> Result<Option<PathBuf>> {
    checkpoint::locate::gguf_at(path)
}

/// True if the bytes begin as a GGUF file does.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}
