//! Opening files and streams: formats, headers, column names.

use super::dialect::{Dialect, Quoting, declared};
use super::line::{Lines, trim_end};
use super::live::Live;
use super::{MAX_COLUMNS, ReadOptions, RowReader, Source, delimited};
use crate::error::{DataError, shorten};
use crate::format::{Format, check_folder, check_magic};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the bytes that are taken.
struct Counted {
    inner: BufReader<File>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.read.fetch_add(amount as u64, Ordering::Relaxed);
        self.inner.consume(amount);
    }
}

/// That of formats without delimiters.
const NONE: Dialect = Dialect {
    delimiter: ',',
    quoting: Quoting::Standard,
};

/// How a file is to be taken apart, by its first line that is not blank.
fn dialect_of(
    lines: &mut Lines,
    format: Format,
    options: &ReadOptions,
) -> Result<Dialect, DataError> {
    let mut delimiter = options.delimiter;
    let mut told = false;
    loop {
        let Some(first) = lines.peek(0)? else {
            return Ok(NONE);
        };
        let first = trim_end(first);
        match declared(first) {
            Some(own) if !told => {
                delimiter = delimiter.or(Some(own));
                told = true;
            }
            _ if first.is_empty() => {}
            _ => return Ok(Dialect::of(format, delimiter, options.header, first)),
        }
        lines.next(0)?;
    }
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
                fix: "give it: csv, tsv, jsonl, conll or text (the setting `data_format`)",
            })?;
            let io = |source| DataError::Io {
                path: "<stdin>".into(),
                source,
            };
            let (stdin, arrived) = Live::new(std::io::stdin()).map_err(io)?;
            let reader = Self::from_stream(Box::new(stdin), "<stdin>", format, options)?;
            return Ok(Self {
                arrived: Some(arrived),
                ..reader
            });
        }
        check_folder(path)?;
        let format = options.format.map_or_else(|| Format::from_path(path), Ok)?;
        let io = |source| DataError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let name = path.display().to_string();
        let mut file = BufReader::with_capacity(1 << 16, file);
        if format == Format::Parquet {
            check_magic(file.fill_buf().map_err(io)?, &name, format)?;
            return Self::parquet(file, &name);
        }
        let length = file.get_ref().metadata().map_err(io)?.len();
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            inner: file,
            read: Arc::clone(&read),
        };
        let reader = Self::from_stream(Box::new(counted), &name, format, options)?;
        // Of a device or a pipe no length is known.
        let bytes = (length > 0).then_some((read, length));
        Ok(Self { bytes, ..reader })
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
        let reader = super::parquet::Reader::new(Box::new(stream), name)?;
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
        let options = ReadOptions {
            header,
            ..ReadOptions::default()
        };
        Self::from_stream(stream, name, format, &options)
    }

    /// As [`RowReader::new`], with all options but the format's.
    ///
    /// # Errors
    /// As [`RowReader::new`].
    pub fn from_stream(
        stream: Box<dyn BufRead + Send>,
        name: &str,
        format: Format,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        if format == Format::Parquet {
            return Err(DataError::Format {
                file: name.to_owned(),
                problem: "Parquet is read from its end, which a stream does not have".to_owned(),
                fix: "write it to a file and name that",
            });
        }
        let mut lines = Lines::new(stream, name.to_owned())?;
        let delimited = matches!(format, Format::Csv | Format::Tsv);
        let dialect = match delimited {
            true => dialect_of(&mut lines, format, options)?,
            false => NONE,
        };
        let mut reader = Self::with(Source::Lines(lines), name, format);
        if format == Format::Conll {
            reader.names = super::conll::NAMES.map(str::to_owned).to_vec().into();
        }
        reader.dialect = dialect;
        reader.header = options.header;
        if delimited {
            let first = reader.record(None)?;
            reader.set_names(first, options.header)?;
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
            dialect: NONE,
            header: false,
            row: 0,
            ended: false,
            nested: false,
            arrived: None,
            bytes: None,
        }
    }

    fn set_names(
        &mut self,
        first: Option<delimited::Record>,
        header: bool,
    ) -> Result<(), DataError> {
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
