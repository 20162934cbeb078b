//! Files of settings, with the line of every key.

mod toml;
mod yaml;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use peft_format::{FormatError, bounded, shorten};
use serde_json::{Map, Value};

use crate::{Origin, Problem};

/// The largest file that is read, in bytes.
const SIZE_LIMIT: u64 = 256 << 10;
/// How deep tables and lists may lie in one another.
const DEPTH_LIMIT: usize = 16;

/// A file of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    path: PathBuf,
    values: Map<String, Value>,
    lines: Lines,
}

/// The line of each key, by its path with dots.
type Lines = BTreeMap<String, usize>;

/// What is wrong with the text of a file, and in which line.
struct Fault {
    line: usize,
    text: String,
}

impl Fault {
    fn new(line: usize, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { line, text }
    }

    fn too_deep(line: usize) -> Self {
        Self::new(line, "tables and lists lie too deep in one another")
    }
}

impl Document {
    /// Read a file: TOML or YAML, by its ending.
    ///
    /// # Errors
    /// The outer one if the file cannot be read, the inner one if it is no such document: wrong
    /// syntax, repeated keys, aliases, more than 256 KiB or 16 levels.
    pub fn read(path: &Path) -> Result<Result<Self, Problem>, FormatError> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let read = match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => toml::read,
            Some("yaml" | "yml") => yaml::read,
            _ => {
                return Err(FormatError::WrongKind {
                    path: path.to_owned(),
                    expected: "a file of settings",
                    found: "its name does not tell the format".into(),
                    fix: "let it end in .toml, .yaml or .yml".into(),
                });
            }
        };
        let bytes = bounded::read(path, "the file of settings", SIZE_LIMIT)?;
        let parsed = match String::from_utf8(bytes) {
            // Editors of some systems put a mark of the byte order in front of UTF-8.
            Ok(text) => read(text.trim_start_matches('\u{feff}')),
            Err(error) => {
                let before = error.utf8_error().valid_up_to();
                let breaks = error.as_bytes()[..before].iter().filter(|b| **b == b'\n');
                Err(Fault::new(1 + breaks.count(), "this is not UTF-8 text"))
            }
        };
        Ok(match parsed {
            Ok((values, lines)) => Ok(Self {
                path: path.to_owned(),
                values,
                lines,
            }),
            Err(Fault { line, text }) => {
                let origin = Origin::File {
                    path: path.to_owned(),
                    line,
                };
                Err(Problem::new(origin, "", shorten(&text)))
            }
        })
    }

    /// The values, in the order of the file.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Where a key stands; `key` is its path with dots.
    pub fn origin(&self, key: &str) -> Origin {
        let line = self.lines.get(key).copied();
        Origin::File {
            path: self.path.clone(),
            line: line.unwrap_or(1),
        }
    }
}

/// The tables of TOML text, if it is TOML.
pub(crate) fn toml_table(text: &str) -> Option<Map<String, Value>> {
    toml::read(text).ok().map(|(values, _)| values)
}

/// One value as TOML writes it on the right of a `=`.
pub(crate) fn toml_value(text: &str) -> Option<Value> {
    // What ends the line would begin another setting.
    if text.contains(['\n', '\r']) {
        return None;
    }
    toml_table(&format!("value = {text}"))?.shift_remove("value")
}

/// `table.key`, or `key` outside of any table.
fn join(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

#[cfg(test)]
mod tests;
