//! JSON as Python writes it.

use std::borrow::Cow;

/// Words that Python's `json` writes for numbers that JSON has none for, the longest first.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Text of JSON whose `Infinity`, `-Infinity` and `NaN` are objects, `{"__float__": "Infinity"}`, as transformers 5 writes
/// them: so it is JSON. What stands in strings stays as it is, and text without such words is not copied.
#[must_use]
pub fn standard(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let (mut at, mut copied, mut in_string) = (0, 0, false);
    while at < text.len() {
        match text[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'I' | b'N' if !in_string => {
                let rest = &text[at..];
                if let Some(word) = WORDS.iter().find(|word| rest.starts_with(word.as_bytes())) {
                    out.extend_from_slice(&text[copied..at]);
                    out.extend_from_slice(format!("{{\"__float__\": \"{word}\"}}").as_bytes());
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_outside_of_strings_become_objects() {
        let text = br#"{"a": [0.0, Infinity], "Infinity\"NaN": -Infinity, "b": NaN, "c": -1}"#;
        let value: serde_json::Value = serde_json::from_slice(&standard(text)).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "a": [0.0, {"__float__": "Infinity"}], "Infinity\"NaN": {"__float__": "-Infinity"},
                "b": {"__float__": "NaN"}, "c": -1,
            })
        );
        let plain = br#"{"a": "-Infinity", "b": "\\"}"#;
        assert!(matches!(standard(plain), Cow::Borrowed(_)));
        // Broken text is left to the parser.
        assert_eq!(&*standard(b"\"\\"), b"\"\\");
    }
}
