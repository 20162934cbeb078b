//! Collects the labels of rows as they are read.

use crate::dataset::Labels;
use crate::error::{DataError, list, shorten};
use crate::labels::{LabelMap, MAX_LABELS, canonical};
use crate::reader::Row;
use crate::task::Task;
use std::collections::HashMap;

/// Fewer distinct labels than this are classes, however few the rows.
const SURELY_CLASSES: usize = 20;

/// Labels of the rows so far.
pub(crate) enum Targets<'a> {
    /// Nobody asked for labels.
    Unlabelled,
    /// Classes of a given map.
    Known { map: &'a LabelMap, ids: Vec<u32> },
    /// Classes met so far, numbered as they came.
    Learned {
        seen: HashMap<String, u32>,
        names: Vec<String>,
        ids: Vec<u32>,
    },
    /// Numbers.
    Numbers(Vec<f32>),
}

impl<'a> Targets<'a> {
    pub(crate) fn new(task: Task, map: Option<&'a LabelMap>, labelled: bool) -> Self {
        match (labelled, task, map) {
            (false, ..) => Self::Unlabelled,
            (true, Task::Regress, _) => Self::Numbers(Vec::new()),
            (true, Task::Classify, Some(map)) => Self::Known {
                map,
                ids: Vec::new(),
            },
            (true, Task::Classify, None) => Self::Learned {
                seen: HashMap::new(),
                names: Vec::new(),
                ids: Vec::new(),
            },
        }
    }

    /// Adds the label of a row.
    pub(crate) fn push(&mut self, row: &Row, column: &str, file: &str) -> Result<(), DataError> {
        if matches!(self, Self::Unlabelled) {
            return Ok(());
        }
        let label = row.text(column, file)?;
        let at = || row.location(file).column(column);
        match self {
            Self::Unlabelled => {}
            Self::Known { map, ids } => {
                let id = map.id(label).ok_or_else(|| DataError::UnknownLabel {
                    at: at(),
                    value: shorten(label),
                    known: map.listed(),
                })?;
                ids.push(id);
            }
            Self::Learned { seen, names, ids } => {
                let name = canonical(label);
                if name.is_empty() {
                    return Err(DataError::Malformed {
                        at: at(),
                        problem: "expected a label, found nothing".to_owned(),
                        fix: "label the row or remove it",
                    });
                }
                let id = match seen.get(name) {
                    Some(&id) => id,
                    None if names.len() == MAX_LABELS => {
                        return Err(too_many(names, ids.len(), file));
                    }
                    None => {
                        let id = names.len() as u32;
                        names.push(name.to_owned());
                        seen.insert(name.to_owned(), id);
                        id
                    }
                };
                ids.push(id);
            }
            Self::Numbers(values) => {
                let value = label.trim().parse::<f32>().ok().filter(|v| v.is_finite());
                let error = || DataError::BadTarget {
                    at: at(),
                    value: shorten(label),
                };
                values.push(value.ok_or_else(error)?);
            }
        }
        Ok(())
    }

    /// All labels, and the map of classes.
    pub(crate) fn finish(self, file: &str) -> Result<(Labels, Option<LabelMap>), DataError> {
        match self {
            Self::Unlabelled => Ok((Labels::None, None)),
            Self::Numbers(values) => Ok((Labels::Numbers(values), None)),
            Self::Known { map, ids } => Ok((Labels::Classes(ids), Some(map.clone()))),
            Self::Learned { names, ids, .. } => {
                if names.len() > SURELY_CLASSES && names.len() > ids.len() / 2 {
                    return Err(too_many(&names, ids.len(), file));
                }
                if let [label] = names.as_slice() {
                    let label = shorten(label);
                    return Err(DataError::OneLabel {
                        file: file.to_owned(),
                        label,
                    });
                }
                let map = LabelMap::from_labels(&names)?;
                // From the order of appearance to the order of the map.
                let sorted: Vec<u32> = names.iter().filter_map(|n| map.id(n)).collect();
                let ids = ids.into_iter().map(|id| sorted[id as usize]).collect();
                Ok((Labels::Classes(ids), Some(map)))
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
