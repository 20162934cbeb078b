//! One JSON object a line.

use super::line::Lines;
use super::row::{MAX_COLUMNS, MAX_LIST, Value};
use crate::error::{DataError, Location};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;

/// Columns and values in the order of the line; of a key that comes twice the last value counts.
pub(crate) struct Object {
    pub(crate) names: Vec<String>,
    pub(crate) values: Vec<Value>,
}

/// The object of the next line that is not blank, and that line's number.
pub(crate) fn next_object(lines: &mut Lines, row: u64) -> Result<Option<(u64, Object)>, DataError> {
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

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let (mut names, mut values) = (Vec::<String>::new(), Vec::new());
        // Short objects are searched; long ones would take quadratic time.
        let mut places: HashMap<String, usize> = HashMap::new();
        const SHORT: usize = 16;
        while let Some(name) = map.next_key::<String>()? {
            let Field(value) = map.next_value()?;
            let place = match names.len() {
                0..=SHORT => names.iter().position(|n| *n == name),
                _ => places.get(&name).copied(),
            };
            if let Some(place) = place {
                values[place] = value;
                continue;
            }
            if names.len() == MAX_COLUMNS {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_COLUMNS} keys"
                )));
            }
            names.push(name);
            values.push(value);
            if names.len() > SHORT {
                let known = places.len();
                let new = names.iter().enumerate().skip(known);
                places.extend(new.map(|(place, name)| (name.clone(), place)));
            }
        }
        Ok(Object { names, values })
    }
}

/// A value of an object: parsed straight into what is kept of it, so that a row takes no more
/// memory than its line, whatever is nested in it.
struct Field(Value);

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor { element: false })?;
        Ok(Self(value))
    }
}

/// An element of a list.
struct Element(Value);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor { element: true })?;
        Ok(Self(value))
    }
}

struct ValueVisitor {
    element: bool,
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // As JSON writes it, with a point: labels tell 1 from 1.0.
        Ok(Value::Number(format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while !self.element && values.len() < MAX_LIST {
            match list.next_element()? {
                None => return Ok(Value::List(values)),
                Some(Element(Value::Nested)) => break,
                Some(Element(value)) => values.push(value),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Nested)
    }
}
