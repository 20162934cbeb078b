//! Values of a page in any of the encodings, one at a time.

use super::Problem;
use super::delta::{Deltas, Lengths, Prefixed};
use super::meta::{Leaf, Meaning, Physical};
use super::rle::{Rle, bits};
use crate::reader::row::{MAX_FIELD_BYTES, Value};
use std::ops::Range;

const ENDS: &str = "the values end too early";

/// A dictionary page.
#[derive(Debug)]
pub(crate) struct Dictionary {
    pub(crate) bytes: Vec<u8>,
    /// Where the texts start; nothing for values of a fixed width. Never more bytes than the page,
    /// whatever number of values it announces.
    starts: Vec<u32>,
    physical: Physical,
}

impl Dictionary {
    pub(crate) fn new(bytes: Vec<u8>, values: u32, physical: Physical) -> Result<Self, Problem> {
        let (mut starts, mut at) = (Vec::new(), 0);
        if physical == Physical::Bytes {
            for _ in 0..values {
                starts.push(at as u32);
                plain(&bytes, &mut at, bytes.len(), physical)?;
            }
        }
        Ok(Self {
            bytes,
            starts,
            physical,
        })
    }

    fn get(&self, index: usize) -> Result<&[u8], Problem> {
        const NONE: &str = "there is no such dictionary entry";
        let mut at = match self.physical {
            Physical::Bytes => *self.starts.get(index).ok_or(NONE)? as usize,
            fixed => index.checked_mul(fixed.width()).ok_or(NONE)?,
        };
        let span = plain(&self.bytes, &mut at, self.bytes.len(), self.physical)?;
        Ok(self.bytes.get(span).ok_or(ENDS)?)
    }
}

/// The next plainly written value's place.
fn plain(page: &[u8], at: &mut usize, end: usize, kind: Physical) -> Result<Range<usize>, Problem> {
    let (start, length) = match kind {
        Physical::Bool => return Err("a dictionary of booleans".into()),
        Physical::Bytes => {
            let raw = page.get(*at..*at + 4).ok_or(ENDS)?;
            (
                *at + 4,
                u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]) as usize,
            )
        }
        fixed => (*at, fixed.width()),
    };
    let stop = start
        .checked_add(length)
        .filter(|s| *s <= end)
        .ok_or(ENDS)?;
    *at = stop;
    Ok(start..stop)
}

/// Reads the values of one page.
#[derive(Debug)]
pub(crate) enum Values {
    Plain {
        at: usize,
        end: usize,
    },
    Bits {
        bit: u64,
        end: usize,
    },
    Runs(Rle),
    Indices(Rle),
    Deltas(Deltas),
    Lengths(Lengths),
    Prefixed(Prefixed),
    /// First bytes of all values, then second bytes.
    Split {
        start: usize,
        count: usize,
        next: usize,
    },
}

impl Values {
    pub(crate) fn new(
        encoding: i64,
        physical: Physical,
        page: &[u8],
        part: Range<usize>,
    ) -> Result<Self, Problem> {
        let (at, end) = (part.start, part.end);
        Ok(match (encoding, physical) {
            (0, Physical::Bool) => Self::Bits {
                bit: at as u64 * 8,
                end,
            },
            (0, _) => Self::Plain { at, end },
            (2 | 8, _) => match page.get(at) {
                // No values, no width.
                None => Self::Plain { at, end: at },
                Some(width) => Self::Indices(Rle::new(at + 1..end, u32::from(*width))?),
            },
            (3, Physical::Bool) => Self::Runs(Rle::new(at + 4..end, 1)?),
            (5, Physical::Int32 | Physical::Int64) => Self::Deltas(Deltas::new(page, part)?),
            (6, Physical::Bytes) => Self::Lengths(Lengths::new(page, part)?),
            (7, Physical::Bytes) => Self::Prefixed(Prefixed::new(page, part)?),
            (9, kind) if kind.width() > 0 => Self::Split {
                start: at,
                count: (end - at) / kind.width(),
                next: 0,
            },
            (other, kind) => {
                return Err(Problem {
                    what: format!("{kind:?} values in encoding {other}, which is not read here"),
                    fix: "write the file again with pandas or polars and their defaults",
                });
            }
        })
    }

