//! One mapped safetensors file.

use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::{Header, TensorView};
use crate::error::{FormatError, Result};
use crate::json::open_regular;

/// A mapped file and its validated header.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl Shard {
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path)?;
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
        let header = Header::parse(path, &map)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            header,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let info = self.header.info(name)?;
        let bytes = self.map.get(self.header.range(name)?)?;
        Some(TensorView {
            dtype: info.dtype,
            shape: info.shape,
            bytes,
        })
    }
}
