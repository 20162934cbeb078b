use std::sync::Arc;

use peft_fft::{LANES, Lanes};
use peft_simd::{Kernel, dispatch};
use rayon::prelude::*;

use super::{Sandwich, side::Side};
use crate::{Real, transform::Transform};

/// The update itself, added to its weight: `W += γ · Lᵀ K R`, row-major `[out, in]`.
///
/// Only spectral columns with a coefficient are synthesised along the output axis; then every row of
/// the weight is synthesised from them along the input axis: `q` transforms of length `M` and `M` of
/// length `N`, sixteen side by side. Memory beyond the weight: one value per output and used in-basis
/// row. No bit depends on the number of threads.
pub struct Formed<'a, T> {
    sandwich: &'a Sandwich,
    along_in: Arc<Transform<T>>,
    along_out: Arc<Transform<T>>,
}

impl<'a, T: Real> Formed<'a, T> {
    /// With the transforms of `sandwich`'s two widths.
    #[must_use]
    pub fn new(sandwich: &'a Sandwich) -> Self {
        Self {
            along_in: sandwich.in_transform(),
            along_out: sandwich.out_transform(),
            sandwich,
        }
    }

    /// `W += γ · Lᵀ K R`, the sums in the weight's own precision.
    ///
    /// # Panics
    /// If `a` has not one value per coefficient, or `weight` another shape than the sandwich.
    pub fn add_to(&self, a: &[T], gamma: T, weight: &mut [T]) {
        self.each_block(a, gamma, weight, |side, values, rows| {
            side.synthesise(values, rows);
        });
    }

    /// `W += γ · Lᵀ K R` for a weight of any precision: the sums are taken in `T` and rounded to it once.
    ///
    /// # Panics
    /// If `a` has not one value per coefficient, or `weight` another shape than the sandwich.
    pub fn add_rounded<W: Real>(&self, a: &[T], gamma: T, weight: &mut [W]) {
        self.each_block(a, gamma, weight, |side, values, rows| {
            let mut sums = vec![T::zero(); rows.len()];
            side.synthesise(values, &mut sums);
            for (out, sum) in rows.iter_mut().zip(&sums) {
                *out = W::of(out.wide() + sum.wide());
            }
        });
    }

    /// Hands `add` the values of the used in-basis rows for every block of rows of the weight.
    fn each_block<W: Real>(
        &self,
        a: &[T],
        gamma: T,
        weight: &mut [W],
        add: impl Fn(&mut Side<'_, T>, &[Lanes<T>], &mut [W]) + Sync,
    ) {
        let (m, n) = (self.sandwich.out_features(), self.sandwich.in_features());
        assert_eq!(weight.len(), m * n, "the weight must be {m} x {n}");
        let columns = self.columns(a, gamma);
        let used = self.sandwich.in_rows();
        weight.par_chunks_mut(LANES * n).enumerate().for_each_init(
            || {
                let values = vec![[T::zero(); LANES]; used.len()];
                (Side::new(&self.along_in, used), values)
            },
            |(side, values), (block, rows)| {
                let first = block * LANES;
                let count = rows.len() / n;
                for (value, column) in values.iter_mut().zip(columns.chunks(m)) {
                    value[..count].copy_from_slice(&column[first..first + count]);
                    value[count..].fill(T::zero());
                }
                dispatch(Rows {
                    side,
                    values,
                    rows,
                    add: &add,
                });
            },
        );
    }

    /// `(γ Lᵀ K)ᵀ`: the used spectral columns along the output axis, `[q, out]`.
    fn columns(&self, a: &[T], gamma: T) -> Vec<T> {
        let m = self.sandwich.out_features();
        let core = self.sandwich.core();
        let transposed = core.transposed();
        let values = transposed.values(a, gamma);
        let mut columns = vec![T::zero(); core.cols() * m];
        columns.par_chunks_mut(LANES * m).enumerate().for_each_init(
            || {
                let lanes = vec![[T::zero(); LANES]; core.rows()];
                (Side::new(&self.along_out, self.sandwich.out_rows()), lanes)
            },
            |(side, lanes), (block, out)| {
                lanes.fill([T::zero(); LANES]);
                for (lane, column) in (block * LANES..).take(out.len() / m).enumerate() {
                    let places = transposed.row(column);
                    let rows = &transposed.columns()[places.clone()];
                    for (&row, &value) in rows.iter().zip(&values[places]) {
                        // A place may be listed more than once.
                        lanes[row as usize][lane] += value;
                    }
                }
                dispatch(Rows {
                    side,
                    values: lanes,
                    rows: out,
                    add: &|side: &mut Side<'_, T>, values: &[Lanes<T>], rows: &mut [T]| {
                        side.synthesise(values, rows);
                    },
                });
            },
        );
        columns
    }
}

/// A block of rows, in the machine's best instructions.
struct Rows<'s, 'b, T, W, F> {
    side: &'s mut Side<'b, T>,
    values: &'s [Lanes<T>],
    rows: &'s mut [W],
    add: &'s F,
}

impl<T: Real, W, F: Fn(&mut Side<'_, T>, &[Lanes<T>], &mut [W])> Kernel for Rows<'_, '_, T, W, F> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        (self.add)(self.side, self.values, self.rows);
    }
}
