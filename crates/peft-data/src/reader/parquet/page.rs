//! Pages: their headers and their bytes.

use super::Problem;
use super::codec::decompress;
use super::meta::Chunk;
use super::thrift::{Fault, TRUE, Thrift};
use std::io::{Read, Seek, SeekFrom};

/// Largest page accepted, uncompressed. Writers aim at one megabyte; DuckDB's go to a hundred.
pub(crate) const MAX_PAGE_BYTES: usize = 256 << 20;
/// Headers hold the least and greatest value, which may be long texts.
const MAX_HEADER_BYTES: u64 = 16 << 20;
const FIRST_READ: u64 = 4 << 10;

/// What can be read at any place.
pub(crate) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// The file.
pub(crate) struct Input {
    pub(crate) stream: Box<dyn ReadSeek>,
    pub(crate) length: u64,
}

impl Input {
    /// Bytes `at..at + size`, which must lie in the file: nothing is allocated beyond it.
    pub(crate) fn read(&mut self, at: u64, size: u64) -> Result<Vec<u8>, Problem> {
        if at.checked_add(size).is_none_or(|end| end > self.length) {
            return Err("the file ends within a column".into());
        }
        let io = |e: std::io::Error| Problem::from(format!("cannot read: {e}"));
        self.stream.seek(SeekFrom::Start(at)).map_err(io)?;
        let mut bytes = vec![0; size as usize];
        self.stream.read_exact(&mut bytes).map_err(io)?;
        Ok(bytes)
    }
}

/// What a page's header says.
#[derive(Debug, Default)]
struct Header {
    kind: Option<i64>,
    uncompressed: u32,
    compressed: u32,
    values: u32,
    encoding: i64,
    definition_encoding: i64,
    repetition_encoding: i64,
    definition_bytes: u32,
    repetition_bytes: u32,
    is_compressed: bool,
}

/// Where the levels of a data page lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LevelBytes {
    /// Before the values, each kind with its length; encodings of repetition and definition.
    Prefixed { repetition: i64, definition: i64 },
    /// As the header says: repetition, then definition.
    Given { repetition: u32, definition: u32 },
}

/// A page, decompressed.
#[derive(Debug)]
pub(crate) enum Page {
    Dictionary {
        bytes: Vec<u8>,
        values: u32,
    },
    Data {
        bytes: Vec<u8>,
        values: u32,
        encoding: i64,
        levels: LevelBytes,
    },
}

/// Reads the page at `at`, which must end before `end`, and moves `at` behind it. `None` for pages
/// that hold no values.
pub(crate) fn next_page(
    input: &mut Input,
    chunk: &Chunk,
    at: &mut u64,
    end: u64,
) -> Result<Option<Page>, Problem> {
    let (header, length) = header(input, *at, end)?;
    let start = *at + length;
    let (size, whole) = (u64::from(header.compressed), header.uncompressed as usize);
    if start.checked_add(size).is_none_or(|stop| stop > end) {
        return Err("a page is longer than its column".into());
    }
    if whole > MAX_PAGE_BYTES {
        return Err(Problem {
            what: format!("a page of {whole} bytes is larger than the limit of {MAX_PAGE_BYTES}"),
            fix: "write the file again with pages of a megabyte, as most writers do",
        });
    }
    *at = start + size;
    if !matches!(header.kind, Some(0 | 2 | 3)) {
        return Ok(None);
    }
    let raw = input.read(start, size)?;
    let values = header.values;
    if header.kind == Some(2) {
        let bytes = decompress(chunk.codec, &raw, whole)?;
        return Ok(Some(Page::Dictionary { bytes, values }));
    }
    let levels = match header.kind {
        Some(0) => LevelBytes::Prefixed {
            repetition: header.repetition_encoding,
            definition: header.definition_encoding,
        },
        _ => LevelBytes::Given {
            repetition: header.repetition_bytes,
            definition: header.definition_bytes,
        },
    };
    // Of a page of the second version only the values are compressed.
    let bytes = match levels {
        LevelBytes::Given {
            repetition,
            definition,
        } => {
            let plain = repetition as usize + definition as usize;
            let left = whole.checked_sub(plain).filter(|_| plain <= raw.len());
            let left = left.ok_or("the levels are longer than their page")?;
            let codec = if header.is_compressed { chunk.codec } else { 0 };
            let values = match left {
                0 => Vec::new(),
                left => decompress(codec, &raw[plain..], left)?,
            };
            [&raw[..plain], &values].concat()
        }
        LevelBytes::Prefixed { .. } => decompress(chunk.codec, &raw, whole)?,
    };
    let encoding = header.encoding;
    Ok(Some(Page::Data {
        bytes,
        values,
        encoding,
        levels,
    }))
}

/// The header at a place, and its length.
fn header(input: &mut Input, at: u64, end: u64) -> Result<(Header, u64), Problem> {
    let room = end.saturating_sub(at).min(MAX_HEADER_BYTES);
    let mut size = room.min(FIRST_READ);
    loop {
        let bytes = input.read(at, size)?;
        match parse(&bytes) {
            Ok((header, length)) => return Ok((header, length as u64)),
            Err(Fault::End) if size < room => size = room.min(size * 8),
            Err(fault) => return Err(fault.into()),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<(Header, usize), Fault> {
    let mut header = Header {
        is_compressed: true,
        ..Header::default()
    };
    let mut thrift = Thrift::new(bytes);
    thrift.fields(|t, id, kind| {
        let h = &mut header;
        match id {
            1 => h.kind = Some(t.int(kind)?),
            2 => h.uncompressed = t.size(kind)?,
            3 => h.compressed = t.size(kind)?,
            5 | 7 => t.structure(kind, |t, id, kind| {
                match id {
                    1 => h.values = t.size(kind)?,
                    2 => h.encoding = t.int(kind)?,
                    3 if kind > 2 => h.definition_encoding = t.int(kind)?,
                    4 => h.repetition_encoding = t.int(kind)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            8 => t.structure(kind, |t, id, kind| {
                match id {
                    1 => h.values = t.size(kind)?,
                    4 => h.encoding = t.int(kind)?,
                    5 => h.definition_bytes = t.size(kind)?,
                    6 => h.repetition_bytes = t.size(kind)?,
                    7 => {
                        h.is_compressed = kind == TRUE;
                        return Ok(false);
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    match header.kind {
        Some(_) => Ok((header, thrift.at)),
        None => Err(Fault::Broken("a page does not say what it is")),
    }
}
