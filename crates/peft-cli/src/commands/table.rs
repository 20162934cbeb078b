//! Tables of text.

use std::io::{self, Write};

/// A table whose columns are as wide as their widest cell; numbers stand at the right.
pub struct TextTable {
    heads: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// An empty table; each column has a heading and may be one of numbers.
    pub fn new(heads: impl IntoIterator<Item = (String, bool)>) -> Self {
        Self {
            heads: heads.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// A row with a cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| cell.replace(char::is_control, " "))
                .collect(),
        );
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let heads: Vec<String> = self.heads.iter().map(|(name, _)| name.clone()).collect();
        let width = |column: usize| {
            let cells = std::iter::once(&heads).chain(&self.rows);
            cells
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, numeric)) in row.iter().zip(&widths).zip(&self.heads) {
                match numeric {
                    true => line += &format!("{cell:>width$}  "),
                    false => line += &format!("{cell:width$}  "),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = TextTable::new([("class".into(), false), ("rows".into(), true)]);
        table.row(vec!["ä\n".into(), "12345".into()]);
        table.row(vec!["longer".into(), "1".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "class    rows\nä       12345\nlonger      1\n");
    }
}
