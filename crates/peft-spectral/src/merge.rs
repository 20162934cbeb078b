//! The update itself: formed once, to merge it into its weight or to look at it.

use crate::{Real, Sandwich, sandwich::Formed};

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
/// # Panics
/// If `a` has not one value per coefficient, or `weight` another shape than the sandwich.
pub fn merge_into<T: Real>(sandwich: &Sandwich, a: &[T], gamma: f64, weight: &mut [T]) {
    let a: Vec<f64> = a.iter().map(|value| value.wide()).collect();
    Formed::<f64>::new(sandwich).add_rounded(&a, gamma, weight);
}
