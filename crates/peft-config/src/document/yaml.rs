//! YAML, from the events of `saphyr-parser`.
//!
//! Scalars follow the core schema of YAML 1.2: `no` and `on` are texts, `1e-4` is a number. Aliases
//! are refused, for a few lines of them stand for gigabytes; so are tags, several documents, and keys
//! that are no scalars.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use super::{DEPTH_LIMIT, Fault, Lines, join};

pub(super) fn read(text: &str) -> Result<(Map<String, Value>, Lines), Fault> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line();
            Fault::new(line, error.info())
        })?;
        builder.event(event, span.start.line())?;
    }
    match builder.root {
        Some(Value::Object(values)) => Ok((values, builder.lines)),
        // A file of comments sets nothing.
        None | Some(Value::Null) => Ok((Map::new(), builder.lines)),
        Some(_) => Err(Fault::new(1, "expected settings, one `key: value` a line")),
    }
}

/// A mapping or a list that is not closed yet.
enum Open {
    Table {
        path: String,
        map: Map<String, Value>,
        /// The key whose value comes next.
        key: Option<String>,
    },
    List {
        path: String,
        items: Vec<Value>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
    documents: usize,
    lines: Lines,
}

impl Builder {
    fn event(&mut self, event: Event, line: usize) -> Result<(), Fault> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err(Fault::new(line, "a second document begins; write one only")),
                }
            }
            Event::Alias(_) => Err(Fault::new(
                line,
                "aliases (`*name`) are not read; write the value itself",
            )),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Err(Fault::new(
                line,
                "tags (`!name`) are not read; leave it out",
            )),
            Event::Scalar(text, style, _, None) => self.scalar(&text, style, line),
            Event::SequenceStart(_, None) => {
                let path = self.begin(line)?;
                let items = Vec::new();
                self.open.push(Open::List { path, items });
                Ok(())
            }
            Event::MappingStart(_, None) => {
                let path = self.begin(line)?;
                let (map, key) = (Map::new(), None);
                self.open.push(Open::Table { path, map, key });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Table { map, .. }) => self.put(Value::Object(map), line),
                Some(Open::List { items, .. }) => self.put(Value::Array(items), line),
                None => Ok(()),
            },
        }
    }

    /// The path of a list or mapping that begins here.
    fn begin(&self, line: usize) -> Result<String, Fault> {
        if self.open.len() >= DEPTH_LIMIT {
            return Err(Fault::too_deep(line));
        }
        match self.open.last() {
            None => Ok(String::new()),
            Some(Open::List { path, .. }) => Ok(path.clone()),
            Some(Open::Table {
                path,
                key: Some(key),
                ..
            }) => Ok(join(path, key)),
            Some(Open::Table { key: None, .. }) => Err(Fault::new(
                line,
                "a list or a mapping cannot be a key; write a name",
            )),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, line: usize) -> Result<(), Fault> {
        if let Some(Open::Table {
            path,
            map,
            key: key @ None,
        }) = self.open.last_mut()
        {
            if map.contains_key(text) {
                return Err(Fault::new(line, format!("the key `{text}` occurs twice")));
            }
            self.lines.insert(join(path, text), line);
            *key = Some(text.to_owned());
            return Ok(());
        }
        let value = match style {
            ScalarStyle::Plain => plain(text).map_err(|text| Fault::new(line, text))?,
            _ => Value::String(text.to_owned()),
        };
        self.put(value, line)
    }

    /// A value that is complete.
    fn put(&mut self, value: Value, line: usize) -> Result<(), Fault> {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Table { map, key, .. }) => match key.take() {
                Some(key) => drop(map.insert(key, value)),
                None => return Err(Fault::new(line, "a value without a key")),
            },
        }
        Ok(())
    }
}

/// A scalar without quotes, by the core schema.
fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return Err(format!("`{text}` is no finite number")),
        _ => {}
    }
    let beyond = || format!("the number `{text}` is beyond 64 bits");
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            let number = u64::from_str_radix(digits, radix).map_err(|_| beyond())?;
            return Ok(number.into());
        }
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        return match (unsigned.parse::<i64>(), unsigned.parse::<u64>()) {
            (Ok(number), _) => Ok(number.into()),
            (_, Ok(number)) => Ok(number.into()),
            _ => Err(beyond()),
        };
    }
    // Rust reads more than YAML does, such as `inf` and `nan`, but nothing else that begins so.
    let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match text.parse::<f64>() {
        Ok(number) if begins => match Number::from_f64(number) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(beyond()),
        },
        _ => Ok(Value::String(text.to_owned())),
    }
}
