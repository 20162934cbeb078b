//! The head of a file: magic, version, metadata and tensor descriptions, all checked.

use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;

use super::cursor::Cursor;
use super::value::{Value, ValueType};
use super::{ALIGNMENT, GgufTensor, MAGIC};
use crate::blocks::BlockType;
use crate::error::{FormatError, Result, shorten};

/// Bytes of the smallest metadata entry: a one-byte key, a type and a one-byte value; and of the
/// smallest tensor description, as llama.cpp counts them.
const SMALLEST_ENTRY: usize = 13;
const SMALLEST_TENSOR: usize = 24;
const DIMENSIONS: u32 = 4;
/// Tensor names are shorter than this.
const NAME_LIMIT: usize = 64;

/// Where a metadata value is: its type and the bytes from there on.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub kind: ValueType,
    pub range: Range<usize>,
}

/// All that precedes the tensor data.
#[derive(Debug)]
pub(super) struct Header {
    pub version: u32,
    pub entries: IndexMap<String, Entry>,
    pub tensors: IndexMap<String, GgufTensor>,
    pub data_start: u64,
    pub alignment: u64,
}

impl Header {
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let cursor = &mut Cursor::new(path, bytes);
        let version = version(path, cursor)?;
        let tensors = cursor.count(SMALLEST_TENSOR, "tensors", "tensor count")?;
        let entries = cursor.count(SMALLEST_ENTRY, "metadata entries", "metadata count")?;
        let entries = metadata(cursor, entries)?;
        refuse_parts(path, bytes, &entries)?;
        let alignment = alignment(path, bytes, &entries)?;
        let mut infos = IndexMap::new();
        let mut next = 0;
        for number in 0..tensors {
            let (name, tensor) = tensor(path, cursor, number, next)?;
            next = padded(tensor.range.end as u64, alignment);
            if infos.insert(name.clone(), tensor).is_some() {
                return Err(cursor.corrupt(&place(&name), "the name occurs twice"));
            }
        }
        let data_start = padded(cursor.position() as u64, alignment);
        for (name, tensor) in &mut infos {
            let end = data_start.saturating_add(tensor.range.end as u64);
            if end > bytes.len() as u64 {
                let reason = format!("it ends at byte {end}, the file has {}", bytes.len());
                return Err(cursor.corrupt(&place(name), reason));
            }
            // Both ends are within the file, so the sums fit.
            tensor.range.start += data_start as usize;
            tensor.range.end += data_start as usize;
        }
        Ok(Self {
            version,
            entries,
            tensors: infos,
            data_start,
            alignment,
        })
    }
}

fn place(tensor: &str) -> String {
    format!("tensor `{}`", shorten(tensor))
}

fn padded(size: u64, alignment: u64) -> u64 {
    size.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
}

fn version(path: &Path, cursor: &mut Cursor) -> Result<u32> {
    let wrong = |found: String, fix: &str| FormatError::WrongKind {
        path: path.to_owned(),
        expected: "a little-endian GGUF file of version 2 or 3",
        found,
        fix: fix.into(),
    };
    let magic = cursor.take(MAGIC.len(), "magic number")?;
    if magic != MAGIC {
        let found = format!("it starts with {magic:?}");
        return Err(wrong(found, "check the path, or download the file again"));
    }
    match cursor.u32("version")? {
        version @ (2 | 3) => Ok(version),
        version if version & 0xffff == 0 => Err(wrong(
            format!("it is big-endian, of version {}", version.swap_bytes()),
            "download the little-endian file, or convert it with `gguf_convert_endian.py`",
        )),
        version => Err(wrong(
            format!("it has version {version}"),
            "convert the model again with a present llama.cpp",
        )),
    }
}

fn metadata(cursor: &mut Cursor, count: usize) -> Result<IndexMap<String, Entry>> {
    let mut entries = IndexMap::new();
    for number in 0..count {
        let key = cursor.text(&format!("metadata entry {number}"))?;
        let place = format!("key `{}`", shorten(key));
        if key.is_empty() {
            return Err(cursor.corrupt(&format!("metadata entry {number}"), "its key is empty"));
        }
        let kind = ValueType::read(cursor, &place)?;
        let start = cursor.position();
        Value::read(cursor, kind, &place)?;
        let range = start..cursor.position();
        if entries
            .insert(key.to_owned(), Entry { kind, range })
            .is_some()
        {
            return Err(cursor.corrupt(&place, "the key occurs twice"));
        }
    }
    Ok(entries)
}

