//! Gated activations `x · s(x) · up`. The activation is never stored: the backward pass computes it
//! anew.

use core::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::gate::{Gate, with_gate};
use super::parallel::{over_rows, over_rows2};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements};
use crate::Activation;

struct Forward<'a, T, G> {
    x: &'a [T],
    up: &'a [T],
    y: &'a mut [MaybeUninit<T>],
    gate: G,
}

impl<T: Real, G: Gate> Kernel for Forward<'_, T, G> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let _ = self.gate;
        for ((y, &x), &up) in self.y.iter_mut().zip(self.x).zip(self.up) {
            y.write(x * G::gate::<T, FMA>(x).0 * up);
        }
    }
}

struct Backward<'a, T, G> {
    x: &'a [T],
    up: &'a [T],
    grad: &'a [T],
    dx: &'a mut [MaybeUninit<T>],
    dup: &'a mut [MaybeUninit<T>],
    gate: G,
}

impl<T: Real, G: Gate> Kernel for Backward<'_, T, G> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let _ = self.gate;
        let inputs = self.x.iter().zip(self.up).zip(self.grad);
        for ((dx, dup), ((&x, &up), &grad)) in self.dx.iter_mut().zip(self.dup).zip(inputs) {
            let (s, slope) = G::gate::<T, FMA>(x);
            dx.write(grad * up * (s + slope));
            dup.write(grad * (x * s));
        }
    }
}

/// `x · s(x) · up`.
pub fn gated<T: Real>(x: &FlexTensor, up: &FlexTensor, kind: Activation) -> FlexTensor {
    let (x, up) = (contiguous(x), contiguous(up));
    let (source, factor) = (elements::<T>(&x), elements::<T>(&up));
    let work = |at: usize, y: &mut [MaybeUninit<T>]| {
        let range = at..at + y.len();
        let (x, up) = (&source[range.clone()], &factor[range]);
        with_gate!(kind, |gate| dispatch(Forward { x, up, y, gate }));
    };
    // SAFETY: pieces cover the output, and the kernel writes each element of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, 1, work)) }
}

/// Gradients to `x` and `up` in one pass.
pub fn gated_grads<T: Real>(
    x: &FlexTensor,
    up: &FlexTensor,
    grad: &FlexTensor,
    kind: Activation,
) -> (FlexTensor, FlexTensor) {
    let (x, up, grad) = (contiguous(x), contiguous(up), contiguous(grad));
    let (source, factor, upstream) = (elements::<T>(&x), elements::<T>(&up), elements::<T>(&grad));
    let work = |at: usize, dx: &mut [MaybeUninit<T>], dup: &mut [MaybeUninit<T>]| {
        let range = at..at + dx.len();
        let (x, up, grad) = (
            &source[range.clone()],
            &factor[range.clone()],
            &upstream[range],
        );
        with_gate!(kind, |gate| dispatch(Backward {
            x,
            up,
            grad,
            dx,
            dup,
            gate,
        }));
    };
    let shape = x.layout().shape();
    let mut to_up = None;
    // SAFETY: as in `gated`, for both outputs, which have the shape of `x`.
    let to_x = unsafe {
        build(shape.clone(), |dx: &mut [MaybeUninit<T>]| {
            to_up = Some(build(shape.clone(), |dup| {
                over_rows2((dx, 1), (dup, 1), work)
            }));
        })
    };
    (to_x, to_up.expect("built with the other"))
}
