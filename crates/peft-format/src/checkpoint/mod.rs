//! Model checkpoints: a Hugging Face folder or one file of tensors, memory-mapped.

pub(crate) mod convert;
mod header;
mod index;
pub(crate) mod locate;
mod shard;
mod wrapper;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

pub(crate) use header::Header;
pub use header::{HEADER_LIMIT, TensorInfo};
pub(crate) use shard::Shard;

use crate::bitsandbytes::{self, Nf4Tensor};
use crate::blocks::BlockType;
use crate::error::{FormatError, Result, shorten};
use crate::gguf::GgufModel;
use crate::shared::SharedBytes;
use crate::stored::StoredTensor;
use crate::{Metadata, near};

/// A tensor inside a mapped file.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The little-endian elements in row-major order; not necessarily aligned.
    pub bytes: &'a [u8],
}

/// A checkpoint whose tensors are read lazily through memory maps.
///
/// Opening reads and validates all headers and no tensor. The files must not be truncated or
/// rewritten in place while the checkpoint is open; files written by this crate never are, for
/// they are replaced by renaming.
#[derive(Debug)]
pub struct Checkpoint {
    root: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to the number of its shard; sorted, so that every walk has one order.
    places: BTreeMap<String, usize>,
    config_path: Option<PathBuf>,
}

impl Checkpoint {
    /// Opens a folder (`model.safetensors` or `pytorch_model.bin`, or an index with its shards) or
    /// one file.
    ///
    /// As in `transformers`, safetensors go before PyTorch files and `model.safetensors` before
    /// `model.safetensors.index.json`. With an index, no tensor may be in two shards, nor in another
    /// one than it is listed for. A tensor that a shard holds and the index omits is available too;
    /// one that is listed and in no shard, as tied weights often are, is missed only when it is asked
    /// for.
    ///
    /// Names lose what `DataParallel` (`module.`) and `torch.compile` (`_orig_mod.`) put into them.
    ///
    /// PyTorch files are read in both their formats, that of `torch.save` since 1.6 and the legacy
    /// one, without running anything: a pickle that names more than tensors is refused. Of a
    /// training checkpoint, the state dict under `state_dict`, `model_state_dict` or `model` is
    /// opened. Names that share their storage are each a tensor of their own.
    ///
    /// A GGUF file is opened as a [`GgufModel`]: under Hugging Face's names, with its values and
    /// shapes. Quantised tensors are F32 here, decoded as they are read; [`stored`](Self::stored)
    /// gives their blocks.
    ///
    /// # Errors
    /// [`FormatError`] naming the file and the tensor: nothing usable in the folder, a damaged
    /// header, a missing shard, an index that disagrees with its shards, a PyTorch file that holds
    /// or asks for anything but a state dict.
    pub fn open(path: &Path) -> Result<Self> {
        let located = locate::locate(path)?;
        let shards: Vec<Shard> = located
            .files
            .iter()
            .map(|file| Shard::open(file))
            .collect::<Result<_>>()?;
        let mut places = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for name in shard.names() {
                if let Some(first) = places.insert(name.to_owned(), number) {
                    return Err(FormatError::corrupt(
                        shard.path(),
                        format!("tensor `{}`", shorten(name)),
                        format!("the tensor is also in `{}`", shards[first].path().display()),
                    ));
                }
            }
        }
        if let Some(index) = &located.index {
            let stored = places.iter().filter_map(|(name, &number)| {
                let stored = shards.get(number)?.stored_name(name)?;
                Some((stored, number))
            });
            index.check(&located.files, stored)?;
        }
        Ok(Self {
            root: path.to_owned(),
            shards,
            places,
            config_path: located.config,
        })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// `config.json` beside the weights, if there is one.
    pub fn config_path(&self) -> Option<&Path> {
        self.config_path.as_deref()
    }

    /// The GGUF model, if that is what was opened.
    pub fn gguf(&self) -> Option<&GgufModel> {
        self.shards.first()?.gguf()
    }

    /// The configuration: `config.json` beside the weights, or what a GGUF file says itself, which
    /// goes first; `None` if there is neither.
    ///
    /// # Errors
    /// [`FormatError`] if `config.json` is no JSON object, is too large or repeats a key.
    pub fn config(&self) -> Result<Option<serde_json::Map<String, serde_json::Value>>> {
        if let Some(model) = self.gguf() {
            return Ok(Some(model.config().clone()));
        }
        let Some(path) = self.config_path() else {
            return Ok(None);
        };
        let config = crate::json::read_object::<serde_json::Value>(path)?;
        Ok(Some(config.into_iter().collect()))
    }

