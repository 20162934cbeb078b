//! Activation of a sum with a bias. The sum is never stored: the backward pass adds again.

use core::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::gate::{Gate, with_gate};
use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements};
use crate::Activation;

struct Forward<'a, T, G> {
    x: &'a [T],
    bias: &'a [T],
    y: &'a mut [MaybeUninit<T>],
    gate: G,
}

impl<T: Real, G: Gate> Kernel for Forward<'_, T, G> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let _ = self.gate;
        let d = self.bias.len();
        for (y, x) in self.y.chunks_exact_mut(d).zip(self.x.chunks_exact(d)) {
            for ((y, &x), &b) in y.iter_mut().zip(x).zip(self.bias) {
                let x = x + b;
                y.write(x * G::gate::<T, FMA>(x).0);
            }
        }
    }
}

struct Backward<'a, T, G> {
    x: &'a [T],
    bias: &'a [T],
    grad: &'a [T],
    dx: &'a mut [MaybeUninit<T>],
    gate: G,
}

impl<T: Real, G: Gate> Kernel for Backward<'_, T, G> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let _ = self.gate;
        let d = self.bias.len();
        let rows = self.x.chunks_exact(d).zip(self.grad.chunks_exact(d));
        for (dx, (x, grad)) in self.dx.chunks_exact_mut(d).zip(rows) {
            for (((dx, &x), &b), &grad) in dx.iter_mut().zip(x).zip(self.bias).zip(grad) {
                let (s, slope) = G::gate::<T, FMA>(x + b);
                dx.write(grad * (s + slope));
            }
        }
    }
}

/// `(x + bias) · s(x + bias)`.
pub fn bias_activation<T: Real>(x: &FlexTensor, bias: &FlexTensor, kind: Activation) -> FlexTensor {
    let (x, bias) = (contiguous(x), contiguous(bias));
    let (source, bias) = (elements::<T>(&x), elements::<T>(&bias));
    let d = bias.len();
    let work = |row: usize, y: &mut [MaybeUninit<T>]| {
        let x = &source[row * d..row * d + y.len()];
        with_gate!(kind, |gate| dispatch(Forward { x, bias, y, gate }));
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}

/// The gradient to the sum.
pub fn bias_activation_grad<T: Real>(
    x: &FlexTensor,
    bias: &FlexTensor,
    grad: &FlexTensor,
    kind: Activation,
) -> FlexTensor {
    let (x, bias, grad) = (contiguous(x), contiguous(bias), contiguous(grad));
    let (source, bias) = (elements::<T>(&x), elements::<T>(&bias));
    let (upstream, d) = (elements::<T>(&grad), bias.len());
    let work = |row: usize, dx: &mut [MaybeUninit<T>]| {
        let range = row * d..row * d + dx.len();
        let (x, grad) = (&source[range.clone()], &upstream[range]);
        with_gate!(kind, |gate| dispatch(Backward {
            x,
            bias,
            grad,
            dx,
            gate,
        }));
    };
    // SAFETY: as in `bias_activation`; the gradient has the shape of `x`.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}
