//! A bounds-checked walk through pickle bytes that knows where it is.

use std::path::Path;

use crate::error::{FormatError, Result, shorten};

/// The longest module or class name that is read.
const LONGEST_LINE: usize = 1024;

/// What to do about a file that asks for more than a state dict needs.
const SAVE_AGAIN: &str = "nothing in a pickle is ever run here: if you trust the file, load it in \
                          PyTorch and save its state dict with `safetensors.torch.save_file`";

/// A position in the bytes of a pickle, with the words for errors there.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    path: &'a Path,
    part: Option<&'a str>,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `bytes`, which are the file at `path` or its named part.
    pub fn new(path: &'a Path, part: Option<&'a str>, bytes: &'a [u8]) -> Self {
        Self {
            path,
            part,
            bytes,
            position: 0,
        }
    }

    pub fn path(&self) -> &'a Path {
        self.path
    }

    pub fn position(&self) -> usize {
        self.position
    }

    /// True if the bytes from here on start with `prefix`, which is then passed over.
    pub fn skip(&mut self, prefix: &[u8]) -> bool {
        let found = self.bytes[self.position..].starts_with(prefix);
        self.position += if found { prefix.len() } else { 0 };
        found
    }

    pub fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.bytes[self.position..].first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.ended(N as u64)),
        }
    }

    pub fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(length).ok().and_then(|n| rest.get(..n));
        let taken = taken.ok_or_else(|| self.ended(length))?;
        self.position += taken.len();
        Ok(taken)
    }

    pub fn text(&mut self, length: u64) -> Result<&'a str> {
        let at = self.position;
        std::str::from_utf8(self.take(length)?)
            .map_err(|e| self.corrupt(at, format!("a text is not UTF-8: {e}")))
    }

    /// Text up to a newline, which is passed over.
    pub fn line(&mut self) -> Result<&'a str> {
        let at = self.position;
        let rest = &self.bytes[at..];
        let end = rest.iter().take(LONGEST_LINE).position(|b| *b == b'\n');
        let line = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok());
        let Some(line) = line else {
            return Err(self.corrupt(at, "expected a name that ends in a newline"));
        };
        self.position += line.len() + 1;
        Ok(line)
    }

    fn ended(&self, wanted: u64) -> FormatError {
        let left = self.bytes.len() - self.position;
        let reason = format!("expected {wanted} more bytes of the pickle, found {left}");
        self.corrupt(self.position, reason)
    }

    /// The byte at `at` in words.
    pub fn place(&self, at: usize) -> String {
        match self.part {
            Some(part) => format!("byte {at} of `{}`", shorten(part)),
            None => format!("byte {at}"),
        }
    }

    /// The bytes at `at` are no pickle, or contradict themselves.
    pub fn corrupt(&self, at: usize, reason: impl Into<String>) -> FormatError {
        FormatError::corrupt(self.path, self.place(at), reason)
    }

    /// The pickle at `at` wants something that is not done.
    pub fn forbidden(&self, at: usize, found: impl Into<String>) -> FormatError {
        FormatError::Pickle {
            path: self.path.to_owned(),
            place: self.place(at),
            expected: "only what a state dict of tensors needs".into(),
            found: found.into(),
            fix: SAVE_AGAIN,
        }
    }
}
