//! What the rows of a file are, by their columns.

use super::document::Documents;
use super::json::{has_turns, is_list_of_turns};
use crate::columns::{ColumnMap, Columns};
use crate::error::{DataError, list};
use crate::reader::Row;

/// What the rows of a file are.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Lines of plain text.
    Lines(Documents),
    /// A column of texts.
    Text(String),
    /// A prompt and what is to follow it, as texts or as turns.
    Completion { prompt: String, completion: String },
    /// A column of conversations.
    Turns(String),
    /// An instruction, perhaps with an input, and the answer.
    Alpaca { instruction: String, output: String },
}

/// Columns of conversations, in order of preference; prompts with completions come between.
const SHARED: [&str; 2] = ["conversations", "conversation"];
const MESSAGES: [&str; 1] = ["messages"];
const COMPLETIONS: [(&str, &str); 2] = [("prompt", "completion"), ("prompt", "response")];
const ALPACA: [(&str, &str); 2] = [("instruction", "output"), ("instruction", "response")];
/// Texts that answer others, where nothing else fits.
const ANSWERS: [(&str, &str); 4] = [
    ("question", "answer"),
    ("query", "response"),
    ("input", "output"),
    ("source", "target"),
];

impl Shape {
    /// Looks at the first row. Columns that are named decide: the text alone is a text or a
    /// conversation, text and label are prompt and completion.
    pub(crate) fn of(row: &Row, map: &ColumnMap, file: &str) -> Result<Self, DataError> {
        let names = row.names();
        let find = |wanted: &str| names.iter().find(|n| n.to_lowercase() == wanted).cloned();
        let pair = |pairs: &[(&str, &str)]| {
            let mut pairs = pairs.iter();
            pairs.find_map(|(a, b)| Some((find(a)?, find(b)?)))
        };
        for name in [&map.text, &map.label].into_iter().flatten() {
            if !names.contains(name) {
                return Err(DataError::NoColumn {
                    file: file.to_owned(),
                    column: crate::error::shorten(name),
                    found: list(names),
                });
            }
        }
        let turns = |name: &String| row.get(name).is_some_and(is_list_of_turns);
        match (&map.text, &map.label) {
            (Some(text), Some(label)) => {
                return Ok(Self::Completion {
                    prompt: text.clone(),
                    completion: label.clone(),
                });
            }
            (Some(text), None) if turns(text) => return Ok(Self::Turns(text.clone())),
            (Some(text), None) => return Ok(Self::Text(text.clone())),
            (None, _) => {}
        }
        let conversation = |names: &[&str]| {
            let mut names = names.iter();
            names.find_map(|name| find(name).filter(turns))
        };
        if let Some(column) = conversation(&SHARED) {
            return Ok(Self::Turns(column));
        }
        if let Some((prompt, completion)) = pair(&COMPLETIONS) {
            return Ok(Self::Completion { prompt, completion });
        }
        if let Some(column) = conversation(&MESSAGES) {
            return Ok(Self::Turns(column));
        }
        if let Some((instruction, output)) = pair(&ALPACA) {
            return Ok(Self::Alpaca {
                instruction,
                output,
            });
        }
        if let Some(text) = find("text") {
            return Ok(Self::Text(text));
        }
        if let Some((prompt, completion)) = pair(&ANSWERS) {
            return Ok(Self::Completion { prompt, completion });
        }
        match map.resolve(names, false, file) {
            Ok(columns) => Ok(Self::Text(columns.text)),
            Err(_) => Err(DataError::Format {
                file: file.to_owned(),
                problem: format!(
                    "no column looks like text, a prompt with its completion or a conversation; \
                     columns found: {}",
                    list(names)
                ),
                fix: "name the column of the text or conversation, and that of the completion, if any",
            }),
        }
    }

    /// The columns and what they are used for.
    pub(crate) fn columns(&self) -> Columns {
        let (text, label) = match self {
            Self::Lines(_) => ("text", None),
            Self::Text(text) | Self::Turns(text) => (text.as_str(), None),
            Self::Completion { prompt, completion } => (prompt.as_str(), Some(completion)),
            Self::Alpaca {
                instruction,
                output,
            } => (instruction.as_str(), Some(output)),
        };
        Columns {
            text: text.to_owned(),
            text_pair: None,
            label: label.cloned(),
            flags: Vec::new(),
        }
    }

    /// Columns that are used where they are there.
    pub(crate) fn optional(&self) -> &'static [&'static str] {
        match self {
            Self::Lines(_) | Self::Text(_) => &[],
            Self::Completion { .. } | Self::Turns(_) => {
                &["system", "tools", "chat_template_kwargs", "documents"]
            }
            Self::Alpaca { .. } => &["input", "system", "history"],
        }
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Lines(_) => "plain text".to_owned(),
            Self::Text(column) => format!("text in column `{column}`"),
            Self::Completion { prompt, completion } => {
                format!("prompt in column `{prompt}`, completion in `{completion}`")
            }
            Self::Turns(column) => format!("conversations in column `{column}`"),
            Self::Alpaca {
                instruction,
                output,
            } => format!("instruction in column `{instruction}`, answer in `{output}`"),
        }
    }

    /// Whether a row's values are those of conversations.
    pub(crate) fn is_turns(&self, row: &Row) -> bool {
        match self {
            Self::Turns(_) => true,
            Self::Completion { prompt, completion } => [prompt, completion]
                .into_iter()
                .any(|name| row.get(name).is_some_and(has_turns)),
            _ => false,
        }
    }
}
