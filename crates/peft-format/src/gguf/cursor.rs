//! Reading forwards through a file that may lie about its sizes.

use std::path::Path;

use crate::error::{FormatError, Result, shorten};

/// The longest string and array that llama.cpp reads.
const COUNT_LIMIT: u64 = 1 << 30;

/// A position in the bytes of a file.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self { path, bytes, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes; `place` names what they belong to.
    pub fn take(&mut self, len: usize, place: &str) -> Result<&'a [u8]> {
        if len > self.left() {
            let reason = format!(
                "expected {len} more bytes at byte {}, the file has {}",
                self.at,
                self.left()
            );
            return Err(self.corrupt(place, reason));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, place: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, place)?);
        Ok(out)
    }

    pub fn u32(&mut self, place: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(place)?))
    }

    pub fn u64(&mut self, place: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(place)?))
    }

    /// A count of things of at least `size` bytes each, which the rest of the file must have room
    /// for.
    pub fn count(&mut self, size: usize, what: &str, place: &str) -> Result<usize> {
        let count = self.u64(place)?;
        let most = (self.left() / size) as u64;
        if count > COUNT_LIMIT.min(most) {
            let reason = format!(
                "it promises {count} {what}, the file has room for {most} and the limit is {COUNT_LIMIT}"
            );
            return Err(self.corrupt(place, reason));
        }
        Ok(count as usize)
    }

    /// The bytes of a string; not necessarily UTF-8.
    pub fn string(&mut self, place: &str) -> Result<&'a [u8]> {
        let len = self.count(1, "bytes of text", place)?;
        self.take(len, place)
    }

    /// A string that must be UTF-8, such as a name.
    pub fn text(&mut self, place: &str) -> Result<&'a str> {
        let bytes = self.string(place)?;
        std::str::from_utf8(bytes).map_err(|e| {
            let shown = shorten(&String::from_utf8_lossy(bytes));
            self.corrupt(place, format!("the name `{shown}` is not UTF-8: {e}"))
        })
    }

    pub fn corrupt(&self, place: &str, reason: impl Into<String>) -> FormatError {
        FormatError::corrupt(self.path, place, reason)
    }
}
