//! Parquet: flat columns of texts, numbers, booleans, lists of them and lists of flat objects, row by
//! row.
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

use super::jsonl::quote;
use super::row::Value;
use crate::error::DataError;
use column::Column;
use meta::{Chunk, Content, Metadata};
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

/// A column of a row group.
enum Stored {
    Values(Box<Column>),
    Objects(Vec<(String, Column)>),
}

impl Stored {
    fn new(content: &Content, chunks: &[Chunk]) -> Result<Option<Self>, Problem> {
        let column = |leaf: &meta::Leaf| {
            let chunk = chunks.get(leaf.index);
            chunk.map(|chunk| Column::new(*leaf, *chunk)).transpose()
        };
        match content {
            Content::Values(leaf) => Ok(column(leaf)?.map(|column| Self::Values(Box::new(column)))),
            Content::Objects(fields) => {
                let mut columns = Vec::with_capacity(fields.len());
                for (name, leaf) in fields {
                    match column(leaf)? {
                        Some(column) => columns.push((name.clone(), column)),
                        None => return Ok(None),
                    }
                }
                Ok(Some(Self::Objects(columns)))
            }
        }
    }

    /// Bytes of pages that are held.
    fn held(&self) -> usize {
        match self {
            Self::Values(column) => column.held(),
            Self::Objects(columns) => columns.iter().map(|(_, column)| column.held()).sum(),
        }
    }

    /// The value of the next row; `others` are the bytes that other columns hold.
    fn next(&mut self, input: &mut Input, others: usize) -> Result<Value, Problem> {
        let columns = match self {
            Self::Values(column) => return column.next(input, others),
            Self::Objects(columns) => columns,
        };
        let mut lists = Vec::with_capacity(columns.len());
        let mut held: usize = columns.iter().map(|(_, column)| column.held()).sum();
        for (name, column) in columns.iter_mut() {
            let rest = held - column.held();
            let list = column.next(input, others + rest)?;
            held = rest + column.held();
            lists.push((name.as_str(), list));
        }
        objects(&lists)
    }
}

/// Objects as JSON, from their fields.
fn objects(fields: &[(&str, Value)]) -> Result<Value, Problem> {
    if fields.iter().all(|(_, list)| *list == Value::Null) {
        return Ok(Value::Null);
    }
    let mut lists = Vec::with_capacity(fields.len());
    for (name, list) in fields {
        match list {
            Value::List(values) => lists.push((name, values)),
            _ => return Err("a list of objects is null in some fields only".into()),
        }
    }
    let count = lists.first().map_or(0, |(_, values)| values.len());
    if lists.iter().any(|(_, values)| values.len() != count) {
        return Err("a list of objects has fields of different lengths".into());
    }
    let mut text = String::from("[");
    for row in 0..count {
        text.push_str(if row > 0 { ",{" } else { "{" });
        for (place, (name, values)) in lists.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            quote(name, &mut text);
            text.push(':');
            match &values[row] {
                Value::Text(value) => quote(value, &mut text),
                // What is no number in JSON (NaN) has no place in a conversation.
                Value::Number(value) if value.parse::<serde_json::Number>().is_err() => {
                    text.push_str("null");
                }
                value => text.push_str(value.as_text().unwrap_or("null")),
            }
        }
        text.push('}');
    }
    text.push(']');
    Ok(Value::Json(text))
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
    columns: Vec<Option<Stored>>,
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

    /// Rows of all groups.
    pub(crate) fn rows(&self) -> u64 {
        let groups = self.metadata.groups.iter();
        groups.fold(0, |sum, group| sum.saturating_add(group.rows))
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
            let columns = self.metadata.columns.iter().zip(&self.wanted);
            self.columns = columns
                .map(
                    |((_, content), wanted)| match content.as_ref().filter(|_| *wanted) {
                        Some(content) => Stored::new(content, &group.chunks),
                        None => Ok(None),
                    },
                )
                .collect::<Result<_, _>>()?;
        }
        self.left -= 1;
        let mut held: usize = self.columns.iter().flatten().map(Stored::held).sum();
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
