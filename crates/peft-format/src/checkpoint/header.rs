//! The JSON header of a safetensors file, validated before anything trusts an offset.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;
use safetensors::Dtype;
use safetensors::tensor::{Metadata as OfficialMetadata, TensorInfo as OfficialInfo};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::Metadata;
use crate::error::{FormatError, Result, shorten};
use crate::json::UniqueMap;

/// The largest header that is parsed, that of the official crate.
pub const HEADER_LIMIT: u64 = 100_000_000;

/// Bytes of the header length at the start of the file.
const LENGTH_BYTES: usize = 8;

/// Element type and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of bytes, or `None` if it overflows or is no whole number.
    pub fn byte_len(&self) -> Option<usize> {
        let elements = self
            .shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let bits = elements.checked_mul(self.dtype.bitsize())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// A validated header: tensors in file order, their byte ranges, and the metadata strings.
#[derive(Debug)]
pub(crate) struct Header {
    tensors: IndexMap<String, OfficialInfo>,
    /// Where the tensor bytes start in the file.
    data_start: usize,
    pub metadata: Metadata,
}

impl Header {
    /// Parses and validates the header of the whole file in `bytes`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let (json, data_start) = header_bytes(path, bytes)?;
        let text = std::str::from_utf8(json)
            .map_err(|e| FormatError::corrupt(path, "header", format!("not UTF-8: {e}")))?;
        let raw: RawHeader = serde_json::from_str(text).map_err(|e| {
            FormatError::corrupt(
                path,
                "header",
                format!("not a header: {}", shorten(&e.to_string())),
            )
        })?;
        let mut tensors = raw.tensors;
        tensors.sort_by(|_, a, _, b| a.data_offsets.cmp(&b.data_offsets));
        check_ranges(path, &tensors, bytes.len() - data_start)?;
        // A second opinion: what the official crate refuses is refused here as well.
        OfficialMetadata::new(
            None,
            tensors
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        )
        .map_err(|e| FormatError::corrupt(path, "header", e.to_string()))?;
        Ok(Self {
            tensors,
            data_start,
            metadata: raw.metadata,
        })
    }

    /// Tensor names in file order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        let info = self.tensors.get(name)?;
        Some(TensorInfo {
            dtype: info.dtype,
            shape: info.shape.clone(),
        })
    }

    /// The byte range of a tensor in the file.
    pub fn range(&self, name: &str) -> Option<std::ops::Range<usize>> {
        let (start, end) = self.tensors.get(name)?.data_offsets;
        Some(self.data_start + start..self.data_start + end)
    }
}

fn header_bytes<'a>(path: &Path, bytes: &'a [u8]) -> Result<(&'a [u8], usize)> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        let reason = format!(
            "expected at least {LENGTH_BYTES} bytes, found {}",
            bytes.len()
        );
        return Err(FormatError::corrupt(path, "header length", reason));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_LIMIT {
        let (path, what) = (path.to_owned(), "the safetensors header");
        return Err(FormatError::TooLarge {
            path,
            what,
            size: length,
            limit: HEADER_LIMIT,
        });
    }
    let end = LENGTH_BYTES + length as usize; // cannot overflow: bounded by the limit above
    let json = bytes.get(LENGTH_BYTES..end).ok_or_else(|| {
        let reason = format!("it promises {length} bytes, the file has {}", bytes.len());
        FormatError::corrupt(path, "header length", reason)
    })?;
    Ok((json, end))
}

/// Ranges must follow one another from 0 to the end of the file and hold what the shapes say.
///
/// The official check adds the lengths without regard to overflow, so the bound by the file's own
/// size has to come first.
fn check_ranges(path: &Path, tensors: &IndexMap<String, OfficialInfo>, len: usize) -> Result<()> {
    let mut next = 0;
    for (name, info) in tensors {
        let bad = |reason| {
            Err(FormatError::corrupt(
                path,
                format!("tensor `{}`", shorten(name)),
                reason,
            ))
        };
        let (start, end) = info.data_offsets;
        if start != next || end < start {
            return bad(format!(
                "its bytes should start at {next} but are given as {start}..{end}; ranges overlap or leave a hole"
            ));
        }
        if end > len {
            return bad(format!(
                "it ends at byte {end}, the file has {len} bytes of data"
            ));
        }
        let plain = TensorInfo {
            dtype: info.dtype,
            shape: info.shape.clone(),
        };
        let shape = shorten(&format!("{:?}", info.shape));
        match plain.byte_len() {
            Some(size) if size == end - start => {}
            Some(size) => {
                let given = end - start;
                return bad(format!(
                    "{} {shape} takes {size} bytes, found {given}",
                    info.dtype
                ));
            }
            None => {
                return bad(format!(
                    "{} {shape} is no whole, countable number of bytes",
                    info.dtype
                ));
            }
        }
        next = end;
    }
    if next != len {
        let reason = format!("the header describes {next} bytes, the file has {len}");
        return Err(FormatError::corrupt(path, "end of data", reason));
    }
    Ok(())
}

/// The header as JSON, repeated names refused.
struct RawHeader {
    metadata: Metadata,
    tensors: IndexMap<String, OfficialInfo>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawHeader, A::Error> {
                let mut metadata = None;
                let mut tensors = IndexMap::new();
                while let Some(key) = access.next_key::<String>()? {
                    let repeated = if key == "__metadata__" {
                        let strings = access.next_value::<Option<UniqueMap<String>>>()?;
                        metadata
                            .replace(strings.map(|m| m.0).unwrap_or_default())
                            .is_some()
                    } else {
                        let info: OfficialInfo = access.next_value()?;
                        tensors.insert(key.clone(), info).is_some()
                    };
                    if repeated {
                        let key = shorten(&key);
                        return Err(A::Error::custom(format_args!(
                            "the name `{key}` occurs twice"
                        )));
                    }
                }
                Ok(RawHeader {
                    metadata: metadata.unwrap_or_default(),
                    tensors,
                })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}
