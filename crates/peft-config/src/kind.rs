//! The types of settings.

use std::fmt;

use peft_format::shorten;
use serde_json::{Map, Value};

/// What a setting takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of some words.
    Choice(Vec<String>),
    /// A whole number, not negative.
    Whole,
    /// A finite number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    List(Box<Kind>),
    /// Names with values.
    Table(Box<Kind>),
    /// One of several of these; only the setting's own reader knows.
    Any,
}

impl Kind {
    /// The kind of a JSON Schema in which nothing is a reference.
    pub(crate) fn of(schema: &Value) -> Self {
        let inner = |key: &str| Box::new(schema.get(key).map_or(Self::Any, Self::of));
        if let Some(words) = words(schema) {
            return Self::Choice(words);
        }
        if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
            let mut real = alternatives.iter().filter(|one| one["type"] != "null");
            return match (real.next(), real.next()) {
                (Some(only), None) => Self::of(only),
                _ => Self::Any,
            };
        }
        let name = match schema.get("type") {
            Some(Value::String(name)) => Some(name.as_str()),
            // `["number", "null"]` is how an optional number looks.
            Some(Value::Array(names)) => {
                let mut real = names.iter().filter(|name| *name != "null");
                match (real.next(), real.next()) {
                    (Some(only), None) => only.as_str(),
                    _ => None,
                }
            }
            _ => None,
        };
        match name {
            Some("string") => Self::Text,
            Some("integer") => Self::Whole,
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            Some("array") => Self::List(inner("items")),
            Some("object") => Self::Table(inner("additionalProperties")),
            _ => Self::Any,
        }
    }

    /// Whether a value is of this kind.
    pub fn admits(&self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Choice(words) => value.as_str().is_some_and(|v| words.iter().any(|w| w == v)),
            Self::Whole => value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::List(inner) => value
                .as_array()
                .is_some_and(|list| list.iter().all(|item| inner.admits(item))),
            Self::Table(inner) => value
                .as_object()
                .is_some_and(|table| table.values().all(|item| inner.admits(item))),
            Self::Any => true,
        }
    }

    /// The value that text on the command line stands for; text that is no such value is itself, for
    /// [`admits`](Self::admits) to refuse.
    pub fn parse(&self, text: &str) -> Value {
        let raw = || Value::String(text.to_owned());
        match self {
            Self::Text | Self::Choice(_) => raw(),
            Self::Boolean => text.parse().map_or_else(|_| raw(), Value::Bool),
            Self::Whole => text.parse::<u64>().map_or_else(|_| raw(), Value::from),
            Self::Number => {
                let whole = text.parse::<i64>().ok().map(Value::from);
                // JSON's numbers, so that `inf` and `nan` stay text.
                let number = || serde_json::from_str(text).ok().filter(Value::is_number);
                whole.or_else(number).unwrap_or_else(raw)
            }
            Self::List(inner) => match literal(text) {
                Some(list @ Value::Array(_)) => list,
                _ => text
                    .split(',')
                    .map(|item| inner.parse(item.trim()))
                    .collect(),
            },
            Self::Table(inner) => match (literal(text), text.rsplit_once('=')) {
                (Some(table @ Value::Object(_)), _) => table,
                (_, Some((name, value))) => {
                    let entry = (name.trim().to_owned(), inner.parse(value.trim()));
                    Value::Object(Map::from_iter([entry]))
                }
                _ => raw(),
            },
            Self::Any => literal(text).unwrap_or_else(raw),
        }
    }
}

/// What is expected, for a message.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Whole => f.write_str("a whole number, not negative"),
            Self::Number => f.write_str("a number"),
            Self::Boolean => f.write_str("true or false"),
            Self::List(inner) => write!(f, "a list, each item {inner}"),
            Self::Table(inner) => write!(f, "names, each with {inner}"),
            Self::Any => f.write_str("another value"),
        }
    }
}

/// What is there instead, for a message.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::String(text) => format!("the text `{}`", shorten(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
        other => format!("{other}"),
    }
}

/// The words of an enumeration, written in one of the two ways in which schemas do.
fn words(schema: &Value) -> Option<Vec<String>> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(word).collect());
    }
    let alternatives = schema.get("oneOf")?.as_array()?;
    alternatives.iter().map(|one| word(&one["const"])).collect()
}

/// A value as TOML writes it.
fn literal(text: &str) -> Option<Value> {
    crate::document::toml_value(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemas_tell_the_kind() {
        let cases = [
            (json!({"type": "string"}), Kind::Text),
            (json!({"type": ["integer", "null"]}), Kind::Whole),
            (
                json!({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}),
                Kind::Choice(vec!["a".into(), "b".into()]),
            ),
            (
                json!({"oneOf": [{"const": "a"}, {"const": "b"}]}),
                Kind::Choice(vec!["a".into(), "b".into()]),
            ),
            (
                json!({"type": "array", "items": {"type": "string"}}),
                Kind::List(Box::new(Kind::Text)),
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "number"}}),
                Kind::Table(Box::new(Kind::Number)),
            ),
            (
                json!({"type": "object", "additionalProperties": true}),
                Kind::Table(Box::new(Kind::Any)),
            ),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "array"}]}),
                Kind::Any,
            ),
            (json!(true), Kind::Any),
        ];
        for (schema, kind) in cases {
            assert_eq!(Kind::of(&schema), kind, "{schema}");
        }
    }

    #[test]
    fn text_becomes_a_value_of_the_kind() {
        let cases = [
            (Kind::Text, "8", json!("8")),
            (Kind::Whole, "8", json!(8)),
            (Kind::Number, "1e-4", json!(1e-4)),
            (Kind::Number, "3", json!(3)),
            (Kind::Boolean, "true", json!(true)),
            (Kind::List(Box::new(Kind::Text)), "a, b", json!(["a", "b"])),
            (Kind::List(Box::new(Kind::Text)), "['a,b']", json!(["a,b"])),
            (
                Kind::Table(Box::new(Kind::Whole)),
                "a=b=4",
                json!({"a=b": 4}),
            ),
            (
                Kind::Table(Box::new(Kind::Whole)),
                "{ a = 4, 'b.c' = 2 }",
                json!({"a": 4, "b.c": 2}),
            ),
            (Kind::Any, "[1, 2]", json!([1, 2])),
            (Kind::Any, "[qk]uery", json!("[qk]uery")),
            (Kind::Any, "query,value", json!("query,value")),
        ];
        for (kind, text, value) in cases {
            assert_eq!(kind.parse(text), value, "{text}");
            assert!(kind.admits(&value), "{text}");
        }
        for (kind, text) in [
            (Kind::Whole, "-1"),
            (Kind::Whole, "2.5"),
            (Kind::Number, "inf"),
            (Kind::Number, "x"),
            (Kind::Boolean, "yes"),
            (Kind::Table(Box::new(Kind::Whole)), "a"),
            (Kind::Table(Box::new(Kind::Whole)), "a=x"),
            (Kind::List(Box::new(Kind::Whole)), "1,b"),
        ] {
            assert!(!kind.admits(&kind.parse(text)), "{text}");
        }
    }
}
