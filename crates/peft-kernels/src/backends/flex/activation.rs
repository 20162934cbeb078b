//! Activations `x · s(x)`: one pass forward, one pass back, in `f32` without branches or calls.

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
    y: &'a mut [MaybeUninit<T>],
    gate: G,
}

impl<T: Real, G: Gate> Kernel for Forward<'_, T, G> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let _ = self.gate;
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            y.write(x * G::gate::<T, FMA>(x).0);
        }
    }
}

struct Backward<'a, T, G> {
    x: &'a [T],
    grad: &'a [T],
    dx: &'a mut [MaybeUninit<T>],
    gate: G,
}

impl<T: Real, G: Gate> Kernel for Backward<'_, T, G> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let _ = self.gate;
        for ((dx, &x), &grad) in self.dx.iter_mut().zip(self.x).zip(self.grad) {
            let (s, slope) = G::gate::<T, FMA>(x);
            dx.write(grad * (s + slope));
        }
    }
}

/// `x · s(x)`.
pub fn activation<T: Real>(x: &FlexTensor, kind: Activation) -> FlexTensor {
    let x = contiguous(x);
    let source = elements::<T>(&x);
    let work = |at: usize, y: &mut [MaybeUninit<T>]| {
        let x = &source[at..at + y.len()];
        with_gate!(kind, |gate| dispatch(Forward { x, y, gate }));
    };
    // SAFETY: pieces cover the output, and the kernel writes each element of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, 1, work)) }
}

/// `grad · (s(x) + x · s'(x))`.
pub fn activation_grad<T: Real>(x: &FlexTensor, grad: &FlexTensor, kind: Activation) -> FlexTensor {
    let (x, grad) = (contiguous(x), contiguous(grad));
    let (source, upstream) = (elements::<T>(&x), elements::<T>(&grad));
    let work = |at: usize, dx: &mut [MaybeUninit<T>]| {
        let range = at..at + dx.len();
        let (x, grad) = (&source[range.clone()], &upstream[range]);
        with_gate!(kind, |gate| dispatch(Backward { x, grad, dx, gate }));
    };
    // SAFETY: as in `activation`; the gradient has the shape of `x`.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, 1, work)) }
}
