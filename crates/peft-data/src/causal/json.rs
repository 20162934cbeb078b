//! Values of rows as JSON.

use crate::error::DataError;
use crate::reader::{Row, Value};
use serde_json::Value as Json;

/// Longest JSON of one field: a conversation of a million words has about half of that, and small
/// values take twenty times their text in memory.
const MAX_BYTES: usize = 4 << 20;

/// Whether a value is a list of objects, as conversations are; CSV holds them as text.
pub(super) fn is_list_of_turns(value: &Value) -> bool {
    match value {
        Value::Json(text) | Value::Text(text) => {
            let rest = text.trim_start().strip_prefix('[').map(str::trim_start);
            rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(']'))
        }
        Value::List(values) => values.is_empty(),
        _ => false,
    }
}

/// Whether a value is surely a list of objects: a text may look like one.
pub(super) fn has_turns(value: &Value) -> bool {
    match value {
        Value::Json(_) => true,
        Value::Text(text) => is_list_of_turns(value) && text.contains("\"role\""),
        _ => false,
    }
}

/// A column as JSON: what is nested, or JSON written as text. `None` if the column is missing, null
/// or blank.
pub(super) fn json(row: &Row, column: &str, file: &str) -> Result<Option<Json>, DataError> {
    let at = || row.location(file).column(column);
    let text = match row.get(column) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Json(text) | Value::Text(text)) => text,
        Some(Value::List(values)) if values.is_empty() => return Ok(Some(Json::Array(Vec::new()))),
        Some(_) => {
            return Err(DataError::Malformed {
                at: at(),
                problem: "expected a list of objects or an object, found another value".to_owned(),
                fix: "correct or remove the row",
            });
        }
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_BYTES {
        return Err(DataError::TooLarge {
            at: at(),
            what: "the conversation",
            limit: MAX_BYTES,
        });
    }
    serde_json::from_str(text)
        .map(Some)
        .map_err(|e| DataError::Malformed {
            at: at(),
            problem: format!("expected JSON: {e}"),
            fix: "write the conversation as a list of {\"role\", \"content\"}",
        })
}
