//! One JSON object a line.

use super::line::Lines;
use super::row::{MAX_COLUMNS, MAX_LIST, Value};
use crate::error::{DataError, Location};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;

/// Columns and values in the order of the line; of a key that comes twice the last value counts.
pub(crate) struct Object {
    pub(crate) names: Vec<String>,
    pub(crate) values: Vec<Value>,
}

/// The object of the next line that is not blank, and that line's number.
/// `nested` keeps lists of lists and objects as text.
pub(crate) fn next_object(
    lines: &mut Lines,
    row: u64,
    nested: bool,
) -> Result<Option<(u64, Object)>, DataError> {
    loop {
        let Some(line) = lines.next(row)? else {
            return Ok(None);
        };
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let (first, parsed) = (text.starts_with('['), parse(text, nested));
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

fn parse(text: &str, nested: bool) -> serde_json::Result<Object> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = deserializer.deserialize_map(ObjectVisitor { nested })?;
    deserializer.end().map(|()| object)
}

struct ObjectVisitor {
    nested: bool,
}

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
            let value = map.next_value_seed(Field {
                nested: self.nested,
            })?;
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
#[derive(Clone, Copy)]
struct Field {
    nested: bool,
}

impl<'de> DeserializeSeed<'de> for Field {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor {
            element: false,
            nested: self.nested,
        })
    }
}

struct ValueVisitor {
    /// Whether the value is an element of a list.
    element: bool,
    nested: bool,
}

impl<'de> DeserializeSeed<'de> for ValueVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
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
        if self.nested {
            let mut text = String::new();
            Text(&mut text).visit_map(map)?;
            return Ok(Value::Json(text));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        if self.nested && self.element {
            let mut text = String::new();
            Text(&mut text).visit_seq(list)?;
            return Ok(Value::Json(text));
        }
        let (element, nested) = (true, self.nested);
        let mut values = Vec::new();
        while !self.element && values.len() < MAX_LIST {
            match list.next_element_seed(ValueVisitor { element, nested })? {
                None => return Ok(Value::List(values)),
                Some(Value::Nested) => break,
                Some(Value::Json(first)) => return rest(&values, &first, list).map(Value::Json),
                Some(value) => values.push(value),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Nested)
    }
}

/// The text of a list in which the first list or object has been met.
fn rest<'de, A: SeqAccess<'de>>(
    values: &[Value],
    nested: &str,
    mut list: A,
) -> Result<String, A::Error> {
    let mut text = String::from("[");
    for value in values {
        match value {
            Value::Text(value) => quote(value, &mut text),
            other => text.push_str(other.as_text().unwrap_or("null")),
        }
        text.push(',');
    }
    text.push_str(nested);
    text.push(',');
    while list.next_element_seed(Text(&mut text))?.is_some() {
        text.push(',');
    }
    text.pop();
    text.push(']');
    Ok(text)
}

/// Writes a text as JSON.
pub(super) fn quote(value: &str, out: &mut String) {
    // A string always has a form in JSON.
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
}

/// Writes a value as JSON while it is parsed: its text is all that is kept of it.
struct Text<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push_str("null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.push_str(&value.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push_str(&value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.push_str(&format!("{value:?}"));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        quote(value, self.0);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.push('{');
        let mut first = true;
        while let Some(key) = map.next_key::<String>()? {
            if !std::mem::take(&mut first) {
                self.0.push(',');
            }
            quote(&key, self.0);
            self.0.push(':');
            map.next_value_seed(Text(self.0))?;
        }
        self.0.push('}');
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.push('[');
        let start = self.0.len();
        while list.next_element_seed(Text(self.0))?.is_some() {
            self.0.push(',');
        }
        if self.0.len() > start {
            self.0.pop();
        }
        self.0.push(']');
        Ok(())
    }
}
