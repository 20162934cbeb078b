//! Lines of a hostile stream: bounded, UTF-8, without NUL.

use super::row::MAX_ROW_BYTES;
use crate::error::{DataError, Location};
use crate::format::{Format, check_magic};
use std::io::{BufRead, Cursor, ErrorKind, Read};

/// Reads lines with their terminators, in constant memory.
pub(crate) struct Lines {
    inner: Box<dyn BufRead + Send>,
    pub(crate) file: String,
    /// Number of the line last read.
    pub(crate) number: u64,
    buffer: Vec<u8>,
    /// What ends a line.
    end: u8,
    /// Whether the buffer holds a line that was looked at and not taken yet.
    peeked: bool,
}

/// Bytes looked at for what a file is.
const HEAD: usize = 64;

impl Lines {
    /// Looks at the first bytes: skips a byte-order mark, rejects known binary files, and finds out what
    /// ends a line.
    pub(crate) fn new(mut inner: Box<dyn BufRead + Send>, file: String) -> Result<Self, DataError> {
        let mut head = Vec::new();
        // No more than a line is waited for.
        while head.len() < HEAD && !head.contains(&b'\n') {
            let more = match inner.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                more => more.map_err(|e| io(&file, e))?,
            };
            let taken = more.len().min(HEAD - head.len());
            if taken == 0 {
                break;
            }
            head.extend_from_slice(&more[..taken]);
            inner.consume(taken);
        }
        check_magic(&head, &file, Format::Text)?;
        if head.starts_with(b"\xEF\xBB\xBF") {
            head.drain(..3);
        }
        let end = match head.contains(&b'\n') {
            true => b'\n',
            // A stream is only waited for where the line is not whole anyway.
            false => {
                let more = inner.fill_buf().map_err(|e| io(&file, e))?;
                end_of_lines(&head, more)
            }
        };
        let inner = Box::new(Cursor::new(head).chain(inner));
        Ok(Self {
            inner,
            file,
            number: 0,
            buffer: Vec::new(),
            end,
            peeked: false,
        })
    }

    /// The next line with its terminator; `None` at the end. `row` is only for the error.
    pub(crate) fn next(&mut self, row: u64) -> Result<Option<&str>, DataError> {
        if !std::mem::take(&mut self.peeked) {
            return self.read(row);
        }
        self.number += 1;
        // It was looked at before it was held.
        Ok(std::str::from_utf8(&self.buffer).ok())
    }

    /// The line that comes next, without taking it.
    pub(crate) fn peek(&mut self, row: u64) -> Result<Option<&str>, DataError> {
        if !self.peeked {
            self.peeked = self.read(row)?.is_some();
            self.number -= u64::from(self.peeked);
        }
        Ok(match self.peeked {
            true => std::str::from_utf8(&self.buffer).ok(),
            false => None,
        })
    }

    fn read(&mut self, row: u64) -> Result<Option<&str>, DataError> {
        self.buffer.clear();
        // A hostile file without newlines must not fill memory.
        let limit = MAX_ROW_BYTES as u64 + 1;
        let read = self
            .inner
            .by_ref()
            .take(limit)
            .read_until(self.end, &mut self.buffer);
        if read.map_err(|e| io(&self.file, e))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let at = |line| Location {
            file: self.file.clone(),
            row,
            line,
            column: None,
        };
        if self.buffer.len() > MAX_ROW_BYTES {
            return Err(DataError::TooLarge {
                at: at(self.number),
                what: "the row",
                limit: MAX_ROW_BYTES,
            });
        }
        if self.buffer.contains(&0) {
            return Err(DataError::Malformed {
                at: at(self.number),
                problem: "expected text, found a NUL byte".to_owned(),
                fix: "the file is binary or UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
            });
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(line) => Ok(Some(line)),
            Err(error) => Err(DataError::Malformed {
                at: at(self.number),
                problem: format!(
                    "expected UTF-8; byte {} of the line is not",
                    error.valid_up_to()
                ),
                fix: "convert the file to UTF-8 (for example iconv -f WINDOWS-1252 -t UTF-8)",
            }),
        }
    }
}

fn io(file: &str, source: std::io::Error) -> DataError {
    DataError::Io {
        path: file.into(),
        source,
    }
}

/// `\r` if that is what ends lines, as in files of old Macintosh programs, which have no `\n` at all.
fn end_of_lines(head: &[u8], more: &[u8]) -> u8 {
    let all = head.iter().chain(more);
    // The last byte may be half of `\r\n`.
    let inner = all
        .clone()
        .take((head.len() + more.len()).saturating_sub(1));
    match inner.clone().any(|byte| *byte == b'\r') && !all.clone().any(|byte| *byte == b'\n') {
        true => b'\r',
        false => b'\n',
    }
}

/// A line without its terminator, `\n`, `\r\n` or `\r`.
pub(crate) fn trim_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}
