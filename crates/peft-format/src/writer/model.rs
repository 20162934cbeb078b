//! The weights of a model folder, in one file or in several.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{SafetensorsWriter, TensorSpec};
use crate::Metadata;
use crate::atomic::write_atomic_bytes;
use crate::checkpoint::TensorInfo;
use crate::error::{FormatError, Result, shorten};

/// Name of the weights that are in one file.
pub const MODEL_NAME: &str = "model.safetensors";

/// Name of the list of files of weights that are in several.
pub const INDEX_NAME: &str = "model.safetensors.index.json";

/// Bytes of tensors that a file holds at most, as Hugging Face's tools had it for years: 5 GB.
pub const SHARD_SIZE: u64 = 5_000_000_000;

/// Writes the weights of a model folder as Hugging Face's tools do, tensor by tensor.
///
/// Tensors go into a file in the order given until the next would be too much for it; a tensor that is too
/// much by itself has its own file. Weights that fit one file are in [`MODEL_NAME`]; others are in
/// `model-00001-of-00003.safetensors` and so on, with [`INDEX_NAME`] beside them. One tensor is in memory at
/// a time, and one file is open.
#[derive(Debug)]
pub struct ModelWriter {
    folder: PathBuf,
    metadata: Metadata,
    /// Files still to be written, the last first.
    waiting: Vec<Shard>,
    current: Option<SafetensorsWriter>,
    /// Tensors still to come, of all files, the last first.
    order: Vec<TensorSpec>,
    index: Option<Vec<u8>>,
    files: usize,
}

#[derive(Debug)]
struct Shard {
    name: String,
    tensors: Vec<TensorSpec>,
}

impl ModelWriter {
    /// Divides the tensors among files of at most `limit` bytes of them.
    ///
    /// # Errors
    /// [`FormatError::Write`] for a shape whose size overflows, and for a limit of 0. Names are checked
    /// when their file's turn comes.
    pub fn create(
        folder: &Path,
        tensors: Vec<TensorSpec>,
        metadata: &Metadata,
        limit: u64,
    ) -> Result<Self> {
        let path = folder.join(MODEL_NAME);
        let wrong = |tensor: &str, expected: &str, found: String| FormatError::Write {
            path: path.clone(),
            tensor: shorten(tensor),
            expected: expected.into(),
            found,
        };
        if limit == 0 {
            return Err(wrong("", "room for tensors in a file", "0 bytes".into()));
        }
        let (mut total, mut elements) = (0u64, 0u64);
        let (mut groups, mut open, mut held) = (Vec::new(), Vec::new(), 0u64);
        for tensor in tensors {
            let info = TensorInfo {
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
            };
            let size = info.byte_len().map(|size| size as u64);
            let sum = size.and_then(|size| total.checked_add(size));
            let (Some(size), Some(sum)) = (size, sum) else {
                let expected = "a whole number of bytes that fits the address space";
                let found = format!("{} {:?}", tensor.dtype, tensor.shape);
                return Err(wrong(&tensor.name, expected, found));
            };
            total = sum;
            elements += tensor.shape.iter().map(|&d| d as u64).product::<u64>();
            if size > limit {
                groups.push(vec![tensor]);
                continue;
            }
            if held + size > limit {
                groups.push(std::mem::take(&mut open));
                held = 0;
            }
            held += size;
            open.push(tensor);
        }
        if !open.is_empty() || groups.is_empty() {
            groups.push(open);
        }
        let files = groups.len();
        let names = |place: usize| match files {
            1 => MODEL_NAME.to_owned(),
            _ => format!("model-{:05}-of-{files:05}.safetensors", place + 1),
        };
        let shards = groups
            .into_iter()
            .enumerate()
            .map(|(place, tensors)| Shard {
                name: names(place),
                tensors,
            });
        let mut waiting: Vec<Shard> = shards.collect();
        let index = (files > 1).then(|| index(&waiting, total, elements));
        let mut order = Vec::new();
        for shard in &mut waiting {
            // As the file will have them.
            super::sort(&mut shard.tensors);
            order.extend(shard.tensors.iter().cloned());
        }
        waiting.reverse();
        order.reverse();
        Ok(Self {
            folder: folder.to_owned(),
            metadata: metadata.clone(),
            waiting,
            current: None,
            order,
            index,
            files,
        })
    }

    /// The tensor whose turn it is; none when all are written.
    pub fn next(&self) -> Option<&TensorSpec> {
        self.order.last()
    }

    /// How many files the weights are in.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Writes the [`next`](Self::next) tensor, as little-endian row-major bytes.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::create`] and [`SafetensorsWriter::write`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut writer = match self.current.take() {
            Some(writer) => writer,
            None => self.open_next(name)?,
        };
        writer.write(name, bytes)?;
        self.order.pop();
        match writer.is_complete() {
            true => writer.finish()?,
            false => self.current = Some(writer),
        }
        Ok(())
    }

    fn open_next(&mut self, name: &str) -> Result<SafetensorsWriter> {
        let Some(shard) = self.waiting.pop() else {
            return Err(FormatError::Write {
                path: self.folder.clone(),
                tensor: shorten(name),
                expected: "no more tensors".into(),
                found: "this one".into(),
            });
        };
        let path = self.folder.join(shard.name);
        SafetensorsWriter::create(&path, shard.tensors, &self.metadata)
    }

    /// Writes the index, where there is one.
    ///
    /// # Errors
    /// [`FormatError::Write`] if tensors are missing, [`FormatError::Io`].
    pub fn finish(mut self) -> Result<()> {
        if let Some(next) = self.next() {
            return Err(FormatError::Write {
                path: self.folder.clone(),
                tensor: shorten(&next.name),
                expected: "all tensors".into(),
                found: "not this one".into(),
            });
        }
        // A model without tensors is a file, too.
        if !self.waiting.is_empty() {
            self.open_next("")?.finish()?;
        }
        match &self.index {
            Some(index) => write_atomic_bytes(&self.folder.join(INDEX_NAME), index),
            None => Ok(()),
        }
    }
}

/// The index, with keys sorted as Hugging Face's tools sort them.
fn index(shards: &[Shard], bytes: u64, elements: u64) -> Vec<u8> {
    let places = shards.iter().flat_map(|shard| {
        let names = shard.tensors.iter();
        names.map(|tensor| (tensor.name.as_str(), shard.name.as_str()))
    });
    let places: BTreeMap<&str, &str> = places.collect();
    let index = json!({
        "metadata": { "total_parameters": elements, "total_size": bytes },
        "weight_map": places,
    });
    format!("{index:#}\n").into_bytes()
}

/// Whether a file of this name is one of several that hold a model's weights.
pub fn is_shard(name: &str) -> bool {
    let numbers = name
        .strip_prefix("model-")
        .and_then(|rest| rest.strip_suffix(".safetensors"))
        .and_then(|rest| rest.split_once("-of-"));
    let number = |text: &str| text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(place, files)| number(place) && number(files))
}
