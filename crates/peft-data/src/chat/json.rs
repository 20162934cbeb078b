//! JSON as Python's `json.dumps` writes it, which is what templates were written against.

use serde_json::Value;
use std::fmt::Write;

/// How `json.dumps` is asked to write.
pub(super) struct Style {
    pub(super) indent: Option<String>,
    pub(super) item: String,
    pub(super) key: String,
    pub(super) sort_keys: bool,
    pub(super) ascii: bool,
}

/// A value as text.
pub(super) fn dumps(value: &Value, style: &Style) -> String {
    let mut out = String::new();
    write(value, style, 0, &mut out);
    out
}

fn write(value: &Value, style: &Style, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(value) => float(value, out),
            None => drop(write!(out, "{number}")),
        },
        Value::String(text) => string(text, style, out),
        Value::Array(values) => {
            let items = values.iter().map(|value| (None, value)).collect();
            list(('[', ']'), items, style, depth, out);
        }
        Value::Object(map) => {
            let mut items: Vec<_> = map.iter().map(|(k, v)| (Some(k.as_str()), v)).collect();
            if style.sort_keys {
                items.sort_by_key(|(key, _)| *key);
            }
            list(('{', '}'), items, style, depth, out);
        }
    }
}

fn list(
    (open, close): (char, char),
    items: Vec<(Option<&str>, &Value)>,
    style: &Style,
    depth: usize,
    out: &mut String,
) {
    out.push(open);
    let line = |depth: usize, out: &mut String| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    let filled = !items.is_empty();
    for (number, (key, value)) in items.into_iter().enumerate() {
        if number > 0 {
            out.push_str(&style.item);
        }
        line(depth + 1, out);
        if let Some(key) = key {
            string(key, style, out);
            out.push_str(&style.key);
        }
        write(value, style, depth + 1, out);
    }
    if filled {
        line(depth, out);
    }
    out.push(close);
}

fn string(text: &str, style: &Style, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (style.ascii && c > '~') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Python's `repr` of a float: shortest digits, an exponent below 1e-4 and from 1e16 on.
fn float(value: f64, out: &mut String) {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let _ = match exponent {
        -4..16 => write!(out, "{value:?}"),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(out, "{digits}e{sign}{:02}", exponent.abs())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Expectations are Python 3.11's `json.dumps(x, ensure_ascii=False)`.
    #[test]
    fn as_python_writes_it() {
        let mut style = Style {
            indent: None,
            item: ", ".into(),
            key: ": ".into(),
            sort_keys: false,
            ascii: false,
        };
        let value = json!({"b": [1, 2.0, -1e16, 1.5e-5, 0.0001, 123456789012345680.0, null, true],
                           "a": "é<b>&\"\\\u{1}\u{7f}\u{1F642}", "e": {}, "l": []});
        let want = "{\"b\": [1, 2.0, -1e+16, 1.5e-05, 0.0001, 1.2345678901234568e+17, null, true], \
                    \"a\": \"é<b>&\\\"\\\\\\u0001\u{7f}\u{1F642}\", \"e\": {}, \"l\": []}";
        assert_eq!(dumps(&value, &style), want);
        style.indent = Some("  ".into());
        style.item = ",".into();
        (style.sort_keys, style.ascii) = (true, true);
        let value = json!({"b": [1], "a": "\u{1F642}é", "e": {}});
        let want =
            "{\n  \"a\": \"\\ud83d\\ude42\\u00e9\",\n  \"b\": [\n    1\n  ],\n  \"e\": {}\n}";
        assert_eq!(dumps(&value, &style), want);
    }
}
