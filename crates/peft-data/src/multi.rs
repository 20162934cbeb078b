//! Several labels a row, in any of the ways that data files write them.
//!
//! * A list of names or numbers: `["joy", "anger"]`, `[2, 15]`; an empty list is no label.
//! * A list of 0 and 1, one for each label, written as floating-point numbers or booleans
//!   (`[0.0, 1.0]`), which is what Hugging Face's `multi_label_classification` wants. Whole
//!   numbers in a list are ids.
//! * Either list as text, as Python writes it into a cell: `['joy', 'anger']`.
//! * A text of names or numbers between separators: `joy,anger`, unless the whole is a known name.
//! * A column of 0 and 1 for each label.

use crate::columns::Columns;
use crate::error::{DataError, Location, shorten};
use crate::label_store::LabelStore;
use crate::labels::{LabelMap, MAX_LABELS};
use crate::literal::{list, looks_like_list};
use crate::reader::{Row, Value};
use crate::store::Writer;
use crate::targets::Names;

/// Labels of the rows so far.
pub(crate) struct Many<'a> {
    names: Names<'a>,
    separator: char,
    ids: Writer<u32>,
    starts: Writer<u64>,
    /// Ids of one row, used again.
    row: Vec<u32>,
    /// Number of labels, where rows are lists of 0 and 1 and nobody gave the names.
    width: Option<usize>,
    /// Whether labels are columns of their own.
    flags: bool,
    begun: bool,
}

impl<'a> Many<'a> {
    pub(crate) fn new(names: Names<'a>, separator: char, spill: usize) -> Self {
        Self {
            names,
            separator,
            ids: Writer::new(spill),
            starts: Writer::new(spill),
            row: Vec::new(),
            width: None,
            flags: false,
            begun: false,
        }
    }

    /// Adds the labels of a row.
    pub(crate) fn push(
        &mut self,
        row: &Row,
        columns: &Columns,
        file: &str,
    ) -> Result<(), DataError> {
        if !self.begun {
            self.starts.push(0)?;
            self.begun = true;
        }
        self.row.clear();
        match &columns.label {
            Some(column) => self.cell(row, column, file)?,
            None => self.flags(row, &columns.flags, file)?,
        }
        self.row.sort_unstable();
        self.row.dedup();
        self.ids.extend(&self.row)?;
        self.starts.push(self.ids.len() as u64)
    }

    /// Labels in one column.
    fn cell(&mut self, row: &Row, column: &str, file: &str) -> Result<(), DataError> {
        let at = || row.location(file).column(column);
        let value = row.get(column);
        let written = match value {
            Some(Value::Text(text)) if !self.names.knows(text) => list(text),
            _ => None,
        };
        let listed = match value {
            Some(Value::List(elements)) => Some(elements),
            _ => written.as_ref(),
        };
        let Some(elements) = listed else {
            if value == Some(&Value::Null) {
                let problem = "expected labels, found null";
                return Err(wrong(
                    at(),
                    problem,
                    "write an empty list for a row without labels",
                ));
            }
            let text = row.text(column, file)?;
            if self.names.knows(text) {
                self.row.push(self.names.id(text, &at)?);
                return Ok(());
            }
            if looks_like_list(text) {
                let problem = format!("`{}` is a list that cannot be read", shorten(text));
                let fix = "write the names between quotes, as in [\"joy\", \"anger\"], or without \
                           brackets: joy,anger";
                return Err(wrong(at(), problem, fix));
            }
            for name in text.split(self.separator).map(str::trim) {
                if !name.is_empty() {
                    self.row.push(self.names.id(name, &at)?);
                }
            }
            return self.no_vectors(at);
        };
        if !elements.is_empty() && elements.iter().all(is_share) {
            return self.vector(elements, at);
        }
        for element in elements {
            let label = element.as_text();
            let label = label.ok_or_else(|| {
                wrong(
                    at(),
                    "expected a list of labels, found null in it",
                    "remove it",
                )
            })?;
            let id = self.names.id(label, &at)?;
            if self.row.contains(&id) && matches!(element, Value::Number(_)) {
                let problem = format!("the label {} is there twice", shorten(label));
                let fix = "write a list of 0 and 1 with points (0.0, 1.0) or as true and false; \
                           whole numbers are the labels' numbers";
                return Err(wrong(at(), problem, fix));
            }
            self.row.push(id);
        }
        self.no_vectors(at)
    }

