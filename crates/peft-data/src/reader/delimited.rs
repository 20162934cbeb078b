//! Fields between commas, tabs or whatever else separates them, quoted as in RFC 4180.
//!
//! Not the `csv` crate, which neither bounds a record nor tells an unclosed quote from the end of
//! the file: one stray quote would silently swallow every row after it. Tests compare the two.

use super::dialect::{Dialect, Quoting};
use super::line::{Lines, trim_end};
use crate::error::{DataError, Location};
use crate::reader::row::{MAX_COLUMNS, MAX_ROW_BYTES};

/// A record and the line at which it starts.
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) fields: Vec<String>,
}

/// The next record that is not a blank line; `expected` is its number of fields, if that is known.
pub(crate) fn next_record(
    lines: &mut Lines,
    row: u64,
    dialect: Dialect,
    expected: Option<usize>,
) -> Result<Option<Record>, DataError> {
    match dialect.quoting {
        Quoting::Standard => quoted(lines, row, dialect.delimiter),
        Quoting::Guessed => guessed(lines, row, dialect.delimiter, expected),
    }
}

/// A record of which any field may be quoted.
fn quoted(lines: &mut Lines, row: u64, delimiter: char) -> Result<Option<Record>, DataError> {
    let mut parser = Parser::new(delimiter);
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

/// A record of a file that says nowhere whether it quotes: GLUE's files do not, and have texts that
/// begin with a quote; those that pandas writes do, where a field holds a quote, a delimiter or a line
/// feed. A field is taken for quoted if all quotes in it are written twice and there are some, or if
/// the record has its number of fields only so.
fn guessed(
    lines: &mut Lines,
    row: u64,
    delimiter: char,
    expected: Option<usize>,
) -> Result<Option<Record>, DataError> {
    let whole = loop {
        match lines.next(row)? {
            None => return Ok(None),
            Some(line) if trim_end(line).is_empty() => {}
            Some(line) => break line.to_owned(),
        }
    };
    let line = lines.number;
    let split = |text: &str| -> Vec<String> {
        let fields = trim_end(text).split(delimiter).take(MAX_COLUMNS + 1);
        fields.map(str::to_owned).collect()
    };
    let mut fields = split(&whole);
    if !fields.iter().any(|field| field.starts_with('"')) {
        return Ok(Some(Record { line, fields }));
    }
    let expected = expected.unwrap_or(fields.len());
    let open = fields.iter().any(|field| is_open(field));
    let fits = fields.len() == expected;
    // An open quote goes on in the next line, unless that is a record by itself.
    let goes_on = fits && open && expected > 1 && {
        let next = lines.peek(row)?;
        next.is_some_and(|next| {
            !trim_end(next).is_empty()
                && next.split(delimiter).take(expected + 1).count() != expected
        })
    };
    if !fits || goes_on {
        let mut parser = Parser::new(delimiter);
        let (mut done, mut bytes) = (parser.feed(&whole), whole.len());
        while !done && bytes <= MAX_ROW_BYTES {
            let Some(next) = lines.next(row)? else { break };
            bytes += next.len();
            done = parser.feed(next);
        }
        if done && parser.fields.len() == expected {
            let fields = parser.fields;
            return Ok(Some(Record { line, fields }));
        }
        if goes_on {
            // Lines were read that may have been rows: none must be lost without a word.
            return Err(DataError::Malformed {
                at: Location {
                    file: lines.file.clone(),
                    row,
                    line,
                    column: None,
                },
                problem: format!(
                    "a field begins with a quote, and the next line has not {expected} fields"
                ),
                fix: "close the quote if the field continues there, or give every row as many fields as \
                      the first line has",
            });
        }
    }
    for field in &mut fields {
        if let Some(bare) = unquoted(field) {
            *field = bare;
        }
    }
    Ok(Some(Record { line, fields }))
}

/// Whether a field begins with a quote that it does not close.
fn is_open(field: &str) -> bool {
    field.starts_with('"') && field.bytes().filter(|byte| *byte == b'"').count() % 2 == 1
}

/// What a quoted field holds, if it has quotes in it and all of them are written twice.
fn unquoted(field: &str) -> Option<String> {
    let inner = field.strip_prefix('"')?.strip_suffix('"')?;
    let bare = inner.replace("\"\"", "");
    (inner.contains('"') && !bare.contains('"')).then(|| inner.replace("\"\"", "\""))
}

struct Parser {
    delimiter: char,
    fields: Vec<String>,
    field: String,
    quoted: bool,
}

impl Parser {
    fn new(delimiter: char) -> Self {
        Self {
            delimiter,
            fields: Vec::new(),
            field: String::new(),
            quoted: false,
        }
    }

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
                other if other == self.delimiter && !self.quoted => {
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

    const COMMAS: Dialect = Dialect {
        delimiter: ',',
        quoting: Quoting::Standard,
    };
    const TABS: Dialect = Dialect {
        delimiter: '\t',
        quoting: Quoting::Guessed,
    };

    fn parse(text: &[u8]) -> Result<Vec<Vec<String>>, DataError> {
        parse_as(text, COMMAS)
    }

    fn parse_as(text: &[u8], dialect: Dialect) -> Result<Vec<Vec<String>>, DataError> {
        let mut lines = Lines::new(Box::new(std::io::Cursor::new(text.to_vec())), "f".into())?;
        let mut out: Vec<Vec<String>> = Vec::new();
        loop {
            let expected = out.first().map(Vec::len);
            match next_record(&mut lines, out.len() as u64, dialect, expected)? {
                Some(record) => out.push(record.fields),
                None => return Ok(out),
            }
        }
    }

    #[test]
    fn tabs_quote_as_pandas_does_or_not_at_all_as_glue_does() {
        // What `DataFrame.to_csv(sep="\t")` writes.
        let pandas =
            "a\tb\n\"it was \"\"so\"\"\"\tx\n\"a\ttab\"\ty\nz\t\"two\nlines\"\n\"q\nr\"\ts\n";
        let got = parse_as(pandas.as_bytes(), TABS).unwrap();
        let want = [
            ["a", "b"],
            ["it was \"so\"", "x"],
            ["a\ttab", "y"],
            ["z", "two\nlines"],
            ["q\nr", "s"],
        ];
        assert_eq!(got, want);
        // What GLUE has: quotes are text.
        let glue = "a\tb\n\"half\t0\n1\t\"open\n2\t\"whole\"\n3\tend\"\n\"\t\"\n4\t\"\n";
        let got = parse_as(glue.as_bytes(), TABS).unwrap();
        let want = [
            ["a", "b"],
            ["\"half", "0"],
            ["1", "\"open"],
            ["2", "\"whole\""],
            ["3", "end\""],
            ["\"", "\""],
            ["4", "\""],
        ];
        assert_eq!(got, want);
        // A quote that nothing closes, before a line that is no record.
        let error = parse_as(b"a\tb\n1\t\"open\nno record\n2\t3\n", TABS).unwrap_err();
        assert!(error.to_string().contains("row 1 (line 2)"), "{error}");
        // A record that fits in neither way stays as it is, for its number of fields to be told.
        assert_eq!(parse_as(b"a\tb\n\"c\n", TABS).unwrap()[1], ["\"c"]);
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
        fn reads_back_what_quotes_only_where_it_must(
            // Tabs and line feeds in one row may look like two rows, which are preferred.
            rows in prop_oneof![
                prop::collection::vec(
                    prop::collection::vec("[a-c][a-c\"\t é]{0,5}", 3), 1..8
                ),
                prop::collection::vec(
                    prop::collection::vec("[a-c](\n?[a-c\" é]){0,4}\n?", 3), 1..8
                ),
            ]
        ) {
            let mut writer = csv::WriterBuilder::new().delimiter(b'\t').from_writer(Vec::new());
            writer.write_record(["x", "y", "z"]).unwrap();
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let got = parse_as(&writer.into_inner().unwrap(), TABS).unwrap();
            prop_assert_eq!(&got[1..], &rows[..]);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse_as(&bytes, TABS);
        }
    }
}
