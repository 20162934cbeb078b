//! Streaming rows from files and pipes, in constant memory.

mod conll;
mod delimited;
mod dialect;
mod jsonl;
mod line;
mod live;
mod open;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
#[cfg(test)]
mod tests;

use crate::error::{DataError, Location};
use crate::format::Format;
pub use dialect::Delimiter;
use dialect::{Dialect, Quoting};
use line::{Lines, trim_end};
use live::Arrived;
pub use row::{MAX_COLUMNS, MAX_FIELD_BYTES, MAX_LIST, MAX_ROW_BYTES, Row, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How to read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format; by the file's extension if `None`.
    pub format: Option<Format>,
    /// Whether the first line of CSV and TSV names the columns. If not, they are called `column1`,
    /// `column2` and so on.
    pub header: bool,
    /// What separates the fields of CSV and TSV. If `None`: commas or tabs, by the format, unless the
    /// header has none but semicolons, tabs, bars or commas instead, or is preceded by `sep=;`.
    ///
    /// TSV is quoted where it has to be: see [`Format::Tsv`]. With another delimiter than a tab, and
    /// in CSV, every field may be quoted.
    pub delimiter: Option<Delimiter>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            format: None,
            header: true,
            delimiter: None,
        }
    }
}

/// Where rows come from.
enum Source {
    Lines(Lines),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::Reader>),
}

/// Iterates over the rows of a file. After an error it ends.
pub struct RowReader {
    source: Source,
    file: String,
    format: Format,
    names: Arc<[String]>,
    /// A first data row read before its column names were known.
    pending: Option<delimited::Record>,
    dialect: Dialect,
    /// Whether the columns of a delimited file are those of its first line.
    header: bool,
    row: u64,
    ended: bool,
    nested: bool,
    /// Of a stream that somebody may be writing to.
    arrived: Option<Arrived>,
    /// Of a file: bytes taken so far, and all of them.
    bytes: Option<(Arc<AtomicU64>, u64)>,
}

impl RowReader {
    /// The file's name, or `<stdin>`.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The format of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the next row has not arrived yet, of standard input.
    pub(crate) fn is_waiting(&self) -> bool {
        match (&self.source, &self.arrived) {
            (Source::Lines(lines), Some(arrived)) => arrived.lines() <= lines.number,
            _ => false,
        }
    }

    /// Which share of a file has been read, from 0 to 1; `None` of a stream, whose end nobody knows.
    pub fn share_read(&self) -> Option<f64> {
        match (&self.source, &self.bytes) {
            #[cfg(feature = "parquet")]
            (Source::Parquet(reader), _) => {
                Some(self.row as f64 / (reader.rows() as f64).max(1.0)).map(|share| share.min(1.0))
            }
            (_, Some((read, all))) => {
                let read = read.load(Ordering::Relaxed) as f64;
                Some((read / (*all as f64).max(1.0)).min(1.0))
            }
            _ => None,
        }
    }

    /// Says which columns are needed. Of Parquet only those are read then, others come as null;
    /// the other formats have to be read in full and are.
    pub fn keep(&mut self, columns: &[&str]) {
        #[cfg(feature = "parquet")]
        if let Source::Parquet(reader) = &mut self.source {
            reader.keep(columns);
        }
        #[cfg(not(feature = "parquet"))]
        let _ = columns;
    }

    /// Says that the content of objects and of lists of them is wanted ([`Value::Json`]), which JSON
    /// lines and Parquet can hold; without this they come as [`Value::Nested`].
    pub fn keep_nested(&mut self) {
        self.nested = true;
    }

    /// The columns, where they are known before the first row; JSON lines name theirs in each row.
    pub fn names(&self) -> Option<&[String]> {
        (self.format != Format::Jsonl).then_some(&self.names)
    }

    /// The names of a column's classes, where the file itself tells them: Parquet written by the
    /// `datasets` library with a `ClassLabel`.
    pub fn class_names(&self, column: &str) -> Option<Vec<String>> {
        match &self.source {
            Source::Lines(_) => {
                let _ = column;
                None
            }
            #[cfg(feature = "parquet")]
            Source::Parquet(reader) => reader.class_names(column),
        }
    }

    /// The next raw record of CSV or TSV, of so many fields if that is known.
    fn record(&mut self, expected: Option<usize>) -> Result<Option<delimited::Record>, DataError> {
        let (row, dialect) = (self.row, self.dialect);
        let lines = self.lines();
        lines.map_or(Ok(None), |lines| {
            delimited::next_record(lines, row, dialect, expected)
        })
    }