impl Entry {
    pub fn value<'a>(&self, bytes: &'a [u8]) -> Option<Value<'a>> {
        let mut cursor = Cursor::new("".as_ref(), bytes.get(self.range.clone())?);
        Value::read(&mut cursor, self.kind, "").ok()
    }
}

/// Models in several files are refused: each file holds only some of the tensors.
fn refuse_parts(path: &Path, bytes: &[u8], entries: &IndexMap<String, Entry>) -> Result<()> {
    let count = entries.get("split.count").and_then(|e| e.value(bytes));
    match count {
        None | Some(Value::Unsigned(0 | 1) | Value::Signed(0 | 1)) => Ok(()),
        Some(count) => Err(FormatError::WrongKind {
            path: path.to_owned(),
            expected: "a model in one GGUF file",
            found: format!("it is one part of several, `split.count` = {count:?}"),
            fix: "join the parts with `llama-gguf-split --merge`".into(),
        }),
    }
}

fn alignment(path: &Path, bytes: &[u8], entries: &IndexMap<String, Entry>) -> Result<u64> {
    let key = "general.alignment";
    let Some(entry) = entries.get(key) else {
        return Ok(ALIGNMENT);
    };
    match (entry.kind, entry.value(bytes)) {
        (ValueType::U32, Some(Value::Unsigned(value))) if value.is_power_of_two() => Ok(value),
        (kind, value) => Err(FormatError::Field {
            path: path.to_owned(),
            key: key.into(),
            expected: "a power of two of type u32".into(),
            found: match value {
                Some(Value::Array(_)) | None => kind.name().into(),
                Some(value) => shorten(&format!("{} {value:?}", kind.name())),
            },
        }),
    }
}

/// One description; its range counts from the start of the data section.
fn tensor(
    path: &Path,
    cursor: &mut Cursor,
    number: usize,
    next: u64,
) -> Result<(String, GgufTensor)> {
    let name = cursor.text(&format!("tensor {number}"))?.to_owned();
    let place = place(&name);
    if name.len() >= NAME_LIMIT || name.is_empty() {
        let reason = format!(
            "expected a name of 1 to {} bytes, found {}",
            NAME_LIMIT - 1,
            name.len()
        );
        return Err(cursor.corrupt(&place, reason));
    }
    let dimensions = cursor.u32(&place)?;
    if dimensions > DIMENSIONS {
        let reason = format!("expected at most {DIMENSIONS} dimensions, found {dimensions}");
        return Err(cursor.corrupt(&place, reason));
    }
    let mut shape = Vec::with_capacity(dimensions as usize);
    for _ in 0..dimensions {
        shape.push(cursor.u64(&place)?);
    }
    let id = cursor.u32(&place)?;
    let kind = BlockType::from_ggml(id).ok_or_else(|| FormatError::Tensor {
        path: path.to_owned(),
        tensor: shorten(&name),
        expected: "F32, F16, BF16, Q4_0 to Q8_0 or Q2_K to Q6_K".into(),
        found: unread(id),
        fix: "use a file quantised to one of those, or convert this one with `llama-quantize`",
    })?;
    let offset = cursor.u64(&place)?;
    let counted = shape.iter().try_fold(1usize, |n, &d| {
        n.checked_mul(usize::try_from(d).ok().filter(|&d| d > 0)?)
    });
    let contiguous = shape.first().copied().unwrap_or(1);
    let Some(elements) = counted.filter(|n| n.checked_mul(8).is_some()) else {
        let reason = format!("its dimensions {shape:?} are no countable number of elements");
        return Err(cursor.corrupt(&place, reason));
    };
    if !contiguous.is_multiple_of(kind.block_len() as u64) {
        let reason = format!(
            "its rows of {contiguous} elements are no whole blocks of {} elements of {kind}",
            kind.block_len()
        );
        return Err(cursor.corrupt(&place, reason));
    }
    if offset != next {
        let reason =
            format!("its data should start at offset {next} of the data section, found {offset}");
        return Err(cursor.corrupt(&place, reason));
    }
    let bytes = kind.byte_len(elements);
    let end = bytes.and_then(|bytes| usize::try_from(offset).ok()?.checked_add(bytes));
    let (Some(end), Ok(start)) = (end, usize::try_from(offset)) else {
        return Err(cursor.corrupt(&place, "its data is larger than the address space"));
    };
    // The file has the contiguous dimension first.
    let shape = shape.iter().rev().map(|&d| d as usize).collect();
    let range = start..end;
    Ok((name, GgufTensor { kind, shape, range }))
}

/// The name of an element type of ggml that is not read here.
fn unread(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return format!("the unknown element type {id}"),
    };
    format!("{name} (element type {id})")
}
