//! Delta encodings: differences of integers, packed in small blocks, and what is built on them.

use super::Problem;
use super::rle::{bits, varint};
use std::ops::Range;

const ENDS: &str = "the values end too early";
/// Writers use 128; a hostile block must not stand for billions of values.
const MAX_BLOCK: u64 = 1 << 16;

/// Integers as differences (`DELTA_BINARY_PACKED`).
#[derive(Debug)]
pub(crate) struct Deltas {
    at: usize,
    end: usize,
    /// Values of a miniblock, and miniblocks of a block.
    mini: u64,
    minis: usize,
    /// Values to come.
    pub(crate) left: u64,
    last: i64,
    first: bool,
    least: i64,
    widths: Range<usize>,
    bit: u64,
    in_mini: u64,
    width: u32,
}

impl Deltas {
    pub(crate) fn new(page: &[u8], part: Range<usize>) -> Result<Self, Problem> {
        let page = page.get(..part.end).ok_or(ENDS)?;
        let mut at = part.start;
        let mut number = || varint(page, &mut at).ok_or(ENDS);
        let (block, minis, left, first) = (number()?, number()?, number()?, number()?);
        let mini = block.checked_div(minis).unwrap_or(0);
        if block > MAX_BLOCK || mini == 0 || mini * minis != block || mini % 8 != 0 {
            return Err("blocks of an impossible size".into());
        }
        Ok(Self {
            at,
            end: part.end,
            mini,
            minis: minis as usize,
            left,
            last: zigzag(first),
            first: true,
            least: 0,
            widths: 0..0,
            bit: 0,
            in_mini: 0,
            width: 0,
        })
    }

    pub(crate) fn next(&mut self, page: &[u8]) -> Result<i64, Problem> {
        self.left = self.left.checked_sub(1).ok_or(ENDS)?;
        if std::mem::take(&mut self.first) {
            return Ok(self.last);
        }
        if self.in_mini == 0 {
            self.miniblock(page)?;
        }
        let delta = bits(page, self.end, self.bit, self.width).ok_or(ENDS)?;
        self.bit += u64::from(self.width);
        self.in_mini -= 1;
        self.last = self
            .last
            .wrapping_add(self.least)
            .wrapping_add(delta as i64);
        Ok(self.last)
    }

    /// Opens the next miniblock, and the next block where one begins.
    fn miniblock(&mut self, page: &[u8]) -> Result<(), Problem> {
        let page = page.get(..self.end).ok_or(ENDS)?;
        if self.widths.is_empty() {
            self.least = zigzag(varint(page, &mut self.at).ok_or(ENDS)?);
            self.widths = self.at..self.at + self.minis;
            self.at = self.widths.end;
        }
        let width = self.widths.next().and_then(|i| page.get(i)).ok_or(ENDS)?;
        self.width = u32::from(*width);
        if self.width > 64 {
            return Err(format!("differences of {width} bits").into());
        }
        self.bit = self.at as u64 * 8;
        self.in_mini = self.mini;
        // The bytes of a miniblock are there in full even where values end within it.
        self.at += (self.mini * u64::from(self.width) / 8) as usize;
        Ok(())
    }

    /// Where the bytes behind all values begin. Goes from block to block, not value to value.
    pub(crate) fn finish(mut self, page: &[u8]) -> Result<usize, Problem> {
        let mut left = self.left.saturating_sub(u64::from(self.first));
        while left > 0 {
            self.miniblock(page)?;
            left = left.saturating_sub(self.mini);
        }
        // The widths of miniblocks without values.
        match self.at <= self.end {
            true => Ok(self.at),
            false => Err(ENDS.into()),
        }
    }
}

fn zigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// Texts behind their lengths (`DELTA_LENGTH_BYTE_ARRAY`).
#[derive(Debug)]
pub(crate) struct Lengths {
    lengths: Deltas,
    at: usize,
    end: usize,
}

impl Lengths {
    pub(crate) fn new(page: &[u8], part: Range<usize>) -> Result<Self, Problem> {
        let end = part.end;
        let at = Deltas::new(page, part.clone())?.finish(page)?;
        let lengths = Deltas::new(page, part)?;
        Ok(Self { lengths, at, end })
    }

    pub(crate) fn next(&mut self, page: &[u8]) -> Result<Range<usize>, Problem> {
        let length = usize::try_from(self.lengths.next(page)?).map_err(|_| "a negative length")?;
        let stop = self.at.checked_add(length).filter(|s| *s <= self.end);
        let span = self.at..stop.ok_or(ENDS)?;
        self.at = span.end;
        Ok(span)
    }
}

/// Texts that share a beginning with the one before (`DELTA_BYTE_ARRAY`).
#[derive(Debug)]
pub(crate) struct Prefixed {
    prefixes: Deltas,
    suffixes: Lengths,
    last: Vec<u8>,
}

impl Prefixed {
    pub(crate) fn new(page: &[u8], part: Range<usize>) -> Result<Self, Problem> {
        let end = part.end;
        let behind = Deltas::new(page, part.clone())?.finish(page)?;
        Ok(Self {
            prefixes: Deltas::new(page, part)?,
            suffixes: Lengths::new(page, behind..end)?,
            last: Vec::new(),
        })
    }

    pub(crate) fn next(&mut self, page: &[u8], limit: usize) -> Result<&[u8], Problem> {
        let keep = usize::try_from(self.prefixes.next(page)?).ok();
        let keep = keep.filter(|k| *k <= self.last.len());
        let suffix = self.suffixes.next(page)?;
        self.last
            .truncate(keep.ok_or("a beginning longer than the text before")?);
        self.last.extend_from_slice(page.get(suffix).ok_or(ENDS)?);
        match self.last.len() > limit {
            true => Err(format!("a text of {} bytes", self.last.len()).into()),
            false => Ok(&self.last),
        }
    }
}
