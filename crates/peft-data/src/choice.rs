//! A column that chooses one of some names for every row.

use crate::error::{DataError, list, shorten};
use crate::reader::Row;
use crate::store::{Store, Writer};

/// A column whose every value is one of some names: the adapter that a row is meant for.
#[derive(Debug, Clone, Copy)]
pub struct ChoiceColumn<'a> {
    /// The column (`adapter_column`).
    pub column: &'a str,
    /// What may stand in it.
    pub names: &'a [String],
}

impl ChoiceColumn<'_> {
    /// Refuse a file that has other columns only.
    pub(crate) fn expect_in(&self, columns: &[String], file: &str) -> Result<(), DataError> {
        expect_column(self.column, "the setting `adapter_column`", columns, file)
    }

    /// The number of the name that a row has.
    pub(crate) fn id(&self, row: &Row, file: &str) -> Result<u32, DataError> {
        let value = row.text(self.column, file)?.trim();
        let found = self.names.iter().position(|name| name == value);
        found
            .map(|id| id as u32)
            .ok_or_else(|| DataError::UnknownAdapter {
                at: row.location(file).column(self.column),
                value: shorten(value),
                known: list(self.names),
            })
    }
}

/// Refuse a file without a column that a setting names.
pub(crate) fn expect_column(
    column: &str,
    setting: &'static str,
    columns: &[String],
    file: &str,
) -> Result<(), DataError> {
    if columns.iter().any(|name| name == column) {
        return Ok(());
    }
    Err(DataError::Columns {
        file: file.to_owned(),
        problem: format!("there is no column `{}`", shorten(column)),
        found: list(columns),
        settings: setting,
    })
}

/// The choices of the rows so far.
pub(crate) struct Choices<'a> {
    of: ChoiceColumn<'a>,
    ids: Writer<u32>,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(of: ChoiceColumn<'a>, spill: usize) -> Self {
        let ids = Writer::new(spill);
        Self { of, ids }
    }

    pub(crate) fn push(&mut self, row: &Row, file: &str) -> Result<(), DataError> {
        self.ids.push(self.of.id(row, file)?)
    }

    pub(crate) fn finish(self) -> Result<Store<u32>, DataError> {
        self.ids.finish()
    }
}
