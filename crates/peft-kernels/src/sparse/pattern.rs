use core::ops::Range;

use super::scalar::{Scalar, dot};

/// Which entries of a matrix `[rows, cols]` may be other than zero, in compressed rows.
///
/// The values are kept elsewhere, one for each place, in the places' order: row by row, columns
/// rising. A place may be listed more than once; its values then add up.
///
/// Products work on `L` vectors at once: element `i` of all of them is one array `[T; L]`, so that
/// the indices are read once for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparsePattern {
    cols: usize,
    /// `[rows + 1]`: row `i` is `starts[i] .. starts[i + 1]` of the columns.
    starts: Vec<u32>,
    columns: Vec<u32>,
}

impl SparsePattern {
    /// The pattern of places `[row, column]` that rise.
    ///
    /// # Panics
    /// If one lies outside the matrix, or they do not rise.
    #[must_use]
    pub fn new(rows: usize, cols: usize, places: impl IntoIterator<Item = [u32; 2]>) -> Self {
        let mut starts = vec![0; rows + 1];
        let mut columns = Vec::new();
        let mut last = [0, 0];
        for [row, column] in places {
            assert!(
                (row as usize) < rows && (column as usize) < cols && last <= [row, column],
                "place [{row}, {column}] after {last:?} of a pattern [{rows}, {cols}]"
            );
            last = [row, column];
            starts[row as usize + 1] += 1;
            columns.push(column);
        }
        assert!(
            u32::try_from(columns.len()).is_ok(),
            "a pattern of {} places cannot be indexed",
            columns.len()
        );
        for i in 0..rows {
            starts[i + 1] += starts[i];
        }
        Self {
            cols,
            starts,
            columns,
        }
    }

    /// Rows of the matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Columns of the matrix.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of places.
    #[must_use]
    pub fn places(&self) -> usize {
        self.columns.len()
    }

    /// Where each row starts among the places, and where the last one ends.
    #[must_use]
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Column of every place.
    #[must_use]
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// The places of a row.
    #[must_use]
    #[inline(always)]
    pub fn row(&self, row: usize) -> Range<usize> {
        self.starts[row] as usize..self.starts[row + 1] as usize
    }

    /// Row of every place.
    #[must_use]
    pub fn row_of_places(&self) -> Vec<u32> {
        (0..self.rows())
            .flat_map(|row| self.row(row).map(move |_| row as u32))
            .collect()
    }

    /// The pattern of the transpose; its place `i` is place `order[i]` of this one.
    #[must_use]
    pub fn transposed(&self) -> (Self, Vec<u32>) {
        let mut starts = vec![0; self.cols + 1];
        for &column in &self.columns {
            starts[column as usize + 1] += 1;
        }
        for i in 0..self.cols {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut columns = vec![0; self.places()];
        let mut order = vec![0; self.places()];
        for row in 0..self.rows() {
            for place in self.row(row) {
                let to = &mut next[self.columns[place] as usize];
                columns[*to as usize] = row as u32;
                order[*to as usize] = place as u32;
                *to += 1;
            }
        }
        let turned = Self {
            cols: self.rows(),
            starts,
            columns,
        };
        (turned, order)
    }

    /// The rows in groups of about `places` places, to be worked on by different threads. The groups
    /// depend on the pattern alone.
    #[must_use]
    pub fn groups(&self, places: usize) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut first = 0;
        for row in 0..self.rows() {
            let taken = self.starts[row + 1] - self.starts[first];
            if taken as usize >= places || row + 1 == self.rows() {
                groups.push(first..row + 1);
                first = row + 1;
            }
        }
        groups
    }

    /// `z[i] = Σ_j K[i, j] q[j]`, with the places' `values`.
    ///
    /// # Panics
    /// If the lengths do not fit the pattern.
    #[inline(always)]
    pub fn mix<T: Scalar, const L: usize, const FMA: bool>(
        &self,
        values: &[T],
        q: &[[T; L]],
        z: &mut [[T; L]],
    ) {
        assert!(values.len() == self.places() && q.len() == self.cols && z.len() == self.rows());
        for (row, out) in z.iter_mut().enumerate() {
            let places = self.row(row);
            let mut sum = [T::default(); L];
            for (&value, &column) in values[places.clone()].iter().zip(&self.columns[places]) {
                // By value: then it is loaded once, as a vector.
                let q = q[column as usize];
                for lane in 0..L {
                    sum[lane] = value.fma::<FMA>(q[lane], sum[lane]);
                }
            }
            *out = sum;
        }
    }

