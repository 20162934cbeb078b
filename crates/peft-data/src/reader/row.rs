//! One row of any format.

use crate::error::{DataError, Location};
use crate::task::TOKEN_CLASSIFICATION;
use std::sync::Arc;

/// Largest field accepted, in bytes.
pub const MAX_FIELD_BYTES: usize = 8 << 20;
/// Largest row accepted, in bytes of the file.
pub const MAX_ROW_BYTES: usize = 32 << 20;
/// Most columns accepted.
pub const MAX_COLUMNS: usize = 4096;

/// Most values accepted in a list.
pub const MAX_LIST: usize = 1 << 16;

/// One field. CSV, TSV and text files hold only [`Value::Text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// JSON `null`, Parquet's null, or a column that was not asked for.
    Null,
    /// A string.
    Text(String),
    /// A number, as JSON writes it: floating-point numbers have a point or an exponent.
    Number(String),
    /// A boolean.
    Bool(bool),
    /// A list of values that are not lists themselves.
    List(Vec<Value>),
    /// A list of lists or of objects, or an object, as JSON: where it was asked for, see
    /// [`RowReader::keep_nested`](crate::RowReader::keep_nested).
    Json(String),
    /// A list of lists or an object, whose content is not kept, or a type that is not read.
    Nested,
}

impl Value {
    /// The field as text; `None` for `null`, lists and objects.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Null | Self::List(_) | Self::Json(_) | Self::Nested => None,
        }
    }
}

/// An ordered list of `(column, value)`, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub(crate) number: u64,
    pub(crate) line: u64,
    pub(crate) names: Arc<[String]>,
    pub(crate) values: Vec<Value>,
}

impl Row {
    /// Number of the row, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Line of the file at which the row starts, from 1; 0 in a format without lines.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The columns, in the file's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The value of a column.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.names.iter().position(|n| n == name)?;
        self.values.get(at)
    }

    /// Columns with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// Where the row is.
    pub fn location(&self, file: &str) -> Location {
        Location {
            file: file.to_owned(),
            row: self.number,
            line: self.line,
            column: None,
        }
    }

    /// The text of a column.
    ///
    /// # Errors
    /// [`DataError::Malformed`] if the column is missing, `null`, an object or of a type that is not
    /// read; [`DataError::Unsupported`] for a list, which is what token classification has.
    pub fn text(&self, name: &str, file: &str) -> Result<&str, DataError> {
        let value = self.get(name);
        if let Some(text) = value.and_then(Value::as_text) {
            return Ok(text);
        }
        let at = self.location(file).column(name);
        let (problem, fix) = match value {
            None => (
                "expected a value, but the column is missing in this row",
                "correct or remove the row",
            ),
            Some(Value::Null) => ("expected a value, found null", "correct or remove the row"),
            Some(Value::List(_)) => {
                return Err(DataError::Unsupported {
                    what: format!("{at}: expected text, found a list; {TOKEN_CLASSIFICATION}"),
                    fix: "join the words into one text, or name another column",
                });
            }
            Some(_) => (
                "expected text, found an object, a nested list or a type that is not read",
                "name another column, or store the values as text",
            ),
        };
        let problem = problem.to_owned();
        Err(DataError::Malformed { at, problem, fix })
    }
}
