//! Layer normalisation, forward.

use core::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::lanes::sum;
use super::parallel::{over_rows, over_rows2};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements};

/// Mean and reciprocal standard deviation of a row, in two passes: the one-pass formula cancels.
#[inline(always)]
pub fn statistics<T: Real>(x: &[T], eps: T) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mean = sum(x, |v| v) / n;
    let var = sum(x, |v| (v - mean) * (v - mean)) / n;
    (mean, T::ONE / (var + eps).root())
}

/// The learned vectors and the constant of a normalisation.
#[derive(Clone, Copy)]
pub struct Affine<'a, T> {
    /// Factors.
    pub gamma: &'a [T],
    /// Summands.
    pub beta: &'a [T],
    /// Added to the variance.
    pub eps: T,
}

/// Writes the normalised row of `x`.
#[inline(always)]
pub fn normalise<T: Real, const FMA: bool>(
    x: &[T],
    y: &mut [MaybeUninit<T>],
    affine: Affine<'_, T>,
) {
    let (mean, rstd) = statistics(x, affine.eps);
    for (((y, &v), &g), &b) in y.iter_mut().zip(x).zip(affine.gamma).zip(affine.beta) {
        y.write(((v - mean) * rstd).fma::<FMA>(g, b));
    }
}

struct Plain<'a, T> {
    x: &'a [T],
    y: &'a mut [MaybeUninit<T>],
    affine: Affine<'a, T>,
}

impl<T: Real> Kernel for Plain<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.affine.gamma.len();
        for (x, y) in self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d)) {
            normalise::<T, FMA>(x, y, self.affine);
        }
    }
}

/// Of a sum: the sum is written first, and normalised while it is still in the cache.
struct OfSum<'a, T> {
    x: &'a [T],
    residual: &'a [T],
    sum: Sum<'a, T>,
    y: &'a mut [MaybeUninit<T>],
    affine: Affine<'a, T>,
}

/// Where the sum goes: to the caller, or to a row that is overwritten.
enum Sum<'a, T> {
    Kept(&'a mut [MaybeUninit<T>]),
    Scratch(&'a mut [MaybeUninit<T>]),
}

impl<T: Real> Kernel for OfSum<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.affine.gamma.len();
        let (sums, step) = match self.sum {
            Sum::Kept(all) => (all, d),
            Sum::Scratch(one) => (one, 0),
        };
        let rows = self.x.chunks_exact(d).zip(self.residual.chunks_exact(d));
        for (i, ((x, r), y)) in rows.zip(self.y.chunks_exact_mut(d)).enumerate() {
            let row = &mut sums[i * step..i * step + d];
            for ((s, &a), &b) in row.iter_mut().zip(x).zip(r) {
                s.write(a + b);
            }
            // SAFETY: written in the loop just above, x and r being as long as the row.
            let row = unsafe { row.assume_init_ref() };
            normalise::<T, FMA>(row, y, self.affine);
        }
    }
}

/// `(x − mean) / √(var + eps) · gamma + beta`, row by row.
pub fn layer_norm<T: Real>(
    x: &FlexTensor,
    gamma: &FlexTensor,
    beta: &FlexTensor,
    eps: f64,
) -> FlexTensor {
    let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
    let source = elements::<T>(&x);
    let affine = Affine {
        gamma: elements::<T>(&gamma),
        beta: elements::<T>(&beta),
        eps: T::of(eps),
    };
    let d = affine.gamma.len();
    let work = |row: usize, y: &mut [MaybeUninit<T>]| {
        dispatch(Plain {
            x: &source[row * d..row * d + y.len()],
            y,
            affine,
        });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}

/// `layer_norm(x + residual)`, and the sum if asked for.
pub fn add_layer_norm<T: Real>(
    x: &FlexTensor,
    residual: &FlexTensor,
    gamma: &FlexTensor,
    beta: &FlexTensor,
    eps: f64,
    keep_sum: bool,
) -> (FlexTensor, Option<FlexTensor>) {
    let (x, residual) = (contiguous(x), contiguous(residual));
    let (gamma, beta) = (contiguous(gamma), contiguous(beta));
    let (a, b) = (elements::<T>(&x), elements::<T>(&residual));
    let affine = Affine {
        gamma: elements::<T>(&gamma),
        beta: elements::<T>(&beta),
        eps: T::of(eps),
    };
    let d = affine.gamma.len();
    let shape = x.layout().shape().clone();
    let kernel = |row: usize, y: &mut [MaybeUninit<T>], sum: Sum<'_, T>| {
        let range = row * d..row * d + y.len();
        dispatch(OfSum {
            x: &a[range.clone()],
            residual: &b[range],
            sum,
            y,
            affine,
        });
    };
    let mut sum = None;
    // SAFETY: as in `layer_norm`, for both outputs.
    let y = unsafe {
        build(shape.clone(), |out: &mut [MaybeUninit<T>]| {
            if keep_sum {
                sum = Some(build(shape, |sums| {
                    over_rows2((out, d), (sums, d), |row, y, sums| {
                        kernel(row, y, Sum::Kept(sums))
                    });
                }));
            } else {
                over_rows(out, d, |row, y| {
                    let mut scratch = Vec::with_capacity(d);
                    kernel(row, y, Sum::Scratch(&mut scratch.spare_capacity_mut()[..d]));
                });
            }
        })
    };
    (y, sum)
}