    /// `q[j] = Σ_i K[i, j] z[i]`.
    ///
    /// # Panics
    /// If the lengths do not fit the pattern.
    #[inline(always)]
    pub fn mix_transposed<T: Scalar, const L: usize, const FMA: bool>(
        &self,
        values: &[T],
        z: &[[T; L]],
        q: &mut [[T; L]],
    ) {
        assert!(values.len() == self.places() && q.len() == self.cols && z.len() == self.rows());
        q.fill([T::default(); L]);
        for (row, &z) in z.iter().enumerate() {
            for place in self.row(row) {
                let (value, q) = (values[place], &mut q[self.columns[place] as usize]);
                for lane in 0..L {
                    q[lane] = value.fma::<FMA>(z[lane], q[lane]);
                }
            }
        }
    }

    /// Hands `add` the product `Σ z[i] q[j]` over the vectors for every place `(i, j)` of some rows:
    /// what the vectors contribute to the values' gradients. Sums are taken in `T`.
    ///
    /// # Panics
    /// If the lengths do not fit the pattern.
    #[inline(always)]
    pub fn accumulate<T: Scalar, const L: usize>(
        &self,
        rows: Range<usize>,
        z: &[[T; L]],
        q: &[[T; L]],
        mut add: impl FnMut(usize, T),
    ) {
        assert!(q.len() == self.cols && z.len() == self.rows());
        for row in rows {
            let z = z[row];
            for place in self.row(row) {
                add(place, dot(z, q[self.columns[place] as usize]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern() -> SparsePattern {
        SparsePattern::new(3, 4, [[0, 1], [0, 3], [2, 0], [2, 1], [2, 1]])
    }

    #[test]
    fn the_transpose_of_the_transpose_is_the_pattern() {
        let pattern = pattern();
        let (turned, order) = pattern.transposed();
        assert_eq!(turned.row_of_places(), [0, 1, 1, 1, 3]);
        assert_eq!(order, [2, 0, 3, 4, 1]);
        assert_eq!(turned.transposed().0, pattern);
    }

    #[test]
    fn groups_cover_every_row_once() {
        for places in [1, 2, 100] {
            let rows: Vec<usize> = pattern().groups(places).into_iter().flatten().collect();
            assert_eq!(rows, [0, 1, 2], "{places}");
        }
        assert!(SparsePattern::new(0, 0, []).groups(3).is_empty());
    }

    #[test]
    fn products_are_those_of_the_dense_matrix() {
        let (pattern, values) = (pattern(), [1.0, 2.0, 3.0, 4.0, 5.0]);
        let dense = [[0.0, 1.0, 0.0, 2.0], [0.0; 4], [3.0, 9.0, 0.0, 0.0]];
        let q = [[1.0, -1.0], [0.5, 2.0], [7.0, 7.0], [-2.0, 0.25]];
        let mut z = [[9.0; 2]; 3];
        pattern.mix::<f64, 2, false>(&values, &q, &mut z);
        for (row, z) in dense.iter().zip(&z) {
            for lane in 0..2 {
                let wanted: f64 = row.iter().zip(&q).map(|(k, q)| k * q[lane]).sum();
                assert_eq!(z[lane], wanted);
            }
        }
        let mut back = [[9.0; 2]; 4];
        pattern.mix_transposed::<f64, 2, true>(&values, &z, &mut back);
        for (column, back) in back.iter().enumerate() {
            for lane in 0..2 {
                let wanted: f64 = dense.iter().zip(&z).map(|(k, z)| k[column] * z[lane]).sum();
                assert_eq!(back[lane], wanted);
            }
        }
        let mut sums = [0.0; 5];
        pattern.accumulate::<f64, 2>(0..3, &z, &q, |place, sum| sums[place] += sum);
        let places = [[0, 1], [0, 3], [2, 0], [2, 1], [2, 1]];
        let wanted = places.map(|[i, j]: [usize; 2]| z[i][0] * q[j][0] + z[i][1] * q[j][1]);
        assert_eq!(sums, wanted);
    }

    #[test]
    #[should_panic(expected = "after [1, 0]")]
    fn places_must_rise() {
        let _ = SparsePattern::new(2, 2, [[1, 0], [0, 1]]);
    }
}
