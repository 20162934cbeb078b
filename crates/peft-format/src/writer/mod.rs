//! Streamed `.safetensors` writing.

mod model;

use std::io::Write;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo as OfficialInfo;

use crate::Metadata;
use crate::atomic::AtomicFile;
use crate::checkpoint::{HEADER_LIMIT, TensorInfo};
use crate::error::{FormatError, Result, shorten};

pub use model::{INDEX_NAME, MODEL_NAME, ModelWriter, SHARD_SIZE, is_shard};

/// A tensor to be written: name, element type, shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A specification.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape: shape.into(),
        }
    }
}

/// Writes a file whose tensors arrive one at a time, so that none but the current one is in memory.
///
/// The bytes equal those of `safetensors::serialize`: tensors by descending element type, then by
/// name; a header padded with spaces to eight bytes. (The official crate writes several metadata
/// keys in random order; here they keep the order given.) The file appears under its name in
/// [`finish`](Self::finish) and not before.
#[derive(Debug)]
pub struct SafetensorsWriter {
    file: AtomicFile,
    order: Vec<(TensorSpec, usize)>,
    /// The tensor being written.
    current: usize,
    /// Bytes of it already written.
    filled: usize,
}

impl SafetensorsWriter {
    /// Writes the header of a file with exactly these tensors, in any order.
    ///
    /// # Errors
    /// [`FormatError::Write`] for a repeated or reserved name or a shape whose size overflows,
    /// [`FormatError::TooLarge`] for the header, [`FormatError::Io`].
    pub fn create(path: &Path, tensors: Vec<TensorSpec>, metadata: &Metadata) -> Result<Self> {
        let order = layout(path, tensors)?;
        let header = header(path, &order, metadata)?;
        let mut file = AtomicFile::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| file.write_all(&header))
            .map_err(FormatError::io("write", path))?;
        Ok(Self {
            file,
            order,
            current: 0,
            filled: 0,
        })
    }

    /// The tensors in the order in which [`write`](Self::write) takes them.
    pub fn order(&self) -> impl Iterator<Item = &TensorSpec> {
        self.order.iter().map(|(spec, _)| spec)
    }

    /// Writes a whole tensor, the next in [`order`](Self::order), as little-endian row-major bytes.
    ///
    /// # Errors
    /// [`FormatError::Write`] if it is another tensor's turn or the length is wrong.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let &(ref spec, size) = self.expect(name)?;
        let (dtype, shape) = (spec.dtype, &spec.shape);
        if bytes.len() != size || self.filled != 0 {
            let expected = format!("{size} bytes for {dtype} {shape:?}");
            let found = match self.filled {
                0 => format!("{} bytes", bytes.len()),
                n => format!("{n} bytes already written in parts"),
            };
            return Err(self.misuse(name, expected, found));
        }
        self.write_part(name, bytes)
    }

    /// Writes a part of the current tensor, for tensors that are made in pieces.
    ///
    /// # Errors
    /// [`FormatError::Write`] if it is another tensor's turn or the parts exceed the tensor.
    pub fn write_part(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let size = self.expect(name)?.1;
        let left = size - self.filled;
        if bytes.len() > left {
            let (expected, found) = (format!("{left} more bytes"), format!("{}", bytes.len()));
            return Err(self.misuse(name, expected, found));
        }
        self.file
            .write_all(bytes)
            .map_err(FormatError::io("write", self.file.target()))?;
        self.filled += bytes.len();
        if self.filled == size {
            (self.current, self.filled) = (self.current + 1, 0);
        }
        Ok(())
    }

    /// Whether all tensors are written.
    pub fn is_complete(&self) -> bool {
        self.current == self.order.len()
    }

    /// Syncs the file and moves it into place.
    ///
    /// # Errors
    /// [`FormatError::Write`] if tensors are missing, [`FormatError::Io`].
    pub fn finish(self) -> Result<()> {
        if let Some((next, size)) = self.order.get(self.current) {
            let expected = format!("all {} tensors", self.order.len());
            let found = format!(
                "{} of them and {} of {size} bytes of this one",
                self.current, self.filled
            );
            return Err(self.misuse(&next.name, expected, found));
        }
        self.file.commit()
    }

    fn expect(&self, name: &str) -> Result<&(TensorSpec, usize)> {
        match self.order.get(self.current) {
            Some(next) if next.0.name == name => Ok(next),
            Some((next, _)) => {
                Err(self.misuse(name, format!("tensor `{}`", next.name), "this one".into()))
            }
            None => Err(self.misuse(name, "no more tensors".into(), "this one".into())),
        }
    }

    fn misuse(&self, name: &str, expected: String, found: String) -> FormatError {
        let path = self.file.target().to_owned();
        FormatError::Write {
            path,
            tensor: shorten(name),
            expected,
            found,
        }
    }
}

