//! Settings as TOML.

use std::fmt::Write;

use serde_json::{Map, Value};

/// TOML of some settings: values first, then tables. What is null is left out.
///
/// `comment(key)` stands above a key, without `#`; `key` is its path with dots.
pub fn write(values: &Map<String, Value>, comment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let (tables, plain): (Vec<_>, Vec<_>) = values
        .iter()
        .filter(|(_, value)| !value.is_null())
        .partition(|(_, value)| value.is_object());
    let line = |out: &mut String, path: &str, key: &str, value: &Value| {
        if let Some(text) = comment(path) {
            for line in text.lines() {
                let _ = writeln!(out, "# {line}");
            }
        }
        let _ = writeln!(out, "{} = {}", name(key), value_text(value));
    };
    for (key, value) in plain {
        line(&mut out, key, key, value);
    }
    for (table, fields) in tables {
        let _ = writeln!(out, "\n[{}]", name(table));
        let fields = fields.as_object().into_iter().flatten();
        for (key, value) in fields.filter(|(_, value)| !value.is_null()) {
            line(&mut out, &format!("{table}.{key}"), key, value);
        }
    }
    out
}

/// A value in one line. TOML has no null; it is written as an empty text.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".into(),
        Value::Bool(flag) => flag.to_string(),
        // JSON writes the shortest digits that read back the same, TOML reads them all.
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(value_text).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<String> = fields
                .map(|(key, value)| format!("{} = {}", name(key), value_text(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key, in quotes where it must be.
fn name(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Number, json};

    #[test]
    fn comments_stand_above_their_keys() {
        let values = json!({ "table": { "b": 1e-4 }, "a": "x\n\"y\"", "none": null });
        let comment = |key: &str| (key == "table.b").then(|| "one\ntwo".to_owned());
        let text = write(values.as_object().unwrap(), &comment);
        assert!(text.starts_with("a = "), "{text}");
        assert!(
            text.ends_with("\n[table]\n# one\n# two\nb = 0.0001\n"),
            "{text}"
        );
        assert!(!text.contains("none"), "{text}");
    }

    fn values() -> impl Strategy<Value = Value> {
        let number = any::<f64>().prop_filter_map("finite", Number::from_f64);
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            number.prop_map(Value::Number),
            "\\PC{0,12}|[\u{0}-\u{7f}'\"]{0,6}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-z.\"= ]{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            map in prop::collection::btree_map("[a-z_.\"= ]{0,6}", values(), 0..5)
        ) {
            let map: Map<String, Value> = map.into_iter().collect();
            let text = write(&map, &|_| None);
            let read = crate::document::toml_table(&text);
            prop_assert_eq!(read.as_ref(), Some(&map), "{}", text);
        }
    }
}