    pub(crate) fn next(
        &mut self,
        page: &[u8],
        dictionary: Option<&Dictionary>,
        leaf: &Leaf,
    ) -> Result<Value, Problem> {
        match self {
            Self::Plain { at, end } => {
                let span = plain(page, at, *end, leaf.physical)?;
                value(page.get(span).ok_or(ENDS)?, leaf)
            }
            Self::Bits { bit, end } => {
                let found = bits(page, *end, *bit, 1).ok_or(ENDS)?;
                *bit += 1;
                Ok(Value::Bool(found == 1))
            }
            Self::Runs(rle) => Ok(Value::Bool(rle.next(page)? != 0)),
            Self::Indices(rle) => {
                let index = rle.next(page)? as usize;
                let dictionary = dictionary.ok_or("the dictionary is missing")?;
                value(dictionary.get(index)?, leaf)
            }
            Self::Deltas(deltas) => Ok(integer(deltas.next(page)?, leaf)),
            Self::Lengths(lengths) => value(page.get(lengths.next(page)?).ok_or(ENDS)?, leaf),
            Self::Prefixed(prefixed) => value(prefixed.next(page, MAX_FIELD_BYTES)?, leaf),
            Self::Split { start, count, next } => {
                if next >= count {
                    return Err(ENDS.into());
                }
                let at = |i: usize| page.get(*start + i * *count + *next).copied();
                let mut raw = [0; 8];
                let width = leaf.physical.width();
                for (i, byte) in raw.iter_mut().enumerate().take(width) {
                    *byte = at(i).ok_or(ENDS)?;
                }
                *next += 1;
                value(&raw[..width], leaf)
            }
        }
    }
}

/// A value from its bytes.
fn value(raw: &[u8], leaf: &Leaf) -> Result<Value, Problem> {
    let four = || raw.try_into().map_err(|_| ENDS);
    let eight = || raw.try_into().map_err(|_| ENDS);
    Ok(match leaf.physical {
        Physical::Bool => Value::Bool(raw.first().is_some_and(|b| *b != 0)),
        Physical::Int32 => integer(i64::from(i32::from_le_bytes(four()?)), leaf),
        Physical::Int64 => integer(i64::from_le_bytes(eight()?), leaf),
        // With a point, as JSON writes them: labels tell 1 from 1.0.
        Physical::Float => Value::Number(format!("{:?}", f32::from_le_bytes(four()?))),
        Physical::Double => Value::Number(format!("{:?}", f64::from_le_bytes(eight()?))),
        Physical::Bytes => {
            if raw.len() > MAX_FIELD_BYTES {
                return Err(format!("a text of {} bytes", raw.len()).into());
            }
            let text = std::str::from_utf8(raw).map_err(|_| Problem {
                what: "expected text in UTF-8, found other bytes".to_owned(),
                fix: "store texts as strings, or leave the column out",
            })?;
            Value::Text(text.to_owned())
        }
    })
}

fn integer(raw: i64, leaf: &Leaf) -> Value {
    let wide = match (leaf.meaning, leaf.physical) {
        (Meaning::Unsigned, Physical::Int32) => i128::from(raw as u32),
        (Meaning::Unsigned, _) => i128::from(raw as u64),
        // Deltas of 32-bit numbers wrap at 32 bits.
        (_, Physical::Int32) => i128::from(raw as i32),
        _ => i128::from(raw),
    };
    Value::Number(match leaf.meaning {
        Meaning::Decimal(scale) if scale > 0 => {
            let unit = 10i128.pow(scale);
            let sign = if wide < 0 { "-" } else { "" };
            let (whole, rest) = (wide.abs() / unit, wide.abs() % unit);
            format!("{sign}{whole}.{rest:0>width$}", width = scale as usize)
        }
        _ => wide.to_string(),
    })
}
