use rayon::prelude::*;

use super::{Basis, cos_sin, filter::Filter};
use crate::Real;

/// Row `k` of a basis of `features` columns.
///
/// For many rows of one axis make a [`BasisRows`], which looks its values up.
///
/// # Panics
/// If `k` is not a row of the basis.
#[must_use]
pub fn basis_row<T: Real>(basis: Basis, k: usize, features: usize) -> Vec<T> {
    let mut row = vec![T::zero(); features];
    BasisRows::new(basis, features).fill(k, &mut row);
    row
}

/// Rows of a basis of one axis, from one table of a period of its wave.
///
/// A row of frequency `k` visits the places `(k(2j+1)) mod 4n` of a cosine table (`Dct`), or
/// `(kj) mod n` of a cosine, sine or cas table: integers, so no accuracy is lost however large
/// `k` and `n` are, and a row costs `n` look-ups.
#[derive(Debug, Clone)]
pub struct BasisRows {
    basis: Basis,
    features: usize,
    /// One period: cosines, cas values, or cosines and then sines.
    table: Vec<f64>,
}

impl BasisRows {
    /// The table of an axis of `features`: 32 (`Dct`), 16 (`Fourier`) or 8 (`Hartley`) bytes a
    /// feature, nothing for the others.
    ///
    /// # Panics
    /// If `features` is 0.
    #[must_use]
    pub fn new(basis: Basis, features: usize) -> Self {
        assert!(features > 0, "an axis must have at least one feature");
        let n = features as u64;
        let unit = 1.0 / (features as f64).sqrt();
        let table = match basis {
            Basis::Dct => {
                let norm = (2.0 / features as f64).sqrt();
                (0..4 * n).map(|i| norm * cos_sin(i, 4 * n).0).collect()
            }
            Basis::Hartley => (0..n)
                .map(|i| {
                    let (cos, sin) = cos_sin(i, n);
                    unit * (cos + sin)
                })
                .collect(),
            Basis::Fourier => {
                let cos = (0..n).map(|i| unit * cos_sin(i, n).0);
                cos.chain((0..n).map(|i| unit * cos_sin(i, n).1)).collect()
            }
            Basis::Wavelet(_) | Basis::Identity => Vec::new(),
        };
        Self {
            basis,
            features,
            table,
        }
    }

    /// Writes row `k`.
    ///
    /// # Panics
    /// If `k` is not a row of the basis or `out` has another length than the axis.
    pub fn fill<T: Real>(&self, k: usize, out: &mut [T]) {
        let n = self.features;
        assert!(k < self.basis.width(n), "row {k} is outside the basis");
        assert_eq!(out.len(), n, "a row has one value per feature");
        match self.basis {
            Basis::Dct if k == 0 => out.fill(T::of(1.0 / (n as f64).sqrt())),
            Basis::Dct => walk(&self.table, k, 2 * k, out),
            Basis::Hartley => walk(&self.table, 0, k, out),
            Basis::Fourier if k < n => walk(&self.table[..n], 0, k, out),
            Basis::Fourier => walk(&self.table[n..], 0, k - n, out),
            Basis::Wavelet(wavelet) => {
                let mut unit = vec![T::zero(); self.basis.width(n)];
                unit[k] = T::one();
                Filter::new(wavelet).synthesise(&unit, out);
            }
            Basis::Identity => {
                out.fill(T::zero());
                out[k] = T::one();
            }
        }
    }

    /// The rows `ks` as one row-major matrix `[ks.len(), features]`.
    ///
    /// # Panics
    /// If one of `ks` is not a row of the basis.
    #[must_use]
    pub fn matrix<T: Real>(&self, ks: &[u32]) -> Vec<T> {
        let mut out = vec![T::zero(); ks.len() * self.features];
        out.par_chunks_mut(self.features)
            .zip(ks)
            .for_each(|(row, &k)| self.fill(k as usize, row));
        out
    }
}

/// `out[j] = table[(start + j · step) mod table.len()]`, for `start` and `step` below twice it.
fn walk<T: Real>(table: &[f64], start: usize, step: usize, out: &mut [T]) {
    let period = table.len();
    let (mut place, step) = (start % period, step % period);
    for value in out {
        *value = T::of(table[place]);
        place += step;
        if place >= period {
            place -= period;
        }
    }
}
