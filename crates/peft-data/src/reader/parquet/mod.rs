//! Parquet: flat columns of texts, numbers, booleans and lists of them, row by row.
//!
//! A reader of our own rather than the `parquet` crate's: that one takes a page's word for the size
//! of its content, allocates dictionaries by their announced number of entries and asserts in
//! places, which a hostile file turns into aborts. This one holds one page a column, checks every
//! size against the bytes there are, and decodes a value when its row is asked for. Read are the
//! encodings and codecs that pandas, polars, DuckDB, Spark and `datasets` write; a column of
//! another type is passed over and complained about only where it is wanted.

mod codec;
mod column;
mod delta;
mod meta;
mod page;
mod rle;
mod thrift;
mod values;

use super::row::Value;
use crate::error::DataError;
use column::Column;
use meta::Metadata;
use page::Input;
pub(crate) use page::ReadSeek;
use std::io::SeekFrom;

/// Largest footer accepted: some hundred thousand column chunks.
const MAX_FOOTER_BYTES: u64 = 64 << 20;
const DAMAGED: &str = "the file is damaged or cut short: write or download it again";

/// What is wrong in a file, and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) fix: &'static str,
}

impl From<String> for Problem {
    fn from(what: String) -> Self {
        Self { what, fix: DAMAGED }
    }
}

impl From<&str> for Problem {
    fn from(what: &str) -> Self {
        what.to_owned().into()
    }
}

/// Reads rows, group by group.
pub(crate) struct Reader {
    input: Input,
    metadata: Metadata,
    /// Columns that nobody wants are not read.
    wanted: Vec<bool>,
    group: usize,
    /// Rows of the group to come, and its columns.
    left: u64,
    columns: Vec<Option<Column>>,
}

impl Reader {
    /// Reads the footer.
    pub(crate) fn new(mut stream: Box<dyn ReadSeek>, file: &str) -> Result<Self, DataError> {
        let length = stream
            .seek(SeekFrom::End(0))
            .map_err(|source| DataError::Io {
                path: file.into(),
                source,
            })?;
        let mut input = Input { stream, length };
        let metadata = footer(&mut input).map_err(|problem| DataError::Format {
            file: file.to_owned(),
            problem: problem.what,
            fix: problem.fix,
        })?;
        let wanted = vec![true; metadata.columns.len()];
        Ok(Self {
            input,
            metadata,
            wanted,
            group: 0,
            left: 0,
            columns: Vec::new(),
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.metadata.columns.iter().map(|(name, _)| name.as_str())
    }

    /// From now on only these columns are read; others are null.
    pub(crate) fn keep(&mut self, names: &[&str]) {
        let columns = self.metadata.columns.iter();
        self.wanted = columns
            .map(|(name, _)| names.contains(&name.as_str()))
            .collect();
        for (column, wanted) in self.columns.iter_mut().zip(&self.wanted) {
            if !wanted {
                *column = None;
            }
        }
    }

    /// The names of a column's classes, if the `datasets` library wrote the file.
    pub(crate) fn class_names(&self, column: &str) -> Option<Vec<String>> {
        let json: serde_json::Value =
            serde_json::from_str(self.metadata.huggingface.as_deref()?).ok()?;
        let feature = json.get("info")?.get("features")?.get(column)?;
        // Of a multi-label column the classes are those of its elements.
        let names = [Some(feature), feature.get("feature"), feature.get(0)]
            .into_iter()
            .find_map(|f| f?.get("names")?.as_array())?;
        names.iter().map(|n| Some(n.as_str()?.to_owned())).collect()
    }

    /// The values of the next row.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Value>>, Problem> {
        while self.left == 0 {
            let Some(group) = self.metadata.groups.get(self.group) else {
                return Ok(None);
            };
            self.group += 1;
            self.left = group.rows;
            let leaves = self.metadata.columns.iter().zip(&self.wanted);
            self.columns = leaves
                .map(|((_, leaf), wanted)| {
                    let leaf = leaf.as_ref().filter(|_| *wanted)?;
                    Some((leaf, group.chunks.get(leaf.index)?))
                })
                .map(|found| found.map(|(l, chunk)| Column::new(*l, *chunk)).transpose())
                .collect::<Result<_, _>>()?;
        }
        self.left -= 1;
        let mut held: usize = self.columns.iter().flatten().map(Column::held).sum();
        let mut values = Vec::with_capacity(self.columns.len());
        for (place, column) in self.columns.iter_mut().enumerate() {
            values.push(match column {
                Some(column) => {
                    let others = held - column.held();
                    let value = column.next(&mut self.input, others)?;
                    held = others + column.held();
                    value
                }
                // A type that is not read, or a column that nobody asked for.
                None if self.wanted[place] => Value::Nested,
                None => Value::Null,
            });
        }
        Ok(Some(values))
    }
}

fn footer(input: &mut Input) -> Result<Metadata, Problem> {
    const NOT: &str = "expected a Parquet file, which begins and ends with PAR1";
    if input.length < 12 || input.read(0, 4)? != b"PAR1" {
        return Err(NOT.into());
    }
    let tail = input.read(input.length - 8, 8)?;
    if tail[4..] == *b"PARE" {
        return Err(Problem {
            what: "the file is encrypted".to_owned(),
            fix: "write it again without encryption",
        });
    }
    if tail[4..] != *b"PAR1" {
        return Err(NOT.into());
    }
    let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if size > MAX_FOOTER_BYTES || size + 12 > input.length {
        return Err(format!("a footer of {size} bytes").into());
    }
    let bytes = input.read(input.length - 8 - size, size)?;
    Metadata::parse(&bytes)
}
