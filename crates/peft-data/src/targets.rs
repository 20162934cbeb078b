//! Collects the labels of rows as they are read.

use crate::columns::Columns;
use crate::dataset::Labels;
use crate::error::{DataError, Location, list, shorten};
use crate::label_store::LabelStore;
use crate::labels::{LabelMap, MAX_LABELS, canonical};
use crate::literal;
use crate::multi::Many;
use crate::reader::{Row, Value};
use crate::store::Writer;
use crate::task::Task;
use crate::words::WordTags;
use std::collections::HashMap;

/// Fewer distinct labels than this are classes, however few the rows.
const SURELY_CLASSES: usize = 20;
/// Longest name of a class, in bytes: whatever is longer is text.
const MAX_LABEL_BYTES: usize = 4096;

/// Labels of the rows so far.
pub(crate) enum Targets<'a> {
    /// Nobody asked for labels.
    Unlabelled,
    /// Classes.
    Classes { names: Names<'a>, ids: Writer<u32> },
    /// Several labels a row.
    Many(Many<'a>),
    /// Classes of words.
    Words(WordTags<'a>),
    /// Numbers.
    Numbers(Writer<f32>),
}

impl<'a> Targets<'a> {
    pub(crate) fn new(
        task: Task,
        map: Option<&'a LabelMap>,
        separator: char,
        spill: usize,
    ) -> Self {
        let names = Names::new(map);
        match task {
            Task::Regress => Self::Numbers(Writer::new(spill)),
            Task::Classify => Self::Classes {
                names,
                ids: Writer::new(spill),
            },
            Task::TokenClassify => Self::Words(WordTags::new(names, spill)),
            Task::MultiLabel => Self::Many(Many::new(names, separator, spill)),
            // Rows of a language model are their own labels, see `causal`.
            Task::CausalLm => Self::Unlabelled,
        }
    }

    /// Adds the labels of a row.
    pub(crate) fn push(
        &mut self,
        row: &Row,
        columns: &Columns,
        file: &str,
    ) -> Result<(), DataError> {
        match self {
            Self::Many(many) => return many.push(row, columns, file),
            Self::Words(tags) => return tags.push(row, columns, file),
            _ => {}
        }
        let Some(column) = &columns.label else {
            return Ok(());
        };
        let label = row.text(column, file);
        let at = || row.location(file).column(column);
        match self {
            Self::Unlabelled | Self::Many(_) | Self::Words(_) => Ok(()),
            Self::Classes { names, ids } => {
                let label = label.map_err(|e| suggest_many(e, row, column, file))?;
                if let Some(Value::Text(text)) = row.get(column)
                    && !names.knows(text)
                    && literal::list(text).is_some()
                {
                    return Err(one_label(row, column, file));
                }
                ids.push(names.id(label, &at)?)
            }
            Self::Numbers(values) => {
                let label = label?;
                let value = label.trim().parse::<f32>().ok().filter(|v| v.is_finite());
                let error = || DataError::BadTarget {
                    at: at(),
                    value: shorten(label),
                };
                values.push(value.ok_or_else(error)?)
            }
        }
    }

    /// Whether the label of a row is the number of a class that has a name.
    pub(crate) fn is_number(&self, row: &Row, columns: &Columns) -> bool {
        let (Self::Classes { names, .. }, Some(column)) = (self, &columns.label) else {
            return false;
        };
        let label = row.get(column).and_then(Value::as_text);
        matches!((names, label), (Names::Known(map), Some(label)) if map.is_number(label))
    }

    /// All labels, and the map of classes.
    pub(crate) fn finish(self, file: &str) -> Result<(LabelStore, Option<LabelMap>), DataError> {
        match self {
            Self::Unlabelled => Ok((LabelStore::None, None)),
            Self::Numbers(values) => Ok((LabelStore::Numbers(values.finish()?), None)),
            Self::Many(many) => many.finish(file),
            Self::Words(tags) => tags.finish(file),
            Self::Classes { names, ids } => {
                let (map, order) = names.finish(ids.len(), file)?;
                let ids = ids.finish()?;
                Ok((LabelStore::Classes { ids, order }, Some(map)))
            }
        }
    }
}

/// A list where one label is due may be several labels, or one a word.
fn suggest_many(error: DataError, row: &Row, column: &str, file: &str) -> DataError {
    match error {
        DataError::Unsupported { .. } => one_label(row, column, file),
        other => other,
    }
}

fn one_label(row: &Row, column: &str, file: &str) -> DataError {
    DataError::Unsupported {
        what: format!(
            "{}: expected one label, found a list; {}",
            row.location(file).column(column),
            crate::task::TOKEN_CLASSIFICATION
        ),
        fix: "if these are labels of the whole text, use the setting `task` multi-label",
    }
}

/// Whether a label is how programs write that there is none: pandas keeps missing values of a column
/// of numbers as NaN, and writes them so where it is told to.
fn is_missing(name: &str) -> bool {
    let bare = name.trim_start_matches(['-', '+']);
    bare.eq_ignore_ascii_case("nan") || matches!(name, "<NA>" | "NaT")
}

/// Whether these are numbers with fractions, and too many of them to be the classes of a scale.
fn are_measured(names: &[String]) -> bool {
    let fraction = |name: &String| name.parse::<f64>().map(|number| number.fract() != 0.0);
    names.len() > SURELY_CLASSES
        && names.iter().all(|name| fraction(name).is_ok())
        && names.iter().any(|name| fraction(name) == Ok(true))
}

/// Names of labels: given, or as met so far and numbered as they came.
pub(crate) enum Names<'a> {
    Known(&'a LabelMap),
    Learned {
        seen: HashMap<String, u32>,
        names: Vec<String>,
    },
}

impl<'a> Names<'a> {
    fn new(map: Option<&'a LabelMap>) -> Self {
        match map {
            Some(map) => Self::Known(map),
            None => Self::Learned {
                seen: HashMap::new(),
                names: Vec::new(),
            },
        }
    }

    /// The id of a label as the data write it.
    pub(crate) fn id(&mut self, label: &str, at: &dyn Fn() -> Location) -> Result<u32, DataError> {
        match self {
            Self::Known(map) => map.id(label).ok_or_else(|| DataError::UnknownLabel {
                at: at(),
                value: shorten(label),
                known: map.listed(),
            }),
            Self::Learned { seen, names } => {
                let name = canonical(label);
                let wrong = |problem: String, fix| DataError::Malformed {
                    at: at(),
                    problem,
                    fix,
                };
                if name.is_empty() {
                    let problem = "expected a label, found nothing".to_owned();
                    return Err(wrong(problem, "label the row or remove it"));
                }
                if is_missing(name) {
                    let problem = format!("expected a label, found `{name}`, a missing value");
                    return Err(wrong(problem, "label the row or remove it"));
                }
                if name.len() > MAX_LABEL_BYTES {
                    let problem = format!("expected a label, found a text of {} bytes", name.len());
                    return Err(wrong(
                        problem,
                        "name another column with the setting `label_column`",
                    ));
                }
                if let Some(&id) = seen.get(name) {
                    return Ok(id);
                }
                if names.len() == MAX_LABELS {
                    let place = at();
                    return Err(too_many(names, place.row as usize - 1, &place.file));
                }
                let id = names.len() as u32;
                names.push(name.to_owned());
                seen.insert(name.to_owned(), id);
                Ok(id)
            }
        }
    }

    /// Whether a label is known as it stands.
    pub(crate) fn knows(&self, label: &str) -> bool {
        matches!(self, Self::Known(map) if map.id(label).is_some())
    }

    /// The map, and the way from the ids given out to its own, where they differ.
    fn finish(self, rows: usize, file: &str) -> Result<(LabelMap, Option<Vec<u32>>), DataError> {
        if let Self::Learned { names, .. } = &self {
            let many = names.len() > SURELY_CLASSES && names.len() > rows / 2;
            if many || are_measured(names) {
                return Err(too_many(names, rows, file));
            }
            if let [label] = names.as_slice() {
                return Err(DataError::OneLabel {
                    file: file.to_owned(),
                    label: shorten(label),
                });
            }
        }
        self.sorted()
    }

    /// As `finish`, whatever the number of labels.
    pub(crate) fn sorted(self) -> Result<(LabelMap, Option<Vec<u32>>), DataError> {
        match self {
            Self::Known(map) => Ok((map.clone(), None)),
            Self::Learned { names, .. } => {
                let map = LabelMap::from_labels(&names)?;
                // From the order of appearance to the order of the map.
                let order = names.iter().map(|n| map.id(n).unwrap_or(0)).collect();
                Ok((map, Some(order)))
            }
        }
    }
}

fn too_many(names: &[String], rows: usize, file: &str) -> DataError {
    DataError::TooManyLabels {
        file: file.to_owned(),
        distinct: names.len(),
        rows,
        examples: list(&names[..names.len().min(3)]),
    }
}

/// Labels that a caller gives, checked against their map.
pub(crate) fn check(labels: &Labels, map: Option<&LabelMap>) -> Option<(u64, u32)> {
    let (Labels::Classes(ids), Some(map)) = (labels, map) else {
        return None;
    };
    let unknown = (1..).zip(ids).find(|(_, id)| map.name(**id).is_none());
    unknown.map(|(row, id)| (row, *id))
}
