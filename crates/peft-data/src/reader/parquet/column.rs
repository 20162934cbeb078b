//! One column of a row group, value by value.

use super::Problem;
use super::meta::{Chunk, Leaf, Levels};
use super::page::{Input, LevelBytes, Page, next_page};
use super::rle::Rle;
use super::values::{Dictionary, Values};
use crate::reader::row::{MAX_LIST, Value};
use std::ops::Range;

const ENDS: &str = "a column has fewer values than its row group has rows";
/// Pages held at a time, all columns together.
const MAX_HELD_BYTES: usize = 1 << 30;

/// Reads a column of one row group.
pub(crate) struct Column {
    leaf: Leaf,
    chunk: Chunk,
    at: u64,
    end: u64,
    /// Levels to come in pages not read yet, as the footer tells.
    left: u64,
    dictionary: Option<Dictionary>,
    page: Option<Open>,
    /// Levels read ahead to see whether a list goes on.
    ahead: Option<(u32, u32)>,
}

/// A data page and how far it is read.
struct Open {
    bytes: Vec<u8>,
    left: u32,
    repetition: Option<Rle>,
    definition: Option<Rle>,
    values: Values,
}

impl Column {
    pub(crate) fn new(leaf: Leaf, chunk: Chunk) -> Result<Self, Problem> {
        let end = chunk.start.checked_add(chunk.size);
        Ok(Self {
            leaf,
            chunk,
            at: chunk.start,
            end: end.ok_or("a column of impossible size")?,
            left: chunk.values,
            dictionary: None,
            page: None,
            ahead: None,
        })
    }

    /// Bytes of pages that are held.
    pub(crate) fn held(&self) -> usize {
        let dictionary = self.dictionary.as_ref().map_or(0, |d| d.bytes.len());
        dictionary + self.page.as_ref().map_or(0, |p| p.bytes.len())
    }

    /// The value of the next row; `others` are the bytes that other columns hold.
    pub(crate) fn next(&mut self, input: &mut Input, others: usize) -> Result<Value, Problem> {
        let (repetition, definition) = self.levels(input, others)?.ok_or(ENDS)?;
        if repetition != 0 {
            return Err("a row begins within a list".into());
        }
        let Levels { outer, list, inner } = self.leaf.levels;
        let maximum = self.leaf.levels.max_definition();
        let present = |definition| definition == maximum;
        if !list {
            return match present(definition) {
                true => self.value(),
                false => Ok(Value::Null),
            };
        }
        if outer && definition == 0 {
            return Ok(Value::Null);
        }
        let mut elements = Vec::new();
        let empty = u32::from(outer);
        if definition == empty {
            return Ok(Value::List(elements));
        }
        let mut definition = definition;
        loop {
            elements.push(match present(definition) {
                true => self.value()?,
                false if inner > 0 && definition > empty => Value::Null,
                false => return Err("a list has an impossible level".into()),
            });
            if elements.len() > MAX_LIST {
                return Err(format!("a list of more than {MAX_LIST} values").into());
            }
            match self.levels(input, others)? {
                Some((1, next)) => definition = next,
                ahead => {
                    self.ahead = ahead;
                    return Ok(Value::List(elements));
                }
            }
        }
    }

    fn value(&mut self) -> Result<Value, Problem> {
        let page = self.page.as_mut().ok_or(ENDS)?;
        let dictionary = self.dictionary.as_ref();
        page.values.next(&page.bytes, dictionary, &self.leaf)
    }

    /// The next repetition and definition level; `None` at the column's end.
    fn levels(&mut self, input: &mut Input, others: usize) -> Result<Option<(u32, u32)>, Problem> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        loop {
            if let Some(page) = self.page.as_mut().filter(|page| page.left > 0) {
                page.left -= 1;
                let read = |levels: &mut Option<Rle>| match levels {
                    Some(rle) => rle.next(&page.bytes),
                    None => Ok(0),
                };
                let repetition = read(&mut page.repetition)?;
                return Ok(Some((repetition, read(&mut page.definition)?)));
            }
            if self.left == 0 || self.at >= self.end {
                return Ok(None);
            }
            self.page = None;
            match next_page(input, &self.chunk, &mut self.at, self.end)? {
                None => {}
                Some(Page::Dictionary { bytes, values }) => {
                    let physical = self.leaf.physical;
                    self.dictionary = Some(Dictionary::new(bytes, values, physical)?);
                }
                Some(Page::Data {
                    bytes,
                    values,
                    encoding,
                    levels,
                }) => {
                    self.left = self.left.saturating_sub(u64::from(values));
                    self.page = Some(open(&self.leaf, bytes, values, encoding, levels)?);
                }
            }
            if self.held() + others > MAX_HELD_BYTES {
                return Err(Problem {
                    what: format!("the pages of a row group take more than {MAX_HELD_BYTES} bytes"),
                    fix: "write the file again with smaller pages or fewer columns",
                });
            }
        }
    }
}

fn open(
    leaf: &Leaf,
    bytes: Vec<u8>,
    left: u32,
    encoding: i64,
    levels: LevelBytes,
) -> Result<Open, Problem> {
    let maximum = leaf.levels.max_definition();
    let listed = leaf.levels.list;
    let mut at = 0;
    let (repetition, definition) = match levels {
        LevelBytes::Prefixed {
            repetition,
            definition,
        } => {
            let repetition = prefixed(&bytes, &mut at, listed, repetition)?;
            (
                repetition,
                prefixed(&bytes, &mut at, maximum > 0, definition)?,
            )
        }
        LevelBytes::Given {
            repetition,
            definition,
        } => {
            let middle = repetition as usize;
            at = middle + definition as usize;
            (
                listed.then_some(0..middle),
                (maximum > 0).then_some(middle..at),
            )
        }
    };
    let rle = |part: Option<Range<usize>>, greatest: u32| {
        let width = u32::BITS - greatest.leading_zeros();
        part.map(|part| Rle::new(part, width)).transpose()
    };
    if at > bytes.len() {
        return Err("the levels are longer than their page".into());
    }
    let values = Values::new(encoding, leaf.physical, &bytes, at..bytes.len())?;
    Ok(Open {
        left,
        repetition: rle(repetition, 1)?,
        definition: rle(definition, maximum)?,
        values,
        bytes,
    })
}

/// Levels behind their length, if there are any.
fn prefixed(
    bytes: &[u8],
    at: &mut usize,
    wanted: bool,
    encoding: i64,
) -> Result<Option<Range<usize>>, Problem> {
    if !wanted {
        return Ok(None);
    }
    if encoding != 3 {
        return Err(format!("levels in encoding {encoding}, which no writer uses any more").into());
    }
    let short = "the levels are longer than their page";
    let raw = bytes.get(*at..*at + 4).ok_or(short)?;
    let start = *at + 4;
    let length = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]) as usize;
    *at = start
        .checked_add(length)
        .filter(|e| *e <= bytes.len())
        .ok_or(short)?;
    Ok(Some(start..*at))
}
