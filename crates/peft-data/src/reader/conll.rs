//! Sentences of one word a line.

use super::Value;
use super::line::{Lines, trim_end};
use super::row::{MAX_LIST, MAX_ROW_BYTES};
use crate::error::{DataError, Location};

/// The columns of every row.
pub(super) const NAMES: [&str; 2] = ["tokens", "tags"];

/// What stands for the beginning of a document, as a sentence of its own.
const DOCUMENT: &str = "-DOCSTART-";

/// The words of the next sentence and their labels, and the line at which it starts.
///
/// Fields are separated by blanks or tabs: the first is the word and the last its label. Words alone have no labels, whose
/// column is null then.
pub(super) fn next_sentence(
    lines: &mut Lines,
    row: u64,
) -> Result<Option<(u64, Vec<Value>)>, DataError> {
    let (mut words, mut tags) = (Vec::new(), Vec::new());
    let (mut start, mut bytes) = (0, 0);
    while let Some(line) = lines.next(row)? {
        let line = trim_end(line);
        let mut fields = line.split_whitespace();
        let Some(word) = fields.next() else {
            match words.is_empty() {
                true => continue,
                false => break,
            }
        };
        if word == DOCUMENT {
            continue;
        }
        let tag = fields.next_back().map(str::to_owned);
        bytes += line.len();
        let word = Value::Text(word.to_owned());
        let number = lines.number;
        let at = || Location {
            file: lines.file.clone(),
            row,
            line: number,
            column: None,
        };
        if words.is_empty() {
            start = number;
        } else if tag.is_some() == tags.is_empty() {
            return Err(DataError::Malformed {
                at: at(),
                problem: "some lines of the sentence have a label, and others have none".to_owned(),
                fix: "write all lines of a sentence alike, and a blank line behind it",
            });
        }
        if words.len() == MAX_LIST {
            return Err(DataError::Malformed {
                at: at(),
                problem: format!("a sentence of more than {MAX_LIST} words"),
                fix: "write a blank line behind every sentence",
            });
        }
        if bytes > MAX_ROW_BYTES {
            return Err(DataError::TooLarge {
                at: at(),
                what: "the sentence",
                limit: MAX_ROW_BYTES,
            });
        }
        words.push(word);
        tags.extend(tag.map(Value::Text));
    }
    if words.is_empty() {
        return Ok(None);
    }
    let tags = match tags.is_empty() {
        true => Value::Null,
        false => Value::List(tags),
    };
    Ok(Some((start, vec![Value::List(words), tags])))
}
