//! One mapped file of tensors, whatever its format.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::{Header, TensorInfo, TensorView};
use crate::Metadata;
use crate::bounded;
use crate::error::{FormatError, Result};
use crate::torch::TorchFile;

/// Endings of PyTorch files: whatever such a file turns out to be, it is no safetensors file.
const PYTORCH: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// A mapped file and the validated description of its tensors.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    map: Mmap,
    contents: Contents,
    metadata: Metadata,
}

#[derive(Debug)]
enum Contents {
    Safetensors(Header),
    Torch(TorchFile),
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
        let (contents, metadata) = if is_torch(path, &map) {
            // What transformers and PEFT write into safetensors files of PyTorch tensors.
            let metadata = Metadata::from([("format".to_owned(), "pt".to_owned())]);
            (Contents::Torch(TorchFile::parse(path, &map)?), metadata)
        } else {
            let mut header = Header::parse(path, &map)?;
            let metadata = std::mem::take(&mut header.metadata);
            (Contents::Safetensors(header), metadata)
        };
        Ok(Self {
            path: path.to_owned(),
            map,
            contents,
            metadata,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `__metadata__` strings; for a PyTorch file, that it is one.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Tensor names in file order.
    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.contents {
            Contents::Safetensors(header) => Box::new(header.names()),
            Contents::Torch(file) => Box::new(file.names()),
        }
    }

    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        match &self.contents {
            Contents::Safetensors(header) => header.info(name),
            Contents::Torch(file) => file.info(name),
        }
    }

    /// A tensor's elements in row-major order: the mapped ones, or a copy where the file has them
    /// in another order.
    pub fn bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match &self.contents {
            Contents::Safetensors(header) => self.map.get(header.range(name)?).map(Cow::Borrowed),
            Contents::Torch(file) => file.bytes(name, &self.map),
        }
    }

    pub fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let info = self.info(name)?;
        let bytes = match &self.contents {
            Contents::Safetensors(header) => self.map.get(header.range(name)?)?,
            Contents::Torch(file) => file.view(name, &self.map)?,
        };
        Some(TensorView {
            dtype: info.dtype,
            shape: info.shape,
            bytes,
        })
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
