use peft_kernels::{keep, mix_key, normal};
use peft_linalg::{Dense, Threads, leading_singular};

/// Power iterations for the leading part of a random matrix, whose singular values lie close together.
const ITERATIONS: usize = 60;

/// A square matrix `Φ` of low rank, and which of its entries are observed.
#[derive(Debug, Clone)]
pub struct Problem {
    /// `[d, r]`, times `right` transposed the matrix.
    left: Dense,
    /// `[d, r]`.
    right: Dense,
    /// Where the observed entries of each row begin in `columns` and `values`.
    row_starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f64>,
    /// Where the observed entries of each column begin in `by_column`.
    column_starts: Vec<usize>,
    /// Row, and place among all observed entries.
    by_column: Vec<(u32, u32)>,
}

impl Problem {
    /// The leading `rank` singular triplets of a `size × size` matrix of standard normal values, each
    /// entry observed with probability `observed`; all drawn from `seed`.
    ///
    /// # Panics
    /// If `rank` is more than `size`, `observed` is no probability, or there are 2³² entries or more.
    pub fn random(size: usize, rank: usize, observed: f64, seed: u64) -> Self {
        let gaussian = normal(mix_key(seed, &[0]), size * size);
        let gaussian = Dense::new(size, size, gaussian.into_iter().map(f64::from).collect());
        let found = leading_singular(
            &gaussian,
            rank,
            ITERATIONS,
            mix_key(seed, &[1]),
            Threads::All,
        );
        let mut left = found.left;
        let rows = left.values_mut().chunks_exact_mut(size);
        for (row, value) in rows.zip(&found.values) {
            row.iter_mut().for_each(|one| *one *= value);
        }
        let key = mix_key(seed, &[2]);
        let is_observed =
            |row: usize, column: usize| keep(key, (row * size + column) as u64, 1.0 - observed);
        Self::new(left.transposed(), found.right.transposed(), is_observed)
    }

    /// The matrix `left · rightᵀ`, of factors `[d, r]`, observed where `observed(row, column)` says so.
    ///
    /// # Panics
    /// If the factors disagree in shape, or there are 2³² entries or more.
    pub fn new(left: Dense, right: Dense, observed: impl Fn(usize, usize) -> bool) -> Self {
        let size = left.rows();
        assert_eq!(
            (size, left.columns()),
            (right.rows(), right.columns()),
            "the factors of a square matrix"
        );
        let fits = u32::try_from(size * size).is_ok();
        assert!(fits, "{size} × {size} entries are more than 2³²");
        let (mut row_starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        let mut of_columns = vec![Vec::new(); size];
        for row in 0..size {
            for (column, entries) in of_columns.iter_mut().enumerate() {
                if observed(row, column) {
                    entries.push((row as u32, values.len() as u32));
                    columns.push(column as u32);
                    values.push(plain_dot(left.row(row), right.row(column)));
                }
            }
            row_starts.push(values.len());
        }
        let ends = of_columns.iter().scan(0, |end, entries| {
            *end += entries.len();
            Some(*end)
        });
        let column_starts = [0].into_iter().chain(ends).collect();
        Self {
            left,
            right,
            row_starts,
            columns,
            values,
            column_starts,
            by_column: of_columns.concat(),
        }
    }

    /// Rows, and columns, of the matrix.
    pub fn size(&self) -> usize {
        self.left.rows()
    }

    /// Number of observed entries.
    pub fn observed(&self) -> usize {
        self.values.len()
    }

    /// Column, and value, of the observed entries of a row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let entries = self.entries_of(row);
        let columns = self.columns[entries.clone()].iter();
        let columns = columns.map(|column| *column as usize);
        columns.zip(self.values[entries].iter().copied())
    }

    /// Places of the observed entries of a row among all, in the order of [`row`](Self::row).
    pub fn entries_of(&self, row: usize) -> std::ops::Range<usize> {
        self.row_starts[row]..self.row_starts[row + 1]
    }

    /// Row, and place among all, of the observed entries of a column.
    pub fn column(&self, column: usize) -> &[(u32, u32)] {
        &self.by_column[self.column_starts[column]..self.column_starts[column + 1]]
    }

    /// Sum of the squares of what a row of a product misses of the entries that are not observed.
    pub fn unobserved_error(&self, row: usize, product: impl Fn(usize) -> f64) -> f64 {
        let seen = &self.columns[self.entries_of(row)];
        let mut seen = seen.iter().peekable();
        let mut sum = 0.0;
        for column in 0..self.size() {
            if seen.next_if(|one| **one as usize == column).is_some() {
                continue;
            }
            let missed = product(column) - plain_dot(self.left.row(row), self.right.row(column));
            sum += missed * missed;
        }
        sum
    }
}

/// `Σ aᵢ bᵢ` of a few values.
#[inline(always)]
pub fn plain_dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use peft_linalg::product;

    use super::*;

    #[test]
    fn rows_and_columns_tell_the_same_entries() {
        let problem = Problem::random(17, 2, 0.3, 5);
        let whole = product(problem.left.view(), problem.right.t(), Threads::One);
        let mut from_rows = Vec::new();
        for row in 0..17 {
            for (column, value) in problem.row(row) {
                assert!((whole.row(row)[column] - value).abs() < 1e-12);
                from_rows.push((row, column));
            }
        }
        assert_eq!(from_rows.len(), problem.observed());
        let share = problem.observed() as f64 / 289.0;
        assert!((0.2..0.4).contains(&share), "{share}");
        for column in 0..17 {
            for (row, place) in problem.column(column) {
                assert_eq!(from_rows[*place as usize], (*row as usize, column));
            }
        }
        // What is not observed of a product of zeros is all that is missing.
        let missing: f64 = (0..17).map(|r| problem.unobserved_error(r, |_| 0.0)).sum();
        let observed: f64 = problem.values.iter().map(|v| v * v).sum();
        let all: f64 = whole.values().iter().map(|v| v * v).sum();
        assert!((missing + observed - all).abs() < 1e-9 * all);
    }
}