    /// A list of 0 and 1.
    fn vector(&mut self, elements: &[Value], at: impl Fn() -> Location) -> Result<(), DataError> {
        let expected = match (&self.names, self.width) {
            (Names::Known(map), _) => map.len(),
            (_, Some(width)) => width,
            _ if self.ids.len() > 0 => return mixed(at()),
            _ => elements.len(),
        };
        if elements.len() != expected || expected > MAX_LABELS {
            let problem = format!(
                "expected {expected} values of 0 or 1, found {}",
                elements.len()
            );
            return Err(wrong(at(), problem, "give one value for each label"));
        }
        if let Names::Learned { .. } = self.names {
            self.width = Some(expected);
        }
        for (id, element) in (0..).zip(elements) {
            if flag(element).ok_or_else(|| no_flag(element, at()))? {
                self.row.push(id);
            }
        }
        Ok(())
    }

    fn no_vectors(&self, at: impl Fn() -> Location) -> Result<(), DataError> {
        match self.width.is_some() && !self.row.is_empty() {
            true => mixed(at()),
            false => Ok(()),
        }
    }

    /// A column for each label.
    fn flags(&mut self, row: &Row, columns: &[String], file: &str) -> Result<(), DataError> {
        self.flags = true;
        for column in columns {
            let at = || row.location(file).column(column);
            // The name first, so that ids follow the columns and not the rows.
            let id = self.names.id(column, &at)?;
            let value = row.get(column).unwrap_or(&Value::Null);
            if flag(value).ok_or_else(|| no_flag(value, at()))? {
                self.row.push(id);
            }
        }
        Ok(())
    }

    /// All labels, and the map of their names.
    pub(crate) fn finish(self, file: &str) -> Result<(LabelStore, Option<LabelMap>), DataError> {
        let (map, order) = match (self.width, self.names) {
            // Hugging Face's names for labels without names.
            (Some(width), _) => {
                let names = (0..width).map(|i| format!("LABEL_{i}"));
                (LabelMap::from_names(names)?, None)
            }
            (None, Names::Learned { names, .. }) if names.is_empty() => {
                return Err(DataError::Format {
                    file: file.to_owned(),
                    problem: "no row has a label".to_owned(),
                    fix: "name the column of the labels with the setting `label_column`",
                });
            }
            // Columns stay in the order in which they were named.
            (None, Names::Learned { names, .. }) if self.flags => {
                (LabelMap::from_names(names)?, None)
            }
            (None, names) => names.sorted()?,
        };
        let store = LabelStore::Many {
            ids: self.ids.finish()?,
            starts: self.starts.finish()?,
            order,
            width: map.len(),
        };
        Ok((store, Some(map)))
    }
}

/// Whether an element is that of a list of 0 and 1, not a label.
fn is_share(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(text) => text.parse::<i64>().is_err(),
        _ => false,
    }
}

/// 0 or 1, as a number or a word.
fn flag(value: &Value) -> Option<bool> {
    match value.as_text()?.trim() {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        number => match number.parse::<f64>() {
            Ok(0.0) => Some(false),
            Ok(1.0) => Some(true),
            _ => None,
        },
    }
}

fn no_flag(value: &Value, at: Location) -> DataError {
    let found = value.as_text().map_or("nothing".to_owned(), shorten);
    let problem = format!("expected 0 or 1, found `{found}`");
    wrong(
        at,
        problem,
        "correct the row, or name other columns with the setting `label_column`",
    )
}

fn mixed(at: Location) -> Result<(), DataError> {
    let problem = "lists of 0 and 1 and lists of labels in one column";
    Err(wrong(at, problem, "write all rows alike"))
}

fn wrong(at: Location, problem: impl Into<String>, fix: &'static str) -> DataError {
    let problem = problem.into();
    DataError::Malformed { at, problem, fix }
}
