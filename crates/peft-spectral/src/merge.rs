//! The update itself: formed once, to merge it into its weight or to look at it.

use std::sync::Arc;

use rayon::prelude::*;

use crate::{
    Real, Sandwich,
    transform::{Columns, Transform},
};

/// `ΔW = γ · B_outᵀ S B_in`, row-major `[out, in]`.
///
/// Computed in `f64` and rounded once. Memory beyond the result: 8 bytes per output feature and
/// used in-basis row, at most twice the coefficients of them.
///
/// # Panics
/// If `a` has not one value per coefficient.
#[must_use]
pub fn delta_weight<T: Real>(sandwich: &Sandwich, a: &[T], gamma: f64) -> Vec<T> {
    let mut delta = vec![T::zero(); sandwich.out_features() * sandwich.in_features()];
    merge_into(sandwich, a, gamma, &mut delta);
    delta
}

/// `W += γ · B_outᵀ S B_in`, in place; `weight` is row-major `[out, in]`.
///
/// The sum is taken in `f64` and rounded once. Merging with `−γ` gives the old weight back up to
/// that rounding, not always to the bit: keep the original where that matters.
///
/// Only spectral columns with a coefficient are synthesised along the output axis; then every row of
/// the weight is synthesised from them along the input axis: `q` transforms of length `M` and `M` of
/// length `N`.
///
/// # Panics
/// If `a` has not one value per coefficient, or `weight` another shape than the sandwich.
pub fn merge_into<T: Real>(sandwich: &Sandwich, a: &[T], gamma: f64, weight: &mut [T]) {
    let (m, n) = (sandwich.out_features(), sandwich.in_features());
    assert_eq!(weight.len(), m * n, "the weight must be {m} x {n}");
    let columns = columns(sandwich, a, gamma);
    let used = sandwich.in_rows();
    let along_in: Arc<Transform<f64>> = sandwich.in_transform();
    let count = Columns::<f64>::COUNT;
    weight.par_chunks_mut(count * n).enumerate().for_each_init(
        || {
            (
                along_in.scratch(),
                Columns::new(used.len()),
                vec![0.0; along_in.width()],
                vec![0.0; n],
            )
        },
        |(scratch, lines, wide, row), (block, out)| {
            let lines = lines.take(&columns, m, block * count, out.len() / n);
            for (line, out) in lines.zip(out.chunks_mut(n)) {
                for (&value, &k) in line.iter().zip(used) {
                    wide[k as usize] = value;
                }
                along_in.synthesise_line(wide, row, scratch);
                for (out, &value) in out.iter_mut().zip(row.iter()) {
                    *out = T::of(out.wide() + value);
                }
            }
        },
    );
}

/// `(γ Lᵀ K)ᵀ`: the used spectral columns along the output axis, `[q, out]`.
fn columns<T: Real>(sandwich: &Sandwich, a: &[T], gamma: f64) -> Vec<f64> {
    let m = sandwich.out_features();
    let a: Vec<f64> = a.iter().map(|value| value.wide()).collect();
    let core = sandwich.core().transposed();
    let values = core.values(&a, gamma);
    let along_out: Arc<Transform<f64>> = sandwich.out_transform();
    let mut columns = vec![0.0; core.rows() * m];
    columns.par_chunks_mut(m).enumerate().for_each_init(
        || (along_out.scratch(), vec![0.0; along_out.width()]),
        |(scratch, wide), (column, out)| {
            let places = core.row(column);
            wide.fill(0.0);
            for (&row, &value) in core.columns()[places.clone()].iter().zip(&values[places]) {
                // A place may be listed more than once.
                wide[sandwich.out_rows()[row as usize] as usize] += value;
            }
            along_out.synthesise_line(wide, out, scratch);
        },
    );
    columns
}
