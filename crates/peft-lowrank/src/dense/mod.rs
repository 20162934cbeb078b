//! Matrices of `f64` on the host, for what is computed once or outside of a model: bases, and matrix
//! completion.

mod leading;
mod orthonormal;

use gemm::Parallelism;

pub use leading::{Triplets, leading};
pub use orthonormal::{orthonormal_rows, orthonormalize, semi_orthogonal};

/// A matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

/// A matrix as it is, or turned: a factor of a [`product`].
#[derive(Debug, Clone, Copy)]
pub struct Factor<'a> {
    matrix: &'a Dense,
    turned: bool,
}

impl Dense {
    /// A matrix of these values, row by row.
    ///
    /// # Panics
    /// If they are not `rows × columns`.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Self {
        assert_eq!(
            rows * columns,
            values.len(),
            "the values are not {rows} × {columns}"
        );
        Self {
            rows,
            columns,
            values,
        }
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self::new(rows, columns, vec![0.0; rows * columns])
    }

    /// `value` on the diagonal, zeros beside it.
    pub fn diagonal(size: usize, value: f64) -> Self {
        let mut matrix = Self::zeros(size, size);
        for i in 0..size {
            matrix.values[i * size + i] = value;
        }
        matrix
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The values, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values, row by row.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<f64> {
        self.values
    }

    /// A row.
    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }

    /// The first rows.
    pub fn first_rows(&self, count: usize) -> Self {
        let values = self.values[..count * self.columns].to_vec();
        Self::new(count, self.columns, values)
    }

    /// The rows of both, `self`'s first.
    ///
    /// # Panics
    /// If the columns disagree.
    pub fn stacked(&self, below: &Self) -> Self {
        assert_eq!(self.columns, below.columns, "rows of different lengths");
        let values = [&self.values[..], &below.values].concat();
        Self::new(self.rows + below.rows, self.columns, values)
    }

    /// The transpose, as a matrix of its own.
    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.columns, self.rows);
        for (r, row) in self.values.chunks_exact(self.columns.max(1)).enumerate() {
            for (c, value) in row.iter().enumerate() {
                out.values[c * self.rows + r] = *value;
            }
        }
        out
    }

    /// This matrix as a factor.
    pub fn factor(&self) -> Factor<'_> {
        Factor {
            matrix: self,
            turned: false,
        }
    }

    /// The transpose of this matrix as a factor.
    pub fn turned(&self) -> Factor<'_> {
        Factor {
            matrix: self,
            turned: true,
        }
    }

    /// `self += factor · other`.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn add_scaled(&mut self, factor: f64, other: &Self) {
        assert_eq!(
            (self.rows, self.columns),
            (other.rows, other.columns),
            "matrices of different shapes"
        );
        for (value, more) in self.values.iter_mut().zip(&other.values) {
            *value += factor * more;
        }
    }

    /// All values times `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|value| *value *= factor);
        self
    }
}

impl Factor<'_> {
    /// Rows, columns, and the steps between them in memory.
    fn layout(&self) -> [usize; 4] {
        let (rows, columns) = (self.matrix.rows, self.matrix.columns);
        match self.turned {
            false => [rows, columns, columns, 1],
            true => [columns, rows, 1, columns],
        }
    }
}

/// Which threads compute a product. The values are the same either way, for no sum is ever split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling one.
    One,
    /// All of rayon's.
    All,
}

/// `left · right`.
///
/// # Panics
/// If the shapes disagree.
pub fn product(left: Factor<'_>, right: Factor<'_>, threads: Threads) -> Dense {
    let [rows, inner, left_row, left_column] = left.layout();
    let [depth, columns, right_row, right_column] = right.layout();
    assert_eq!(
        inner, depth,
        "a matrix of {inner} columns times one of {depth} rows"
    );
    let mut out = Dense::zeros(rows, columns);
    if rows * columns * inner == 0 {
        return out;
    }
    let step = |steps: usize| steps as isize;
    // SAFETY: by `layout`, every index below the three sizes times its steps lies inside the values of
    // the matrix that it belongs to; `out` is written alone.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.values.as_mut_ptr(),
            1,
            step(columns),
            false,
            left.matrix.values.as_ptr(),
            step(left_column),
            step(left_row),
            right.matrix.values.as_ptr(),
            step(right_column),
            step(right_row),
            0.0,
            1.0,
            false,
            false,
            false,
            match threads {
                Threads::One => Parallelism::None,
                Threads::All => Parallelism::Rayon(0),
            },
        );
    }
    out
}

/// `Σ aᵢ bᵢ`, in eight sums side by side.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use peft_core::kernels::normal;

    use super::*;

    fn random(rows: usize, columns: usize, key: u64) -> Dense {
        let values = normal(key, rows * columns).into_iter().map(f64::from);
        Dense::new(rows, columns, values.collect())
    }

    #[test]
    fn products_of_all_orientations_agree_with_sums() {
        let (a, b) = (random(5, 7, 1), random(7, 9, 2));
        let mut wanted = Dense::zeros(5, 9);
        for r in 0..5 {
            for c in 0..9 {
                wanted.values[r * 9 + c] = (0..7).map(|k| a.row(r)[k] * b.row(k)[c]).sum();
            }
        }
        let (at, bt) = (a.transposed(), b.transposed());
        for (left, right) in [
            (a.factor(), b.factor()),
            (at.turned(), b.factor()),
            (a.factor(), bt.turned()),
            (at.turned(), bt.turned()),
        ] {
            let found = product(left, right, Threads::One);
            let worst = found.values.iter().zip(&wanted.values);
            let worst = worst.fold(0.0f64, |m, (f, w)| m.max((f - w).abs()));
            assert!(worst < 1e-13, "{worst}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (a, b) = (random(203, 310, 3), random(310, 171, 4));
        let alone = product(a.factor(), b.factor(), Threads::One);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let found =
                (pool.build().unwrap()).install(|| product(a.factor(), b.factor(), Threads::All));
            assert_eq!(found, alone, "{threads} threads");
        }
    }

    #[test]
    fn dots_are_sums_of_products() {
        let (a, b) = (random(1, 29, 5), random(1, 29, 6));
        let wanted: f64 = a.values.iter().zip(&b.values).map(|(a, b)| a * b).sum();
        assert!((dot(&a.values, &b.values) - wanted).abs() < 1e-13);
    }
}
