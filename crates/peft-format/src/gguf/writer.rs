//! Writing a file of version 3.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use super::value::ValueType;
use super::{ALIGNMENT, MAGIC};
use crate::atomic::AtomicFile;
use crate::blocks::BlockType;
use crate::error::{FormatError, Result, shorten};

/// A metadata value to be written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// 32 bits, unsigned.
    U32(u32),
    /// 64 bits, unsigned.
    U64(u64),
    /// A 32-bit float.
    F32(f32),
    /// True or false.
    Bool(bool),
    /// Text.
    String(String),
    /// An array of strings.
    Strings(Vec<String>),
    /// An array of 32-bit unsigned integers.
    U32s(Vec<u32>),
    /// An array of 32-bit signed integers.
    I32s(Vec<i32>),
    /// An array of 32-bit floats.
    F32s(Vec<f32>),
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl GgufValue {
    fn write(&self, out: &mut Vec<u8>) {
        let kind = |out: &mut Vec<u8>, kind: ValueType| out.extend(kind.id().to_le_bytes());
        let array = |out: &mut Vec<u8>, element: ValueType, len: usize| {
            kind(out, ValueType::Array);
            kind(out, element);
            out.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::U32(v) => {
                kind(out, ValueType::U32);
                out.extend(v.to_le_bytes());
            }
            Self::U64(v) => {
                kind(out, ValueType::U64);
                out.extend(v.to_le_bytes());
            }
            Self::F32(v) => {
                kind(out, ValueType::F32);
                out.extend(v.to_le_bytes());
            }
            Self::Bool(v) => {
                kind(out, ValueType::Bool);
                out.push(u8::from(*v));
            }
            Self::String(v) => {
                kind(out, ValueType::String);
                string(out, v);
            }
            Self::Strings(v) => {
                array(out, ValueType::String, v.len());
                v.iter().for_each(|text| string(out, text));
            }
            Self::U32s(v) => {
                array(out, ValueType::U32, v.len());
                out.extend(v.iter().flat_map(|v| v.to_le_bytes()));
            }
            Self::I32s(v) => {
                array(out, ValueType::I32, v.len());
                out.extend(v.iter().flat_map(|v| v.to_le_bytes()));
            }
            Self::F32s(v) => {
                array(out, ValueType::F32, v.len());
                out.extend(v.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A tensor to be written: name, element type, shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensorSpec {
    /// Name in the file, shorter than 64 bytes.
    pub name: String,
    /// How its elements are stored.
    pub kind: BlockType,
    /// Dimensions, outermost first, at most four.
    pub shape: Vec<usize>,
}

impl GgufTensorSpec {
    fn byte_len(&self) -> Option<usize> {
        let elements = self
            .shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let row = self.shape.last().copied().unwrap_or(1);
        self.kind.byte_len(row)?;
        self.kind.byte_len(elements)
    }
}

/// Writes a file whose tensors arrive one at a time, in the order given.
///
/// Metadata keep their order too. The file appears under its name in [`finish`](Self::finish) and
/// not before.
#[derive(Debug)]
pub struct GgufWriter {
    file: AtomicFile,
    tensors: std::vec::IntoIter<GgufTensorSpec>,
}

impl GgufWriter {
    /// Writes the head of a file with these metadata and tensors.
    ///
    /// # Errors
    /// [`FormatError::Write`] for a repeated or unfit name or a shape that is no whole number of
    /// blocks a row, [`FormatError::Io`].
    pub fn create(
        path: &Path,
        metadata: &[(&str, GgufValue)],
        tensors: Vec<GgufTensorSpec>,
    ) -> Result<Self> {
        let mut head = MAGIC.to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend((metadata.len() as u64).to_le_bytes());
        let mut keys = HashSet::new();
        for (key, value) in metadata {
            if key.is_empty() || !keys.insert(key) {
                return Err(refuse(path, key, "each key once, none empty", "this key"));
            }
            string(&mut head, key);
            value.write(&mut head);
        }
        let (mut names, mut offset) = (HashSet::new(), 0u64);
        for tensor in &tensors {
            let name = &tensor.name;
            if name.is_empty() || name.len() >= 64 || !names.insert(name) {
                let expected = "distinct names of 1 to 63 bytes";
                return Err(refuse(path, name, expected, "this name"));
            }
            let size = tensor.byte_len().filter(|&size| size > 0);
            let (Some(size), Some(kind), 0..=4) = (size, tensor.kind.ggml(), tensor.shape.len())
            else {
                let expected =
                    "a type of GGUF files, at most 4 dimensions and whole blocks in each row";
                let found = format!("{} {:?}", tensor.kind, tensor.shape);
                return Err(refuse(path, name, expected, &found));
            };
            string(&mut head, name);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            let contiguous_first = tensor.shape.iter().rev();
            head.extend(contiguous_first.flat_map(|&d| (d as u64).to_le_bytes()));
            head.extend(kind.to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset = (offset + size as u64).next_multiple_of(ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
        let mut file = AtomicFile::create(path)?;
        file.write_all(&head)
            .map_err(FormatError::io("write", path))?;
        let tensors = tensors.into_iter();
        Ok(Self { file, tensors })
    }

    /// Writes the blocks of the next tensor.
    ///
    /// # Errors
    /// [`FormatError::Write`] if it is another tensor's turn or the length is wrong.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.file.target().to_owned();
        let Some(next) = self.tensors.next() else {
            return Err(refuse(&path, name, "no more tensors", "this one"));
        };
        if next.name != name {
            let expected = format!("tensor `{}`", next.name);
            return Err(refuse(&path, name, &expected, "this one"));
        }
        if next.byte_len() != Some(bytes.len()) {
            let expected = format!("the bytes of {} {:?}", next.kind, next.shape);
            let found = format!("{} bytes", bytes.len());
            return Err(refuse(&path, name, &expected, &found));
        }
        let padding = bytes.len().next_multiple_of(ALIGNMENT as usize) - bytes.len();
        self.file
            .write_all(bytes)
            .and_then(|()| self.file.write_all(&[0; ALIGNMENT as usize][..padding]))
            .map_err(FormatError::io("write", &path))
    }

    /// Syncs the file and moves it into place.
    ///
    /// # Errors
    /// [`FormatError::Write`] if tensors are missing, [`FormatError::Io`].
    pub fn finish(mut self) -> Result<()> {
        if let Some(next) = self.tensors.next() {
            let path = self.file.target();
            return Err(refuse(path, &next.name, "all tensors", "not this one"));
        }
        self.file.commit()
    }
}

fn refuse(path: &Path, name: &str, expected: &str, found: &str) -> FormatError {
    FormatError::Write {
        path: path.to_owned(),
        tensor: shorten(name),
        expected: expected.into(),
        found: found.into(),
    }
}
