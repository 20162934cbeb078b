//! One row of any format.

use crate::error::{DataError, Location};
use std::sync::Arc;

/// Largest field accepted, in bytes.
pub const MAX_FIELD_BYTES: usize = 8 << 20;
/// Largest row accepted, in bytes of the file.
pub const MAX_ROW_BYTES: usize = 32 << 20;
/// Most columns accepted.
pub const MAX_COLUMNS: usize = 4096;

/// One field. CSV, TSV and text files hold only [`Value::Text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// JSON `null`.
    Null,
    /// A string.
    Text(String),
    /// A JSON number, as JSON writes it.
    Number(String),
    /// A JSON boolean.
    Bool(bool),
    /// A JSON array or object, whose content is not kept.
    Nested,
}

impl Value {
    /// The field as text; `None` for `null`, arrays and objects.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Null | Self::Nested => None,
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

    /// Line of the file at which the row starts, from 1.
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
    /// [`DataError::Malformed`] if the column is missing, `null`, an array or an object.
    pub fn text(&self, name: &str, file: &str) -> Result<&str, DataError> {
        let value = self.get(name);
        value
            .and_then(Value::as_text)
            .ok_or_else(|| DataError::Malformed {
                at: self.location(file).column(name),
                problem: match value {
                    None => "expected a value, but the column is missing in this row".to_owned(),
                    Some(Value::Null) => "expected a value, found null".to_owned(),
                    Some(_) => "expected text, found an array or object".to_owned(),
                },
                fix: "correct or remove the row",
            })
    }
}
