//! Tables.

use serde::Serialize;

/// A table.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Table {
    /// What it shows; nothing is said where this is empty.
    pub caption: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Whether its cells are numbers, which stand at the right.
    pub numeric: bool,
}

impl Column {
    /// Of texts.
    pub fn text(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            numeric: false,
        }
    }

    /// Of numbers.
    pub fn number(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            numeric: true,
        }
    }
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Cell {
    /// What stands in it.
    pub text: String,
    /// How strongly it is coloured, in percent.
    pub shade: Option<u8>,
    /// Whether it stands out.
    pub strong: bool,
    /// Where it leads: a path from the folder of the page.
    pub link: Option<String>,
}

impl Cell {
    /// A plain one.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Coloured by a share from 0 to 1.
    #[must_use]
    pub fn shaded(self, share: f64) -> Self {
        Self {
            shade: Some((100.0 * share.clamp(0.0, 1.0)).round() as u8),
            ..self
        }
    }

    /// Standing out if it shall.
    #[must_use]
    pub fn strong_if(self, strong: bool) -> Self {
        Self { strong, ..self }
    }

    /// Leading to a file beside the page.
    #[must_use]
    pub fn link(self, path: impl Into<String>) -> Self {
        Self {
            link: Some(path.into()),
            ..self
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}
