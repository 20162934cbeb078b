//! Rows of words, each with a label of its own: token classification.

use crate::columns::Columns;
use crate::dataset::Labels;
use crate::error::{DataError, Location};
use crate::label_store::LabelStore;
use crate::labels::LabelMap;
use crate::literal;
use crate::reader::{Row, Value};
use crate::store::{Store, Writer};
use crate::targets::Names;
use std::borrow::Cow;

/// What Hugging Face's losses pass over.
const IGNORED: &str = "-100";

const LISTS: &str = "give a list of words and a list of as many labels, as in \
                     {\"tokens\": [\"in\", \"Rome\"], \"tags\": [\"O\", \"B-LOC\"]}";

/// The words of a row: the elements of a list or, where no labels belong to them, what blanks separate in a text.
pub(crate) fn words_of(
    row: &Row,
    column: &str,
    labelled: bool,
    file: &str,
) -> Result<Vec<String>, DataError> {
    let at = || row.location(file).column(column);
    if let Some(elements) = elements(row, column) {
        let words: Option<Vec<String>> = elements
            .iter()
            .map(|word| word.as_text().map(str::to_owned))
            .collect();
        return match words {
            Some(words) if !words.is_empty() => Ok(words),
            Some(_) => Err(wrong(at(), "the list of words is empty", "remove the row")),
            None => Err(wrong(at(), "expected words, found null among them", LISTS)),
        };
    }
    let text = row.text(column, file)?;
    if labelled {
        return Err(wrong(at(), "expected a list of words, found a text", LISTS));
    }
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    match words.is_empty() {
        true => Err(wrong(at(), "the text has no words", "remove the row")),
        false => Ok(words),
    }
}

/// The elements of a list, or of one that was written into a text.
fn elements<'r>(row: &'r Row, column: &str) -> Option<Cow<'r, [Value]>> {
    match row.get(column)? {
        Value::List(elements) => Some(Cow::Borrowed(elements)),
        Value::Text(text) if text.trim_start().starts_with('[') => {
            literal::list(text).map(Cow::Owned)
        }
        _ => None,
    }
}

/// Labels of the words of the rows so far.
pub(crate) struct WordTags<'a> {
    names: Names<'a>,
    tags: Writer<u32>,
    /// Start of every row in `tags`, and the end.
    starts: Writer<u64>,
    /// Labels that are not passed over.
    counted: usize,
}

impl<'a> WordTags<'a> {
    pub(crate) fn new(names: Names<'a>, spill: usize) -> Self {
        Self {
            names,
            tags: Writer::new(spill),
            starts: Writer::new(spill),
            counted: 0,
        }
    }

    /// Adds the labels of a row, as many as it has words.
    pub(crate) fn push(
        &mut self,
        row: &Row,
        columns: &Columns,
        file: &str,
    ) -> Result<(), DataError> {
        let Some(column) = &columns.label else {
            return Ok(());
        };
        if self.starts.len() == 0 {
            self.starts.push(0)?;
        }
        let at = || row.location(file).column(column);
        let words = words_of(row, &columns.text, true, file)?.len();
        let Some(labels) = elements(row, column) else {
            return Err(wrong(at(), "expected a list of labels, one a word", LISTS));
        };
        if labels.len() != words {
            let problem = format!("{words} words, but {} labels", labels.len());
            return Err(wrong(at(), &problem, "give every word one label"));
        }
        for label in labels.iter() {
            let label = label.as_text().ok_or_else(|| {
                let problem = "expected labels, found null among them";
                wrong(
                    at(),
                    problem,
                    "give every word one label, or -100 to pass over it",
                )
            })?;
            let tag = match label.trim() {
                IGNORED => Labels::IGNORED,
                label => self.names.id(label, &at)?,
            };
            self.counted += usize::from(tag != Labels::IGNORED);
            self.tags.push(tag)?;
        }
        self.starts.push(self.tags.len() as u64)
    }

    /// All labels, and the map of their names.
    pub(crate) fn finish(self, file: &str) -> Result<(LabelStore, Option<LabelMap>), DataError> {
        if self.counted == 0 {
            return Err(DataError::Format {
                file: file.to_owned(),
                problem: "no word has a label: all are -100, which is passed over".to_owned(),
                fix: "give labels, or name their column with the setting `label_column`",
            });
        }
        let (map, order) = self.names.sorted()?;
        let store = LabelStore::Words {
            words: Store::from(Vec::new()),
            tags: self.tags.finish()?,
            starts: self.starts.finish()?,
            order,
        };
        Ok((store, Some(map)))
    }
}

fn wrong(at: Location, problem: &str, fix: &'static str) -> DataError {
    DataError::Malformed {
        at,
        problem: problem.to_owned(),
        fix,
    }
}
