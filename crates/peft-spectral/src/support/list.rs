use std::collections::HashSet;

use crate::SpectralError;

/// The trained entries of a spectrum: pairs (output frequency, input frequency).
///
/// The order is that of the coefficients. Selections of this crate are sorted by (row, column);
/// those of foreign checkpoints keep the order that their files imply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    rows: usize,
    cols: usize,
    entries: Vec<[u32; 2]>,
}

impl Support {
    /// A support on a grid of `rows` output by `cols` input frequencies.
    ///
    /// # Errors
    /// If there is no entry, one lies outside the grid, or one is listed twice.
    pub fn new(rows: usize, cols: usize, entries: Vec<[u32; 2]>) -> Result<Self, SpectralError> {
        check_count(rows, cols, entries.len())?;
        check_entries(rows, cols, &entries)?;
        let mut seen = HashSet::with_capacity(entries.len());
        if let Some(&[row, col]) = entries.iter().find(|entry| !seen.insert(**entry)) {
            let (row, col) = (row as usize, col as usize);
            return Err(SpectralError::Duplicate { row, col });
        }
        Ok(Self {
            rows,
            cols,
            entries,
        })
    }

    /// A support in which an entry may be listed more than once; its coefficients then add up.
    ///
    /// # Errors
    /// If there is no entry, or one lies outside the grid.
    pub fn with_repeats(
        rows: usize,
        cols: usize,
        entries: Vec<[u32; 2]>,
    ) -> Result<Self, SpectralError> {
        check_grid(rows, cols)?;
        if entries.is_empty() {
            let count = 0;
            return Err(SpectralError::Count { count, rows, cols });
        }
        check_entries(rows, cols, &entries)?;
        Ok(Self {
            rows,
            cols,
            entries,
        })
    }

    /// A support of distinct flat places `row · cols + col`, in their order.
    ///
    /// # Errors
    /// If there is no place, one lies outside the grid, or one is listed twice.
    pub fn from_flat(
        rows: usize,
        cols: usize,
        places: impl IntoIterator<Item = u64>,
    ) -> Result<Self, SpectralError> {
        check_grid(rows, cols)?;
        let width = cols as u64;
        let entries = places.into_iter().enumerate().map(|(index, place)| {
            let (row, col) = (place / width, place % width);
            u32::try_from(row)
                .map(|row| [row, col as u32])
                .map_err(|_| SpectralError::OutsideGrid {
                    index,
                    row: usize::try_from(row).unwrap_or(usize::MAX),
                    col: col as usize,
                    rows,
                    cols,
                })
        });
        Self::new(rows, cols, entries.collect::<Result<_, _>>()?)
    }

    /// Output frequencies of the grid.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input frequencies of the grid.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of entries, and so of trained coefficients.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a support is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries `[output frequency, input frequency]`, in the order of the coefficients.
    #[must_use]
    pub fn entries(&self) -> &[[u32; 2]] {
        &self.entries
    }

    /// The support of the transposed update, same coefficients in the same order.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            entries: self.entries.iter().map(|&[u, v]| [v, u]).collect(),
        }
    }
}

fn check_entries(rows: usize, cols: usize, entries: &[[u32; 2]]) -> Result<(), SpectralError> {
    let outside = |entry: &[u32; 2]| entry[0] as usize >= rows || entry[1] as usize >= cols;
    match entries.iter().position(outside) {
        None => Ok(()),
        Some(index) => Err(SpectralError::OutsideGrid {
            index,
            row: entries[index][0] as usize,
            col: entries[index][1] as usize,
            rows,
            cols,
        }),
    }
}

pub(crate) fn check_grid(rows: usize, cols: usize) -> Result<(), SpectralError> {
    let side = 1..=1_u64 << 28;
    if side.contains(&(rows as u64)) && side.contains(&(cols as u64)) {
        Ok(())
    } else {
        Err(SpectralError::Grid { rows, cols })
    }
}

pub(crate) fn check_count(rows: usize, cols: usize, count: usize) -> Result<(), SpectralError> {
    check_grid(rows, cols)?;
    if count == 0 || count as u128 > rows as u128 * cols as u128 {
        return Err(SpectralError::Count { count, rows, cols });
    }
    Ok(())
}

pub(crate) fn check_scores(rows: usize, cols: usize, found: usize) -> Result<(), SpectralError> {
    if found == rows * cols {
        Ok(())
    } else {
        Err(SpectralError::Scores { found, rows, cols })
    }
}
