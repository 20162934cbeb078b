//! Streaming rows from files and pipes, in constant memory.

mod csv;
mod jsonl;
mod line;
mod row;
#[cfg(test)]
mod tests;

use crate::error::{DataError, Location, shorten};
use crate::format::Format;
use line::{Lines, trim_end};
pub use row::{MAX_COLUMNS, MAX_FIELD_BYTES, MAX_ROW_BYTES, Row, Value};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

/// How to read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format; by the file's extension if `None`.
    pub format: Option<Format>,
    /// Whether the first line of CSV and TSV names the columns. If not, they are called `column1`,
    /// `column2` and so on.
    pub header: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            format: None,
            header: true,
        }
    }
}

/// Iterates over the rows of a file. After an error it ends.
pub struct RowReader {
    lines: Lines,
    format: Format,
    names: Arc<[String]>,
    /// A first data row read before its column names were known.
    pending: Option<csv::Record>,
    row: u64,
    ended: bool,
}

impl RowReader {
    /// Opens a file; `-` is standard input, which needs a format in the options.
    ///
    /// # Errors
    /// [`DataError::Io`], or [`DataError::Format`] for a file that is not of a supported format.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        if path == Path::new("-") {
            let format = options.format.ok_or_else(|| DataError::Format {
                file: "<stdin>".to_owned(),
                problem: "the format of standard input is not known".to_owned(),
                fix: "give it: csv, tsv, jsonl or text (--data-format)",
            })?;
            let stdin = Box::new(BufReader::new(std::io::stdin()));
            return Self::new(stdin, "<stdin>", format, options.header);
        }
        let format = options.format.map_or_else(|| Format::from_path(path), Ok)?;
        let io = |source| DataError::Io {
            path: path.to_owned(),
            source,
        };
        let file = BufReader::with_capacity(1 << 16, File::open(path).map_err(io)?);
        Self::new(
            Box::new(file),
            &path.display().to_string(),
            format,
            options.header,
        )
    }

    /// Reads rows from any stream; `name` is for messages.
    ///
    /// # Errors
    /// As [`RowReader::open`], and [`DataError::Malformed`] for a header that cannot be used.
    pub fn new(
        stream: Box<dyn BufRead + Send>,
        name: &str,
        format: Format,
        header: bool,
    ) -> Result<Self, DataError> {
        let lines = Lines::new(stream, name.to_owned())?;
        let names = Arc::from(vec!["text".to_owned()]);
        let mut reader = Self {
            lines,
            format,
            names,
            pending: None,
            row: 0,
            ended: false,
        };
        if matches!(format, Format::Csv | Format::Tsv) {
            let first = reader.record()?;
            reader.set_names(first, header)?;
        }
        Ok(reader)
    }

    /// The file's name, or `<stdin>`.
    pub fn file(&self) -> &str {
        &self.lines.file
    }

    fn set_names(&mut self, first: Option<csv::Record>, header: bool) -> Result<(), DataError> {
        let Some(record) = first else {
            return Err(DataError::Empty {
                file: self.lines.file.clone(),
            });
        };
        let numbered = |i: usize| format!("column{}", i + 1);
        let names: Vec<String> = match header {
            true => {
                let fields = record.fields.iter().map(|f| f.trim()).enumerate();
                // pandas writes its index as a first column without a name.
                fields
                    .map(|(i, f)| {
                        if f.is_empty() {
                            numbered(i)
                        } else {
                            f.to_owned()
                        }
                    })
                    .collect()
            }
            false => (0..record.fields.len()).map(numbered).collect(),
        };
        let twice = names
            .iter()
            .enumerate()
            .find(|(i, name)| names[..*i].contains(name));
        let problem = match twice {
            _ if names.len() > MAX_COLUMNS => format!("more than {MAX_COLUMNS} columns"),
            Some((_, name)) => format!("two columns are called `{}`", shorten(name)),
            None => {
                self.names = names.into();
                self.pending = (!header).then_some(record);
                return Ok(());
            }
        };
        Err(DataError::Malformed {
            at: self.at(record.line),
            problem,
            fix: "give every column a name of its own on the first line",
        })
    }

    /// The next raw record of CSV or TSV.
    fn record(&mut self) -> Result<Option<csv::Record>, DataError> {
        if self.format == Format::Csv {
            return csv::next_record(&mut self.lines, self.row);
        }
        let Some(line) = self.next_line()? else {
            return Ok(None);
        };
        let fields = line
            .split('\t')
            .take(MAX_COLUMNS + 1)
            .map(str::to_owned)
            .collect();
        Ok(Some(csv::Record {
            line: self.lines.number,
            fields,
        }))
    }

    /// The next line without its terminator; blank lines are skipped, except in plain text.
    fn next_line(&mut self) -> Result<Option<String>, DataError> {
        while let Some(line) = self.lines.next(self.row)? {
            let line = trim_end(line);
            if self.format == Format::Text || !line.is_empty() {
                return Ok(Some(line.to_owned()));
            }
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<Row>, DataError> {
        self.row += 1;
        let (line, values) = match self.format {
            Format::Jsonl => {
                let object = jsonl::next_object(&mut self.lines, self.row)?;
                let Some((line, object)) = object else {
                    return Ok(None);
                };
                // Rows almost always share their keys: keep one list of them.
                if !self.names.iter().eq(object.keys()) {
                    self.names = object.keys().cloned().collect();
                }
                (
                    line,
                    object.into_iter().map(|(_, v)| jsonl::value(v)).collect(),
                )
            }
            Format::Text => {
                let Some(line) = self.next_line()? else {
                    return Ok(None);
                };
                (self.lines.number, vec![Value::Text(line)])
            }
            Format::Csv | Format::Tsv => {
                let record = match self.pending.take() {
                    Some(record) => Some(record),
                    None => self.record()?,
                };
                let Some(record) = record else {
                    return Ok(None);
                };
                (
                    record.line,
                    record.fields.into_iter().map(Value::Text).collect(),
                )
            }
        };
        self.check(line, &values)?;
        let names = Arc::clone(&self.names);
        Ok(Some(Row {
            number: self.row,
            line,
            names,
            values,
        }))
    }

    fn check(&self, line: u64, values: &[Value]) -> Result<(), DataError> {
        if values.len() != self.names.len() || values.len() > MAX_COLUMNS {
            let (want, got) = (self.names.len().min(MAX_COLUMNS), values.len());
            return Err(DataError::Malformed {
                at: self.at(line),
                problem: format!("expected {want} fields, found {got}"),
                fix: match self.format {
                    Format::Csv => "quote fields that contain commas (\"a, b\")",
                    _ => "give every row as many fields as the first line has",
                },
            });
        }
        for (name, value) in self.names.iter().zip(values) {
            if value.as_text().is_some_and(|t| t.len() > MAX_FIELD_BYTES) {
                let at = self.at(line).column(name);
                return Err(DataError::TooLarge {
                    at,
                    what: "the field",
                    limit: MAX_FIELD_BYTES,
                });
            }
        }
        Ok(())
    }

    fn at(&self, line: u64) -> Location {
        Location {
            file: self.lines.file.clone(),
            row: self.row,
            line,
            column: None,
        }
    }
}

impl Iterator for RowReader {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.read().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
