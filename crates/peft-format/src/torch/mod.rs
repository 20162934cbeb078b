//! PyTorch files, `pytorch_model.bin` and `adapter_model.bin`, read without running anything.
//!
//! Two formats share the names. Since 1.6 `torch.save` writes a [`zip`] archive whose `data.pkl`
//! describes the tensors and whose other entries are their storages, uncompressed. Before that, and
//! on request ever since, it wrote a few pickles followed by the storages, see [`legacy`]. Either
//! way the storages lie in the file as they are in memory, so tensors are read from the memory map,
//! one at a time; only tensors that are transposed or sliced views have to be gathered.
//!
//! | module | what it holds |
//! |---|---|
//! | [`pickle`] | an interpreter that can build state dicts and nothing else |
//! | [`archive`] | the directory of a zip archive |
//! | [`zip`], [`legacy`] | the two formats: where the pickle and the storages are |
//! | [`state`] | from the pickle's value to tensors by name |
//! | [`layout`] | strides |

mod archive;
mod layout;
mod legacy;
mod pickle;
mod state;
mod zip;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use indexmap::IndexMap;

use crate::checkpoint::TensorInfo;
use crate::error::{FormatError, Result};
use layout::Layout;

/// What a file has to be if its name says PyTorch.
const EXPECTED: &str = "a PyTorch file as `torch.save` writes it";

/// Where in the file each storage is, by its key.
type Storages<'a> = HashMap<&'a str, Range<usize>>;

/// The tensors of a PyTorch file, which itself is held elsewhere.
#[derive(Debug)]
pub(crate) struct TorchFile {
    tensors: IndexMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    layout: Layout,
    /// A strided tensor's elements in row-major order, once somebody borrowed them.
    gathered: OnceLock<Vec<u8>>,
}

impl TorchFile {
    /// True if the bytes start as one of the two formats does, and not as a safetensors file, whose
    /// first eight bytes are a length and thus anything.
    pub fn is_one(bytes: &[u8]) -> bool {
        let known = archive::is_archive(bytes) || bytes.starts_with(legacy::MAGIC);
        known && bytes.get(8) != Some(&b'{')
    }

    /// Reads the description of the tensors in the whole file in `bytes`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let layouts = if archive::is_archive(bytes) {
            zip::read(path, bytes)?
        } else if bytes.first() == Some(&0x80) {
            legacy::read(path, bytes)?
        } else {
            return Err(unknown(path, bytes));
        };
        let tensors = layouts.into_iter().map(|(name, layout)| {
            let gathered = OnceLock::new();
            (name, Entry { layout, gathered })
        });
        Ok(Self {
            tensors: tensors.collect(),
        })
    }

    /// Tensor names in the state dict's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        Some(self.tensors.get(name)?.layout.info.clone())
    }

    /// A tensor's elements in row-major order: those of the file, or a copy where it is strided.
    pub fn bytes<'a>(&'a self, name: &str, file: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let entry = self.tensors.get(name)?;
        match entry.gathered.get() {
            Some(gathered) => Some(Cow::Borrowed(gathered)),
            None => entry.layout.read(file),
        }
    }

    /// As [`bytes`](Self::bytes), with copies kept so that they can be borrowed.
    pub fn view<'a>(&'a self, name: &str, file: &'a [u8]) -> Option<&'a [u8]> {
        let entry = self.tensors.get(name)?;
        match self.bytes(name, file)? {
            Cow::Borrowed(bytes) => Some(bytes),
            Cow::Owned(gathered) => Some(entry.gathered.get_or_init(|| gathered)),
        }
    }
}

/// A file with a name of PyTorch's that is something else: say what it looks like.
fn unknown(path: &Path, bytes: &[u8]) -> FormatError {
    let (found, fix) = if bytes.get(257..262) == Some(b"ustar") {
        let fix = "load it in PyTorch and save it again";
        ("a tar archive of PyTorch 0.1", fix)
    } else if bytes.starts_with(b"GGUF") {
        ("a GGUF file", "give the model's safetensors revision")
    } else {
        let fix = "check the path, or download the file again";
        ("neither a zip archive nor a pickle", fix)
    };
    FormatError::WrongKind {
        path: path.to_owned(),
        expected: EXPECTED,
        found: format!("it is {found}"),
        fix: fix.into(),
    }
}