/// Size in bytes of the file that [`SafetensorsWriter`] would write of these tensors.
///
/// # Errors
/// As [`SafetensorsWriter::create`], but for [`FormatError::Io`].
pub fn file_size(tensors: Vec<TensorSpec>, metadata: &Metadata) -> Result<u64> {
    let path = Path::new("the planned file");
    let order = layout(path, tensors)?;
    let header = header(path, &order, metadata)?;
    let data: usize = order.iter().map(|(_, size)| size).sum();
    Ok((size_of::<u64>() + header.len() + data) as u64)
}

/// Puts tensors into file order.
fn sort(tensors: &mut [TensorSpec]) {
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
}

/// File order and sizes in bytes.
fn layout(path: &Path, mut tensors: Vec<TensorSpec>) -> Result<Vec<(TensorSpec, usize)>> {
    let refuse = |name: &str, expected: &str, found: String| FormatError::Write {
        path: path.to_owned(),
        tensor: shorten(name),
        expected: expected.into(),
        found,
    };
    sort(&mut tensors);
    let mut seen = std::collections::HashSet::with_capacity(tensors.len());
    let mut total = 0usize;
    let mut sizes = Vec::with_capacity(tensors.len());
    for TensorSpec { name, dtype, shape } in &tensors {
        if !seen.insert(name) {
            return Err(refuse(name, "each name once", "it again".into()));
        }
        if name == "__metadata__" {
            return Err(refuse(
                name,
                "another name",
                "the one reserved for metadata".into(),
            ));
        }
        let size = TensorInfo {
            dtype: *dtype,
            shape: shape.clone(),
        }
        .byte_len();
        let end = size.and_then(|size| total.checked_add(size));
        let (Some(size), Some(end)) = (size, end) else {
            let expected = "a whole number of bytes that fits the address space";
            return Err(refuse(name, expected, format!("{dtype} {shape:?}")));
        };
        sizes.push(size);
        total = end;
    }
    Ok(tensors.into_iter().zip(sizes).collect())
}

/// The JSON header with its padding.
fn header(path: &Path, order: &[(TensorSpec, usize)], metadata: &Metadata) -> Result<Vec<u8>> {
    let mut map = serde_json::Map::with_capacity(order.len() + 1);
    let json = |e: serde_json::Error| FormatError::io("encode the header of", path)(e.into());
    if !metadata.is_empty() {
        let strings = metadata
            .iter()
            .map(|(k, v)| (k.clone(), v.as_str().into()))
            .collect();
        map.insert("__metadata__".into(), serde_json::Value::Object(strings));
    }
    let mut start = 0;
    for (spec, size) in order {
        let data_offsets = (start, start + size); // bounded by the total that `layout` checked
        let info = OfficialInfo {
            dtype: spec.dtype,
            shape: spec.shape.clone(),
            data_offsets,
        };
        map.insert(spec.name.clone(), serde_json::to_value(info).map_err(json)?);
        start = data_offsets.1;
    }
    let mut bytes = serde_json::to_vec(&map).map_err(json)?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    if bytes.len() as u64 > HEADER_LIMIT {
        let (path, size) = (path.to_owned(), bytes.len() as u64);
        let what = "the safetensors header";
        return Err(FormatError::TooLarge {
            path,
            what,
            size,
            limit: HEADER_LIMIT,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
