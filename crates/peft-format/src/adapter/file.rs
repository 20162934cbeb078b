//! The tensors of an adapter, owned.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::{TORCH_WEIGHTS_NAME, WEIGHTS_NAME};
use crate::checkpoint::Shard;
use crate::error::{FormatError, Result, shorten};
use crate::writer::{SafetensorsWriter, TensorSpec};
use crate::{HostTensor, Metadata, adapterhub, mlx, near};

/// All tensors of an adapter in file order, with the file's metadata.
///
/// Read and written back, keys and tensor bytes are the same, and the whole file is if the official
/// serializer or this crate wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterFile {
    path: PathBuf,
    /// Tensors by key.
    pub tensors: IndexMap<String, HostTensor>,
    /// The `__metadata__` strings; PEFT writes `format: pt`.
    pub metadata: Metadata,
}

impl AdapterFile {
    /// An adapter from tensors, with the metadata that PEFT writes.
    pub fn new(tensors: IndexMap<String, HostTensor>) -> Self {
        Self {
            path: WEIGHTS_NAME.into(),
            tensors,
            metadata: pt_metadata(),
        }
    }

    /// Reads `adapter_model.safetensors` from an adapter folder, `adapter_model.bin` if that is all
    /// there is, or the file itself; `adapters.safetensors` of MLX-LM and the weights of AdapterHub with PEFT's keys
    /// and layout.
    ///
    /// # Errors
    /// [`FormatError`]: no such file, a damaged file, a PyTorch file that is no state dict.
    pub fn read(path: &Path) -> Result<Self> {
        let path = locate(path)?;
        let shard = Shard::open(&path)?;
        if mlx::is_weights(&path) {
            return Ok(Self {
                tensors: mlx::tensors(&shard)?,
                metadata: shard.metadata().clone(),
                path,
            });
        }
        if adapterhub::is_weights(&path) {
            return Ok(Self {
                tensors: adapterhub::tensors(&shard)?,
                metadata: shard.metadata().clone(),
                path,
            });
        }
        let mut tensors = IndexMap::new();
        for name in shard.names() {
            let (Some(info), Some(bytes)) = (shard.info(name), shard.bytes(name)) else {
                // Cannot be: the header was checked against the file's length.
                return Err(FormatError::corrupt(
                    &path,
                    shorten(name),
                    "its range left the file",
                ));
            };
            tensors.insert(
                name.to_owned(),
                HostTensor {
                    dtype: info.dtype,
                    shape: info.shape,
                    bytes: bytes.into_owned(),
                },
            );
        }
        Ok(Self {
            path,
            tensors,
            metadata: shard.metadata().clone(),
        })
    }

    /// The file that this was read from; a label for one that was made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A tensor by its full key.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the keys most like it.
    pub fn tensor(&self, key: &str) -> Result<&HostTensor> {
        self.tensors.get(key).ok_or_else(|| {
            let near = near::nearest(key, self.tensors.keys().map(String::as_str), 2);
            FormatError::MissingTensor {
                path: self.path.clone(),
                tensor: shorten(key),
                near: near::did_you_mean(&near),
            }
        })
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// [`FormatError::Write`] if bytes and shape of a tensor disagree, [`FormatError::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_tensors(path, &self.tensors, &self.metadata)
    }
}

pub(crate) fn write_tensors(
    path: &Path,
    tensors: &IndexMap<String, HostTensor>,
    metadata: &Metadata,
) -> Result<()> {
    let spec = |(k, t): (&String, &HostTensor)| TensorSpec::new(k, t.dtype, &*t.shape);
    let mut writer = SafetensorsWriter::create(path, tensors.iter().map(spec).collect(), metadata)?;
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        // The order is made of the keys of this very map.
        writer.write(&name, tensors.get(&name).map_or(&[], |t| &t.bytes))?;
    }
    writer.finish()
}

/// The metadata that PEFT writes.
pub(crate) fn pt_metadata() -> Metadata {
    Metadata::from([("format".to_owned(), "pt".to_owned())])
}

fn locate(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let files = [WEIGHTS_NAME, TORCH_WEIGHTS_NAME].map(|name| path.join(name));
    let file = files.into_iter().find(|file| file.is_file());
    let other = || mlx::weights_in(path).or_else(|| adapterhub::weights_in(path));
    if let Some(file) = file.or_else(other) {
        return Ok(file);
    }
    Err(FormatError::WrongKind {
        path: path.to_owned(),
        expected: "a PEFT adapter folder",
        found: format!("there is no `{WEIGHTS_NAME}`"),
        fix: "check the path; an adapter with a name of its own is in the subfolder of that name"
            .into(),
    })
}
