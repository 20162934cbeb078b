//! Softmax over the last dimension; the backward pass needs the output alone.

use core::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::lanes::{max, sum, sum2};
use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements};

struct Forward<'a, T> {
    x: &'a [T],
    y: &'a mut [MaybeUninit<T>],
    d: usize,
}

impl<T: Real> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.x.chunks_exact(self.d);
        for (x, y) in rows.zip(self.y.chunks_exact_mut(self.d)) {
            let top = max(x);
            for (y, &v) in y.iter_mut().zip(x) {
                y.write((v - top).exponential::<FMA>());
            }
            // SAFETY: written in the loop just above.
            let y = unsafe { y.assume_init_mut() };
            let inverse = T::ONE / sum(y, |p| p);
            for p in y {
                *p = *p * inverse;
            }
        }
    }
}

struct Backward<'a, T> {
    y: &'a [T],
    grad: &'a [T],
    dx: &'a mut [MaybeUninit<T>],
    d: usize,
}

impl<T: Real> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self
            .y
            .chunks_exact(self.d)
            .zip(self.grad.chunks_exact(self.d));
        for ((y, grad), dx) in rows.zip(self.dx.chunks_exact_mut(self.d)) {
            let along = sum2(y, grad, |p, g| p * g);
            for ((dx, &p), &g) in dx.iter_mut().zip(y).zip(grad) {
                dx.write(p * (g - along));
            }
        }
    }
}

fn width(x: &FlexTensor) -> usize {
    *x.layout().shape().last().expect("a rank of at least 1")
}

/// `exp(x − max) / Σ exp(x − max)`, row by row.
pub fn softmax<T: Real>(x: &FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let (source, d) = (elements::<T>(&x), width(&x));
    let work = |row: usize, y: &mut [MaybeUninit<T>]| {
        let x = &source[row * d..row * d + y.len()];
        dispatch(Forward { x, y, d });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}

/// `y ∘ (grad − Σ y ∘ grad)`, row by row.
pub fn softmax_grad<T: Real>(y: &FlexTensor, grad: &FlexTensor) -> FlexTensor {
    let (y, grad) = (contiguous(y), contiguous(grad));
    let (output, upstream, d) = (elements::<T>(&y), elements::<T>(&grad), width(&y));
    let work = |row: usize, dx: &mut [MaybeUninit<T>]| {
        let range = row * d..row * d + dx.len();
        let (y, grad) = (&output[range.clone()], &upstream[range]);
        dispatch(Backward { y, grad, dx, d });
    };
    // SAFETY: as in `softmax`.
    unsafe { build(y.layout().shape().clone(), |out| over_rows(out, d, work)) }
}
