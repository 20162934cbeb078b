//! One JSON object a line.

use super::line::Lines;
use super::row::Value;
use crate::error::{DataError, Location};
use serde_json::{Map, Value as Json};

/// An object and the line it is on.
type Numbered = (u64, Map<String, Json>);

/// The object of the next line that is not blank, and that line's number.
pub(crate) fn next_object(lines: &mut Lines, row: u64) -> Result<Option<Numbered>, DataError> {
    loop {
        let Some(line) = lines.next(row)? else {
            return Ok(None);
        };
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let (first, parsed) = (text.starts_with('['), serde_json::from_str(text));
        let number = lines.number;
        if first && row == 1 {
            return Err(DataError::Format {
                file: lines.file.clone(),
                problem: "expected one JSON object a line, found an array".to_owned(),
                fix: "convert it to JSON lines: jq -c '.[]' data.json > data.jsonl",
            });
        }
        return match parsed {
            Ok(object) => Ok(Some((number, object))),
            Err(error) => Err(DataError::Malformed {
                at: Location {
                    file: lines.file.clone(),
                    row,
                    line: number,
                    column: None,
                },
                problem: format!("expected one whole JSON object on the line: {error}"),
                fix: "write each row as a JSON object on a line of its own (jq -c . does that)",
            }),
        };
    }
}

/// A JSON value as a field.
pub(crate) fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(b),
        Json::Number(n) => Value::Number(n.to_string()),
        Json::String(s) => Value::Text(s),
        Json::Array(_) | Json::Object(_) => Value::Nested,
    }
}
