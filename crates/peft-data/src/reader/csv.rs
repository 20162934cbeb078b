//! Comma-separated fields, RFC 4180.
//!
//! Not the `csv` crate, which neither bounds a record nor tells an unclosed quote from the end of
//! the file: one stray quote would silently swallow every row after it. Tests compare the two.

use super::line::{Lines, trim_end};
use crate::error::{DataError, Location};
use crate::reader::row::{MAX_COLUMNS, MAX_ROW_BYTES};

/// A record and the line at which it starts.
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) fields: Vec<String>,
}

/// The next record that is not a blank line.
pub(crate) fn next_record(lines: &mut Lines, row: u64) -> Result<Option<Record>, DataError> {
    let mut parser = Parser::default();
    let mut start = None;
    let mut bytes = 0;
    loop {
        let Some(line) = lines.next(row)? else {
            let Some(line) = start else { return Ok(None) };
            let at = Location {
                file: lines.file.clone(),
                row,
                line,
                column: None,
            };
            return Err(DataError::Malformed {
                at,
                problem: "the file ends inside a quoted field that starts in this row".to_owned(),
                fix: "close the quote; a quote inside a quoted field is written twice",
            });
        };
        if start.is_none() && trim_end(line).is_empty() {
            continue;
        }
        bytes += line.len();
        let done = parser.feed(line);
        let line = *start.get_or_insert(lines.number);
        if done {
            return Ok(Some(Record {
                line,
                fields: parser.fields,
            }));
        }
        if bytes > MAX_ROW_BYTES {
            let at = Location {
                file: lines.file.clone(),
                row,
                line,
                column: None,
            };
            return Err(DataError::TooLarge {
                at,
                what: "the row",
                limit: MAX_ROW_BYTES,
            });
        }
    }
}

#[derive(Default)]
struct Parser {
    fields: Vec<String>,
    field: String,
    quoted: bool,
}

impl Parser {
    /// Parses one line; false if a quoted field goes on in the next line.
    fn feed(&mut self, line: &str) -> bool {
        let body = trim_end(line);
        // A field starts at the line's start, unless the line continues a quoted one.
        let mut fresh = !self.quoted;
        let mut chars = body.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if self.quoted => match chars.next_if_eq(&'"') {
                    Some(_) => self.field.push('"'),
                    None => self.quoted = false,
                },
                '"' if fresh => self.quoted = true,
                ',' if !self.quoted => {
                    self.end_field();
                    fresh = true;
                    continue;
                }
                other => self.field.push(other),
            }
            fresh = false;
        }
        if self.quoted {
            self.field.push_str(&line[body.len()..]);
            return false;
        }
        self.end_field();
        true
    }

    fn end_field(&mut self) {
        let field = std::mem::take(&mut self.field);
        // One field too many is enough to refuse the row; a row of commas must not fill memory.
        if self.fields.len() <= MAX_COLUMNS {
            self.fields.push(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> Result<Vec<Vec<String>>, DataError> {
        let mut lines = Lines::new(Box::new(std::io::Cursor::new(text.to_vec())), "f".into())?;
        let mut out = Vec::new();
        while let Some(record) = next_record(&mut lines, out.len() as u64)? {
            out.push(record.fields);
        }
        Ok(out)
    }

    #[test]
    fn quotes_newlines_and_crlf() {
        let got = parse(b"a,b\r\n\r\n\"x, \"\"y\"\"\r\nz\",5\" pipe\r\n,").unwrap();
        assert_eq!(
            got,
            [
                vec!["a", "b"],
                vec!["x, \"y\"\r\nz", "5\" pipe"],
                vec!["", ""]
            ]
        );
        let error = parse(b"a,b\n1,\"no end\n2,3\n").unwrap_err().to_string();
        assert!(
            error.contains("row 1 (line 2)") && error.contains("close the quote"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn reads_back_what_the_csv_crate_writes(
            rows in prop::collection::vec(prop::collection::vec("[a-c\",\r\n é]{0,6}", 3), 1..8)
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            prop_assert_eq!(parse(&writer.into_inner().unwrap()).unwrap(), rows);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