    /// The next line without its terminator, and its number; blank lines are skipped, except in
    /// plain text.
    fn next_line(&mut self) -> Result<Option<(u64, String)>, DataError> {
        let (row, keep_blank) = (self.row, self.format == Format::Text);
        let Some(lines) = self.lines() else {
            return Ok(None);
        };
        while let Some(line) = lines.next(row)? {
            let line = trim_end(line);
            if keep_blank || !line.is_empty() {
                let line = line.to_owned();
                return Ok(Some((lines.number, line)));
            }
        }
        Ok(None)
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        match &mut self.source {
            Source::Lines(lines) => Some(lines),
            #[cfg(feature = "parquet")]
            Source::Parquet(_) => None,
        }
    }

    fn read(&mut self) -> Result<Option<Row>, DataError> {
        self.row += 1;
        let found = match self.format {
            Format::Jsonl => self.object()?,
            Format::Text => self
                .next_line()?
                .map(|(line, text)| (line, vec![Value::Text(text)])),
            Format::Csv | Format::Tsv => {
                let record = match self.pending.take() {
                    Some(record) => Some(record),
                    None => self.record(Some(self.names.len()))?,
                };
                let texts = |r: delimited::Record| r.fields.into_iter().map(Value::Text).collect();
                record.map(|record| (record.line, texts(record)))
            }
            Format::Parquet => self.stored()?,
            Format::Conll => {
                let row = self.row;
                self.lines()
                    .map_or(Ok(None), |lines| conll::next_sentence(lines, row))?
            }
        };
        let Some((line, values)) = found else {
            return Ok(None);
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

    /// The next object of JSON lines.
    fn object(&mut self) -> Result<Option<(u64, Vec<Value>)>, DataError> {
        let (row, nested) = (self.row, self.nested);
        let Some(lines) = self.lines() else {
            return Ok(None);
        };
        let Some((line, object)) = jsonl::next_object(lines, row, nested)? else {
            return Ok(None);
        };
        // Rows almost always share their keys: keep one list of them.
        if self.names[..] != object.names {
            self.names = object.names.into();
        }
        Ok(Some((line, object.values)))
    }

    /// The next row of Parquet, which has no lines.
    fn stored(&mut self) -> Result<Option<(u64, Vec<Value>)>, DataError> {
        #[cfg(feature = "parquet")]
        if let Source::Parquet(reader) = &mut self.source {
            let read = reader.next();
            let values = read.map_err(|problem| DataError::Malformed {
                at: self.at(0),
                problem: problem.what,
                fix: problem.fix,
            })?;
            let nested = self.nested;
            let asked = |value: Value| match value {
                Value::Json(_) if !nested => Value::Nested,
                value => value,
            };
            let values = values.map(|values| values.into_iter().map(asked).collect());
            return Ok(values.map(|values| (0, values)));
        }
        Ok(None)
    }

    fn check(&self, line: u64, values: &[Value]) -> Result<(), DataError> {
        if values.len() != self.names.len() || values.len() > MAX_COLUMNS {
            let (want, got) = (self.names.len().min(MAX_COLUMNS), values.len());
            return Err(DataError::Malformed {
                at: self.at(line),
                problem: format!("expected {want} fields, found {got}"),
                fix: match (self.dialect.delimiter, self.dialect.quoting) {
                    (',', _) => "quote fields that contain commas (\"a, b\")",
                    ('\t', Quoting::Guessed) => {
                        "give every row as many fields as the first line has; if every field may be \
                         quoted, say the setting `data_format` csv and the setting `delimiter` tab"
                    }
                    _ => {
                        "quote fields that contain the delimiter, or name another one with \
                         the setting `delimiter`"
                    }
                },
            });
        }
        for (name, value) in self.names.iter().zip(values) {
            let text = match value {
                Value::Json(text) => Some(text.as_str()),
                other => other.as_text(),
            };
            if text.is_some_and(|t| t.len() > MAX_FIELD_BYTES) {
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

    /// Adds to an error about columns what else may be the reason, where the first line names them.
    pub(crate) fn explained(&self, error: DataError) -> DataError {
        match error {
            DataError::Columns {
                file,
                problem,
                found,
                settings,
            } if self.header && matches!(self.format, Format::Csv | Format::Tsv) => {
                let hint = match self.names.len() {
                    1 => {
                        "the first line is one field: if something else separates the columns, \
                          give it with the setting `delimiter`"
                    }
                    _ => "if the first line is no header, say so with the setting `no_header`",
                };
                DataError::Columns {
                    file,
                    problem: format!("{problem} ({hint})"),
                    found,
                    settings,
                }
            }
            other => other,
        }
    }

    fn at(&self, line: u64) -> Location {
        Location {
            file: self.file.clone(),
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
