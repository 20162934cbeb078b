//! The Matérn-5/2 kernel, and rows of inputs.

use faer::Mat;

/// Rows of numbers of one width, one after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    width: usize,
    values: Vec<f64>,
}

impl Rows {
    /// Rows of `width` numbers.
    ///
    /// # Panics
    ///
    /// Where the numbers are not whole rows.
    pub fn new(width: usize, values: Vec<f64>) -> Self {
        assert!(
            width > 0 && values.len().is_multiple_of(width),
            "rows of {width} in {}",
            values.len()
        );
        Self { width, values }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// How many numbers a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row.
    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// The rows of these indices.
    pub fn select(&self, indices: &[usize]) -> Self {
        let values = indices
            .iter()
            .flat_map(|&index| self.row(index))
            .copied()
            .collect();
        Self {
            width: self.width,
            values,
        }
    }

    /// Each column times a factor.
    fn scaled(&self, factors: &[f64]) -> Vec<f64> {
        self.values
            .chunks_exact(self.width)
            .flat_map(|row| {
                row.iter()
                    .zip(factors)
                    .map(|(value, factor)| value * factor)
            })
            .collect()
    }
}

/// A Matérn-5/2 kernel: `s²` and for each column `ρ = 1/ℓ²`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// `s²`, the variance of the function.
    pub variance: f64,
    /// `ρ` of every column.
    pub precisions: Vec<f64>,
}

impl Kernel {
    /// `(1 + √5 r + 5r²/3) exp(−√5 r)` at `r²`.
    pub fn correlation(square: f64) -> f64 {
        let u = (5.0 * square).sqrt();
        (1.0 + u + u * u / 3.0) * (-u).exp()
    }

    /// Minus the derivative of [`correlation`](Self::correlation) by `r²`: `(5/6)(1 + √5 r) exp(−√5 r)`, which has no
    /// division by `r` and so is safe at equal points.
    pub fn slope(square: f64) -> f64 {
        let u = (5.0 * square).sqrt();
        5.0 / 6.0 * (1.0 + u) * (-u).exp()
    }

    /// `K[i, j] = k(a_i, b_j)`.
    pub fn between(&self, a: &Rows, b: &Rows) -> Mat<f64> {
        let factors: Vec<f64> = self.precisions.iter().map(|p| p.sqrt()).collect();
        let (left, right) = (a.scaled(&factors), b.scaled(&factors));
        let width = a.width;
        Mat::from_fn(a.len(), b.len(), |i, j| {
            let (x, y) = (&left[i * width..][..width], &right[j * width..][..width]);
            let square = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
            self.variance * Self::correlation(square)
        })
    }
}
