//! Streaming rows from files and pipes, in constant memory.

mod csv;
mod jsonl;
mod line;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
#[cfg(test)]
mod tests;

use crate::error::{DataError, Location, shorten};
use crate::format::Format;
use line::{Lines, trim_end};
pub use row::{MAX_COLUMNS, MAX_FIELD_BYTES, MAX_LIST, MAX_ROW_BYTES, Row, Value};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
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
        let file = File::open(path).map_err(io)?;
        let name = path.display().to_string();
        if format == Format::Parquet {
            return Self::parquet(file, &name);
        }
        let file = BufReader::with_capacity(1 << 16, file);
        Self::new(Box::new(file), &name, format, options.header)
    }

    /// Reads rows of Parquet, from whatever can be read at any place; `name` is for messages.
    ///
    /// # Errors
    /// [`DataError::Format`] for what is not Parquet, or is damaged in its footer.
    #[cfg(feature = "parquet")]
    pub fn parquet(
        stream: impl Read + Seek + Send + 'static,
        name: &str,
    ) -> Result<Self, DataError> {
        let reader = parquet::Reader::new(Box::new(stream), name)?;
        let names: Vec<String> = reader.names().map(str::to_owned).collect();
        if names.is_empty() {
            return Err(DataError::Empty {
                file: name.to_owned(),
            });
        }
        let mut reader = Self::with(Source::Parquet(Box::new(reader)), name, Format::Parquet);
        check_names(&names).map_err(|problem| DataError::Format {
            file: name.to_owned(),
            problem,
            fix: "give every column a name of its own",
        })?;
        reader.names = names.into();
        Ok(reader)
    }

    /// Says that Parquet is not read in this build.
    ///
    /// # Errors
    /// [`DataError::Format`], always.
    #[cfg(not(feature = "parquet"))]
    pub fn parquet(_: impl Read + Seek + Send + 'static, name: &str) -> Result<Self, DataError> {
        Err(DataError::Format {
            file: name.to_owned(),
            problem: "this build does not read Parquet".to_owned(),
            fix: "build peft-data with its feature `parquet`, or convert the file to JSON lines",
        })
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
        if format == Format::Parquet {
            return Err(DataError::Format {
                file: name.to_owned(),
                problem: "Parquet is read from its end, which a stream does not have".to_owned(),
                fix: "write it to a file and name that",
            });
        }
        let lines = Lines::new(stream, name.to_owned())?;
        let mut reader = Self::with(Source::Lines(lines), name, format);
        if matches!(format, Format::Csv | Format::Tsv) {
            let first = reader.record()?;
            reader.set_names(first, header)?;
        }
        Ok(reader)
    }

    fn with(source: Source, file: &str, format: Format) -> Self {
        Self {
            source,
            file: file.to_owned(),
            format,
            names: Arc::from(vec!["text".to_owned()]),
            pending: None,
            row: 0,
            ended: false,
        }
    }

    /// The file's name, or `<stdin>`.
    pub fn file(&self) -> &str {
        &self.file
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

    fn set_names(&mut self, first: Option<csv::Record>, header: bool) -> Result<(), DataError> {
        let Some(record) = first else {
            return Err(DataError::Empty {
                file: self.file.clone(),
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
        let Err(problem) = check_names(&names) else {
            self.names = names.into();
            self.pending = (!header).then_some(record);
            return Ok(());
        };
        Err(DataError::Malformed {
            at: self.at(record.line),
            problem,
            fix: "give every column a name of its own on the first line",
        })
    }

    /// The next raw record of CSV or TSV.
    fn record(&mut self) -> Result<Option<csv::Record>, DataError> {
        let row = self.row;
        if self.format == Format::Csv {
            let lines = self.lines();
            return lines.map_or(Ok(None), |lines| csv::next_record(lines, row));
        }
        let Some((line, text)) = self.next_line()? else {
            return Ok(None);
        };
        let fields = text.split('\t').take(MAX_COLUMNS + 1);
        let fields = fields.map(str::to_owned).collect();
        Ok(Some(csv::Record { line, fields }))
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
                    None => self.record()?,
                };
                let texts = |r: csv::Record| r.fields.into_iter().map(Value::Text).collect();
                record.map(|record| (record.line, texts(record)))
            }
            Format::Parquet => self.stored()?,
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
        let row = self.row;
        let Some(lines) = self.lines() else {
            return Ok(None);
        };
        let Some((line, object)) = jsonl::next_object(lines, row)? else {
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
            file: self.file.clone(),
            row: self.row,
            line,
            column: None,
        }
    }
}

/// Refuses too many names, or one name twice.
fn check_names(names: &[String]) -> Result<(), String> {
    if names.len() > MAX_COLUMNS {
        return Err(format!("more than {MAX_COLUMNS} columns"));
    }
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(format!("two columns are called `{}`", shorten(name))),
        None => Ok(()),
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
