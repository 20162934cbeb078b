//! Lists that Python wrote into a cell of text.
//!
//! A data frame with a column of lists becomes cells such as `['joy', 'anger']`; one of NumPy arrays
//! `['joy' 'anger']` or `[1. 0.]`; sets and tuples have other brackets. JSON lists look much the same.

use crate::reader::{MAX_LIST, Value};
use std::iter::Peekable;
use std::str::Chars;

/// The elements of a list written as text; `None` if the text is no such list.
pub(crate) fn list(text: &str) -> Option<Vec<Value>> {
    let text = text.trim();
    if text == "set()" {
        return Some(Vec::new());
    }
    let inner = [('[', ']'), ('(', ')'), ('{', '}')]
        .iter()
        .find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close))?;
    let mut chars = inner.chars().peekable();
    let mut values = Vec::new();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = chars.peek().copied() else {
            return Some(values);
        };
        if values.len() == MAX_LIST {
            return None;
        }
        let value = match first {
            '\'' | '"' => Value::Text(quoted(&mut chars)?),
            _ => bare(&mut chars)?,
        };
        values.push(value);
        // NumPy puts blanks between elements, Python and JSON commas, after the last one, too.
        let blank = chars.next_if(|c| c.is_whitespace()).is_some();
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let comma = chars.next_if_eq(&',').is_some();
        if !blank && !comma && chars.peek().is_some() {
            return None;
        }
    }
}

/// Whether a text is most likely meant as a list, of whatever is in it.
pub(crate) fn looks_like_list(text: &str) -> bool {
    let text = text.trim();
    let closed = (text.starts_with('[') && text.ends_with(']'))
        || (text.starts_with('{') && text.ends_with('}'));
    closed && text.contains(['\'', '"', ','])
}

fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let quote = chars.next()?;
    let mut text = String::new();
    loop {
        match chars.next()? {
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                escape @ ('x' | 'u' | 'U') => {
                    let digits = match escape {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let code: String = chars.by_ref().take(digits).collect();
                    text.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                other => text.push(other),
            },
            end if end == quote => return Some(text),
            other => text.push(other),
        }
    }
}

/// A number, a truth value or nothing; any other word is no element of a list.
fn bare(chars: &mut Peekable<Chars<'_>>) -> Option<Value> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != ',') {
        word.push(c);
    }
    match word.as_str() {
        "True" | "true" => Some(Value::Bool(true)),
        "False" | "false" => Some(Value::Bool(false)),
        "None" | "null" | "nan" | "NaN" => Some(Value::Null),
        number => {
            let digits = number.contains(|c: char| c.is_ascii_digit());
            let number = (digits && number.parse::<f64>().is_ok()).then_some(word);
            number.map(Value::Number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    fn number(value: &str) -> Value {
        Value::Number(value.to_owned())
    }

    #[test]
    fn lists_as_python_numpy_and_json_write_them() {
        let names = vec![text("joy"), text("it's")];
        for written in [
            "['joy', \"it's\"]",
            "[\"joy\",\"it's\"]",
            " ('joy', 'it\\'s') ",
            "{'joy', 'it\\x27s',}",
            "['joy' \"it's\"]",
            "['joy'\n \"it's\"]",
        ] {
            assert_eq!(list(written), Some(names.clone()), "{written}");
        }
        assert_eq!(list("[1, 0]"), Some(vec![number("1"), number("0")]));
        assert_eq!(list("[1. 0.]"), Some(vec![number("1."), number("0.")]));
        assert_eq!(
            list("[True, None]"),
            Some(vec![Value::Bool(true), Value::Null])
        );
        for empty in ["[]", "()", "set()", "{ }"] {
            assert_eq!(list(empty), Some(Vec::new()), "{empty}");
        }
        for other in [
            "joy", "[UNK]", "[a, b]", "['a'", "['a''b']", "{'a': 1}", "[['a']]", "['a\\",
        ] {
            assert_eq!(list(other), None, "{other}");
        }
        assert!(looks_like_list("[a, b]") && looks_like_list("{'a': 1}"));
        assert!(!looks_like_list("[UNK]") && !looks_like_list("(a, b)"));
    }

    proptest! {
        #[test]
        fn reads_what_json_writes(names in prop::collection::vec("[a-z'\"\\\\ é]{0,6}", 0..5)) {
            let written = serde_json::to_string(&names).unwrap();
            let want: Vec<Value> = names.iter().map(|name| text(name)).collect();
            prop_assert_eq!(list(&written), Some(want));
        }

        #[test]
        fn never_panics(text in "[\\[\\](){}'\",\\\\ xu0-9a]{0,20}") {
            let _ = list(&text);
        }
    }
}
