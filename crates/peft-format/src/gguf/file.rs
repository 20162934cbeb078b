//! A mapped file: metadata by key, tensors by name.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::header::Header;
use super::value::{Array, Value, ValueType};
use crate::blocks::BlockType;
use crate::bounded;
use crate::error::{FormatError, Result, shorten};
use crate::near;
use crate::shared::SharedBytes;

/// What the file says of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// How its elements are stored.
    pub kind: BlockType,
    /// Dimensions, outermost first: the reverse of the file's order.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// A GGUF file of version 2 or 3, memory-mapped.
///
/// Opening reads and checks the metadata and the descriptions of the tensors, and no tensor: every
/// count is bounded by the size of the file, every tensor lies where the ones before it end, and
/// every offset is inside the file. The file must not be truncated or rewritten in place while it is
/// open.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Arc<Mmap>,
    header: Header,
}

impl GgufFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FormatError`] naming the file and the key or tensor: another format, version 1, big-endian
    /// byte order, one part of a split model, a tensor type that is not read, or damage.
    pub fn open(path: &Path) -> Result<Self> {
        let file = bounded::open(path)?;
        // SAFETY: the mapping is read-only and lives as long as what borrows from it. As with every
        // mapped file, soundness rests on nobody truncating it meanwhile; the docs say so.
        let map = unsafe { Mmap::map(&file) }.map_err(FormatError::io("map", path))?;
        Self::from_map(path, Arc::new(map))
    }

    pub(crate) fn from_map(path: &Path, map: Arc<Mmap>) -> Result<Self> {
        bounded::refuse_pointer(path, &map)?;
        let header = Header::parse(path, &map)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            header,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// Where the tensor data starts, in bytes from the start of the file.
    pub fn data_start(&self) -> u64 {
        self.header.data_start
    }

    /// All bytes before the tensor data: the metadata, with the tokenizer, and the descriptions of the
    /// tensors.
    pub fn head(&self) -> &[u8] {
        // Without tensors, the padding before their data may be left out.
        let len = self.map.len().min(self.header.data_start as usize);
        &self.map[..len]
    }

    /// The bytes of which every tensor starts at a multiple, from [`data_start`](Self::data_start).
    pub fn alignment(&self) -> u64 {
        self.header.alignment
    }

    /// The metadata in file order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let entries = self.header.entries.iter();
        entries.filter_map(|(key, entry)| Some((key.as_str(), entry.value(&self.map)?)))
    }

    /// A metadata value of any type.
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        self.header.entries.get(key)?.value(&self.map)
    }

    /// The type that a metadata value has in the file.
    pub fn value_type(&self, key: &str) -> Option<ValueType> {
        Some(self.header.entries.get(key)?.kind)
    }

    /// An integer that is not negative, of any integer type.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the key has another value.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an integer that is not negative", Value::as_u64)
    }

    /// A finite float, of either type.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the key has another value.
    pub fn float(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a finite float", |v| {
            v.as_f64().map(|v| v as f32).filter(|v| v.is_finite())
        })
    }

    /// True or false.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the key has another value.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the key has another value or one that is not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "UTF-8 text", Value::as_str)
    }

    /// The strings of an array, which need not be UTF-8.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the key has another value.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&[u8]>>> {
        self.array(key, "an array of strings", |value| match value {
            Value::String(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// The integers of an array, of any integer type that holds no negative ones.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the key has another value.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<u64>>> {
        let expected = "an array of integers that are not negative";
        self.array(key, expected, Value::as_u64)
    }

    /// The floats of an array, of either type.
    ///
    /// # Errors
    /// [`FormatError::Field`] if the key has another value.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.array(key, "an array of floats", |v| v.as_f64().map(|v| v as f32))
    }

    fn array<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        each: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        self.typed(key, expected, |value| match value {
            Value::Array(array) => array.iter().map(&each).collect::<Option<Vec<T>>>(),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.field(key, expected, describe(value))),
        }
    }

    /// A key that the file must have.
    pub(super) fn required<T>(&self, key: &str, expected: &str, found: Option<T>) -> Result<T> {
        found.ok_or_else(|| self.field(key, expected, "nothing"))
    }

    pub(super) fn field(
        &self,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> FormatError {
        FormatError::Field {
            path: self.path.clone(),
            key: key.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &GgufTensor)> {
        let tensors = self.header.tensors.iter();
        tensors.map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// What the file says of a tensor.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn tensor(&self, name: &str) -> Result<&GgufTensor> {
        self.header.tensors.get(name).ok_or_else(|| {
            let names = self.header.tensors.keys().map(String::as_str);
            FormatError::MissingTensor {
                path: self.path.clone(),
                tensor: shorten(name),
                near: near::did_you_mean(&near::nearest(name, names, 3)),
            }
        })
    }

    /// The blocks of a tensor; they keep the file mapped.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn bytes(&self, name: &str) -> Result<SharedBytes> {
        let range = self.tensor(name)?.range.clone();
        SharedBytes::mapped(&self.map, range).ok_or_else(|| {
            // Cannot be: the header was checked against the file's length.
            FormatError::corrupt(&self.path, shorten(name), "its range left the file")
        })
    }

    /// The mapped bytes of a tensor.
    pub(super) fn slice(&self, name: &str) -> Option<&[u8]> {
        self.map.get(self.header.tensors.get(name)?.range.clone())
    }

    /// The elements of a tensor, decoded.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] with the names most like the one asked for.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(name)?;
        let mut out = vec![0.0; tensor.shape.iter().product()];
        tensor.kind.decode(&self.bytes(name)?, &mut out);
        Ok(out)
    }
}

/// A value in a message.
fn describe(value: Value) -> String {
    match value {
        Value::Unsigned(v) => v.to_string(),
        Value::Signed(v) => v.to_string(),
        Value::F32(v) => v.to_string(),
        Value::F64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::String(v) => format!("`{}`", shorten(&String::from_utf8_lossy(v))),
        Value::Array(array) => describe_array(&array),
    }
}

fn describe_array(array: &Array) -> String {
    format!("an array of {} {}", array.len(), array.kind().name())
}
