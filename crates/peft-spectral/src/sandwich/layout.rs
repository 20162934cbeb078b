use std::sync::Arc;

use super::Core;
use crate::{
    Basis, Real, SpectralError, Support,
    real::shared_transform,
    transform::{BasisRows, Transform},
};

/// The factorisation of an update over the distinct rows and columns of its support.
///
/// ```text
/// ΔW = γ · Lᵀ K R     R: [q, in]  the used in-basis rows     L: [p, out]  the used out-basis rows
///                     K: [p, q]   sparse, ±coefficients
/// ```
///
/// For `Fourier` every frequency counts twice, as cosine and as sine: entry `(u, v)` of the support
/// gives `+a` at (cosine `u`, cosine `v`) and `−a` at (sine `u`, sine `v`); sine rows that vanish
/// (frequency 0, and the middle of an even axis) are left out.
#[derive(Debug, Clone)]
pub struct Sandwich {
    basis: Basis,
    out_features: usize,
    in_features: usize,
    out_rows: Vec<u32>,
    in_rows: Vec<u32>,
    core: Core,
}

impl Sandwich {
    /// The factorisation of an update of a weight of `out_features` by `in_features`.
    ///
    /// # Errors
    /// If the support's grid is not the basis's for these widths.
    pub fn new(
        basis: Basis,
        out_features: usize,
        in_features: usize,
        support: &Support,
    ) -> Result<Self, SpectralError> {
        let rows = basis.frequencies(out_features);
        let cols = basis.frequencies(in_features);
        if (support.rows(), support.cols()) != (rows, cols) {
            return Err(SpectralError::OtherGrid {
                rows: support.rows(),
                cols: support.cols(),
                wanted: [rows, cols],
            });
        }
        let mut entries = Vec::with_capacity(basis.parts() * support.len());
        for (index, &[u, v]) in support.entries().iter().enumerate() {
            let index = index as u32;
            entries.push(([u, v], index, 1_i8));
            let vanishes = |k: u32, n: usize| k == 0 || 2 * k as usize == n;
            if basis == Basis::Fourier && !vanishes(u, out_features) && !vanishes(v, in_features) {
                let sines = [u + out_features as u32, v + in_features as u32];
                entries.push((sines, index, -1));
            }
        }
        let out_rows = distinct(entries.iter().map(|(place, ..)| place[0]));
        let in_rows = distinct(entries.iter().map(|(place, ..)| place[1]));
        for (place, ..) in &mut entries {
            for (at, rows) in place.iter_mut().zip([&out_rows, &in_rows]) {
                *at = rows.binary_search(at).expect("listed just above") as u32;
            }
        }
        let core = Core::new(out_rows.len(), in_rows.len(), support.len(), entries);
        Ok(Self {
            basis,
            out_features,
            in_features,
            out_rows,
            in_rows,
            core,
        })
    }

    /// The update of the transposed weight, with the same coefficients.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self {
            basis: self.basis,
            out_features: self.in_features,
            in_features: self.out_features,
            out_rows: self.in_rows.clone(),
            in_rows: self.out_rows.clone(),
            core: self.core.transposed(),
        }
    }

    /// The basis of both axes.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// Outputs of the weight, `M`.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Inputs of the weight, `N`.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The basis rows of `L`, rising.
    #[must_use]
    pub fn out_rows(&self) -> &[u32] {
        &self.out_rows
    }

    /// The basis rows of `R`, rising.
    #[must_use]
    pub fn in_rows(&self) -> &[u32] {
        &self.in_rows
    }

    /// The sparse core `K`.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// `L`, row-major `[p, out]`.
    #[must_use]
    pub fn out_basis<T: Real>(&self) -> Vec<T> {
        BasisRows::new(self.basis, self.out_features).matrix(&self.out_rows)
    }

    /// `R`, row-major `[q, in]`.
    #[must_use]
    pub fn in_basis<T: Real>(&self) -> Vec<T> {
        BasisRows::new(self.basis, self.in_features).matrix(&self.in_rows)
    }

    pub(crate) fn out_transform<T: Real>(&self) -> Arc<Transform<T>> {
        shared_transform(self.basis, self.out_features)
    }

    pub(crate) fn in_transform<T: Real>(&self) -> Arc<Transform<T>> {
        shared_transform(self.basis, self.in_features)
    }
}

fn distinct(rows: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut rows: Vec<u32> = rows.collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}