    /// The weight files, in shard order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(Shard::path)
    }

    /// The file that holds a tensor.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        Some(self.shard(name)?.path())
    }

    /// All tensor names, sorted, but for tensors that only describe the codes of a weight in NF4.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.places.keys().map(String::as_str);
        names.filter(|name| {
            let weight = bitsandbytes::described(name);
            !weight.is_some_and(|weight| bitsandbytes::is_coded(self, weight))
        })
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.names().count()
    }

    /// Gives the memory of mapped pages back: they are read again where they are needed. Bytes that were shown stay
    /// valid.
    pub fn release(&self) {
        self.shards.iter().for_each(Shard::release);
    }

    /// True if the checkpoint holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// True if there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Type and shape of a tensor, as reading gives it: F32 of one that is stored in blocks or codes.
    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        match Nf4Tensor::shape_of(self, name) {
            Some(shape) => Some(TensorInfo {
                dtype: Dtype::F32,
                shape,
            }),
            None => self.raw_info(name),
        }
    }

    /// The same of the tensor in the file, be it codes.
    pub(crate) fn raw_info(&self, name: &str) -> Option<TensorInfo> {
        self.shard(name)?.info(name)
    }

    /// How a tensor is stored: the name of its type and its bytes in the file. Of a quantised tensor these are its
    /// blocks, or its codes with their scales, whereas [`info`](Self::info) tells what reading gives.
    pub fn stored_as(&self, name: &str) -> Option<(String, usize)> {
        let shard = self.shard(name)?;
        let stored = shard.gguf().and_then(|model| model.tensor(name));
        if let Some(tensor) = stored.filter(|tensor| !tensor.kind.is_float()) {
            return Some((tensor.kind.to_string(), tensor.range.len()));
        }
        if bitsandbytes::is_coded(self, name) {
            let parts = bitsandbytes::parts(self, name).into_iter();
            let bytes: Option<usize> = parts.map(|part| self.raw_info(&part)?.byte_len()).sum();
            return Some((BlockType::Nf4.to_string(), bytes?));
        }
        let info = shard.info(name)?;
        Some((info.dtype.to_string(), info.byte_len()?))
    }

    /// The type of a tensor that is quantised, stored as low-bit codes.
    pub fn quantised(&self, name: &str) -> Option<BlockType> {
        if bitsandbytes::is_coded(self, name) {
            return Some(BlockType::Nf4);
        }
        let kind = self.shard(name)?.gguf()?.tensor(name)?.kind;
        (!kind.is_float()).then_some(kind)
    }

    /// Whether tensors of the checkpoint are [quantised](Self::quantised).
    pub fn is_quantised(&self) -> bool {
        self.places
            .keys()
            .any(|name| self.quantised(name).is_some())
    }

    /// The bytes of [`bytes`](Self::bytes), but of a quantised tensor of a GGUF file its blocks, in
    /// the order of the file, and of NF4 codes these and what describes them.
    pub(crate) fn stored_bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        if bitsandbytes::is_coded(self, name) {
            let mut all = Vec::new();
            for part in bitsandbytes::parts(self, name) {
                all.extend_from_slice(&self.raw_bytes(&part)?);
            }
            return Ok(all.into());
        }
        match self
            .shard(name)
            .and_then(|shard| shard.gguf()?.blocks(name))
        {
            Some(blocks) => Ok(Cow::Borrowed(blocks)),
            None => self.bytes(name),
        }
    }

    /// The `__metadata__` of the files, the first shard that has a key winning; of PyTorch files,
    /// `format: pt`.
    pub fn metadata(&self) -> Metadata {
        let mut all = Metadata::new();
        for (key, value) in self.shards.iter().flat_map(|s| s.metadata()) {
            all.entry(key.clone()).or_insert_with(|| value.clone());
        }
        all
    }

    /// A tensor's bytes in the mapped file.
    ///
    /// A tensor that a PyTorch file holds transposed or as a slice is gathered, and kept until the
    /// checkpoint is dropped; [`bytes`](Self::bytes) keeps nothing.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn view(&self, name: &str) -> Result<TensorView<'_>> {
        self.shard(name)
            .and_then(|shard| shard.view(name))
            .ok_or_else(|| self.missing(name))
    }

    /// A tensor's bytes: little-endian elements in row-major order, copied only where the file has
    /// them in another order.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        if let Some(weight) = self.nf4(name)? {
            let values = weight.to_f32();
            return Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        }
        self.raw_bytes(name)
    }

    /// The same of the tensor in the file, be it codes.
    pub(crate) fn raw_bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        self.shard(name)
            .and_then(|shard| shard.bytes(name))
            .ok_or_else(|| self.missing(name))
    }

    /// A tensor's elements as `f32`, from F64, F32, F16 or BF16, from blocks of a GGUF file, or from
    /// NF4 as bitsandbytes stores it, see [`nf4`](Self::nf4).
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`], or [`FormatError::Tensor`] for another element type.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let shard = self.shard(name).ok_or_else(|| self.missing(name))?;
        if let Some(model) = shard.gguf() {
            return model.to_f32(name);
        }
        if let Some(weight) = self.nf4(name)? {
            return Ok(weight.to_f32());
        }
        let info = shard.info(name).ok_or_else(|| self.missing(name))?;
        let bytes = self.raw_bytes(name)?;
        let view = TensorView {
            dtype: info.dtype,
            shape: info.shape,
            bytes: &bytes,
        };
        view.to_f32()
            .ok_or_else(|| convert::not_floating(shard.path(), name, view.dtype))
    }

    /// A tensor's blocks as they are stored, for computing with them without decoding the whole;
    /// floats are blocks of one element. They stay mapped when the checkpoint is dropped. NF4 whose rows are not
    /// whole blocks is decoded.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`], or [`FormatError::Tensor`] for an element type that is
    /// neither F32, F16 nor BF16, or NF4 with a part missing or wrong.
    pub fn stored(&self, name: &str) -> Result<StoredTensor> {
        let shard = self.shard(name).ok_or_else(|| self.missing(name))?;
        if let Some(model) = shard.gguf() {
            return model.stored(name);
        }
        if let Some(weight) = self.nf4(name)? {
            let decoded = || StoredTensor {
                kind: BlockType::F32,
                shape: weight.shape.clone(),
                bytes: (weight.to_f32().iter().flat_map(|v| v.to_le_bytes()))
                    .collect::<Vec<u8>>()
                    .into(),
                transposed: false,
            };
            return Ok(weight.blocks().unwrap_or_else(decoded));
        }
        let info = shard.info(name).ok_or_else(|| self.missing(name))?;
        let kind = match info.dtype {
            Dtype::F32 => BlockType::F32,
            Dtype::F16 => BlockType::F16,
            Dtype::BF16 => BlockType::Bf16,
            other => return Err(convert::not_floating(shard.path(), name, other)),
        };
        Ok(StoredTensor {
            kind,
            shape: info.shape,
            bytes: self.raw_shared(name)?,
            transposed: false,
        })
    }

    /// How [`stored`](Self::stored) would give a tensor, without reading it; `None` where there is none, or it is not
    /// of floats.
    pub fn kind(&self, name: &str) -> Option<BlockType> {
        let shard = self.shard(name)?;
        if let Some(model) = shard.gguf() {
            return model.kind(name);
        }
        if bitsandbytes::is_coded(self, name) {
            return bitsandbytes::kind(self, name);
        }
        match shard.info(name)?.dtype {
            Dtype::F32 => Some(BlockType::F32),
            Dtype::F16 => Some(BlockType::F16),
            Dtype::BF16 => Some(BlockType::Bf16),
            _ => None,
        }
    }

    /// A tensor's bytes as [`bytes`](Self::bytes) gives them, beyond the life of the checkpoint:
    /// still mapped if the file has them so.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn shared(&self, name: &str) -> Result<SharedBytes> {
        match bitsandbytes::is_coded(self, name) {
            true => Ok(self.bytes(name)?.into_owned().into()),
            false => self.raw_shared(name),
        }
    }

    /// The same of the tensor in the file, be it codes.
    pub(crate) fn raw_shared(&self, name: &str) -> Result<SharedBytes> {
        self.shard(name)
            .and_then(|shard| shard.shared(name))
            .ok_or_else(|| self.missing(name))
    }

    /// A weight that bitsandbytes quantised to NF4, with or without double quantisation; `None` if
    /// the tensor is stored in another way.
    ///
    /// # Errors
    /// [`FormatError`] naming the part that is missing, has another shape, or asks for another type
    /// than NF4.
    pub fn nf4(&self, name: &str) -> Result<Option<Nf4Tensor>> {
        Nf4Tensor::read(self, name)
    }

    fn shard(&self, name: &str) -> Option<&Shard> {
        self.shards.get(*self.places.get(name)?)
    }

    fn missing(&self, name: &str) -> FormatError {
        let near = near::did_you_mean(&near::nearest(name, self.names(), 3));
        FormatError::MissingTensor {
            path: self.root.clone(),
            tensor: shorten(name),
            near,
        }
    }
}

#[cfg(test)]
mod tests;
