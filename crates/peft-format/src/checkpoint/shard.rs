//! One mapped file of tensors, whatever its format.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use super::{Header, TensorInfo, TensorView, wrapper};
use crate::Metadata;
use crate::bounded;
use crate::error::{FormatError, Result};
use crate::gguf::{self, GgufModel};
use crate::shared::SharedBytes;
use crate::torch::TorchFile;

/// Endings of PyTorch files: whatever such a file turns out to be, it is no safetensors file.
const PYTORCH: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// A mapped file and the validated description of its tensors.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    map: Arc<Mmap>,
    contents: Contents,
    metadata: Metadata,
    /// Names without what wrappers put into them to names in the file, where they differ.
    plain: Option<IndexMap<String, String>>,
}

#[derive(Debug)]
enum Contents {
    Safetensors(Header),
    Torch(TorchFile),
    Gguf(Box<GgufModel>),
}

impl Contents {
    /// Names in file order, as the file has them.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Safetensors(header) => Box::new(header.names()),
            Self::Torch(file) => Box::new(file.names()),
            Self::Gguf(model) => Box::new(model.names()),
        }
    }
}

impl Shard {
    pub fn open(path: &Path) -> Result<Self> {
        let file = bounded::open(path)?;
        let len = file
            .metadata()
            .map_err(FormatError::io("inspect", path))?
            .len();
        if len == 0 {
            return Err(FormatError::corrupt(
                path,
                "start of file",
                "the file is empty",
            ));
        }
        // SAFETY: the mapping is read-only and lives as long as `self`. As with every mapped file,
        // soundness rests on nobody truncating it meanwhile; the public docs say so.
        let map = unsafe { Mmap::map(&file) }.map_err(FormatError::io("map", path))?;
        let map = Arc::new(map);
        bounded::refuse_pointer(path, &map)?;
        // What transformers and PEFT write into safetensors files of PyTorch tensors.
        let pt = || Metadata::from([("format".to_owned(), "pt".to_owned())]);
        let (contents, metadata) = if is_gguf(path, &map) {
            let model = GgufModel::from_map(path, map.clone())?;
            (Contents::Gguf(Box::new(model)), pt())
        } else if is_torch(path, &map) {
            (Contents::Torch(TorchFile::parse(path, &map)?), pt())
        } else {
            let mut header = Header::parse(path, &map)?;
            let metadata = std::mem::take(&mut header.metadata);
            (Contents::Safetensors(header), metadata)
        };
        let mut shard = Self {
            path: path.to_owned(),
            map,
            contents,
            metadata,
            plain: None,
        };
        shard.plain = wrapper::plain_names(shard.contents.names());
        Ok(shard)
    }

    /// Gives the memory of the mapped pages back.
    pub fn release(&self) {
        // SAFETY: pages of a mapping that was made of a file and never written to are read from the file again when they
        // are looked at, with the same bytes.
        #[cfg(unix)]
        let advised = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        // Advice that is not taken costs memory and nothing else.
        #[cfg(unix)]
        drop(advised);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `__metadata__` strings; for a PyTorch file, that it is one.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Tensor names in file order, without the names of wrappers such as `_orig_mod.`.
    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.plain {
            Some(names) => Box::new(names.keys().map(String::as_str)),
            None => self.contents.names(),
        }
    }

    /// A tensor's name in the file.
    pub fn stored_name<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match &self.plain {
            Some(names) => names.get(name).map(String::as_str),
            None => Some(name),
        }
    }

    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        let name = self.stored_name(name)?;
        match &self.contents {
            Contents::Safetensors(header) => header.info(name),
            Contents::Torch(file) => file.info(name),
            Contents::Gguf(model) => model.info(name),
        }
    }

    /// A tensor's elements in row-major order: the mapped ones, or a copy where the file has them
    /// in another order.
    pub fn bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let name = self.stored_name(name)?;
        match &self.contents {
            Contents::Safetensors(header) => self.map.get(header.range(name)?).map(Cow::Borrowed),
            Contents::Torch(file) => file.bytes(name, &self.map),
            Contents::Gguf(model) => model.bytes(name),
        }
    }

    pub fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let info = self.info(name)?;
        let name = self.stored_name(name)?;
        let bytes = match &self.contents {
            Contents::Safetensors(header) => self.map.get(header.range(name)?)?,
            Contents::Torch(file) => file.view(name, &self.map)?,
            Contents::Gguf(model) => model.view(name)?,
        };
        Some(TensorView {
            dtype: info.dtype,
            shape: info.shape,
            bytes,
        })
    }

    /// The model, if this is a GGUF file.
    pub fn gguf(&self) -> Option<&GgufModel> {
        match &self.contents {
            Contents::Gguf(model) => Some(model),
            _ => None,
        }
    }

    /// The bytes of [`bytes`](Self::bytes) beyond the life of the shard: still mapped if they are
    /// part of the file.
    pub fn shared(&self, name: &str) -> Option<SharedBytes> {
        match self.bytes(name)? {
            Cow::Owned(bytes) => Some(bytes.into()),
            Cow::Borrowed(bytes) => {
                let start = bytes.as_ptr().addr() - self.map.as_ptr().addr();
                SharedBytes::mapped(&self.map, start..start + bytes.len())
            }
        }
    }
}

/// The format by the file's ending, or by its first bytes if it has none of the known ones.
pub(super) fn is_gguf(path: &Path, bytes: &[u8]) -> bool {
    match path.extension() {
        Some(ending) if ending == "gguf" => true,
        Some(ending) if ending == "safetensors" => false,
        Some(ending) if PYTORCH.iter().any(|known| ending == *known) => false,
        _ => gguf::is_one(bytes),
    }
}

/// The format by the file's ending, or by its first bytes where the ending says nothing.
fn is_torch(path: &Path, bytes: &[u8]) -> bool {
    match path.extension() {
        Some(ending) if ending == "safetensors" => false,
        Some(ending) if PYTORCH.iter().any(|known| ending == *known) => true,
        _ => TorchFile::is_one(bytes),
    }
}
