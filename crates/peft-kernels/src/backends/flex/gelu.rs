//! GELU: one pass forward, one pass back, in `f32` without branches or calls.

use core::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements};
use crate::GeluKind;

const ROOT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;
const INVERSE_ROOT_2_PI: f64 = 0.398_942_280_401_432_7;

/// The factor `s` of `gelu(x) = x · s(x)`, and `x · s'(x)`.
trait Gate {
    fn gate<T: Real, const FMA: bool>(x: T) -> (T, T);
}

struct Erf;
struct Tanh;

impl Gate for Erf {
    #[inline(always)]
    fn gate<T: Real, const FMA: bool>(x: T) -> (T, T) {
        let (tail, bell) = T::normal_tail::<FMA>(x.magnitude());
        let cdf = if x > T::ZERO { T::ONE - tail } else { tail };
        (cdf, x * bell * T::of(INVERSE_ROOT_2_PI))
    }
}

impl Gate for Tanh {
    #[inline(always)]
    fn gate<T: Real, const FMA: bool>(x: T) -> (T, T) {
        // (1 + tanh u) / 2 is the logistic function of 2u; written with exp of −2|u| it cannot
        // overflow.
        let square = x * x;
        let u = x * square.fma::<FMA>(T::of(CUBIC * ROOT_2_OVER_PI), T::of(ROOT_2_OVER_PI));
        let w = (u.magnitude() * T::of(-2.0)).exponential::<FMA>();
        let upper = T::ONE / (T::ONE + w);
        let lower = w * upper;
        let s = if u > T::ZERO { upper } else { lower };
        let du = square.fma::<FMA>(T::of(3.0 * CUBIC * ROOT_2_OVER_PI), T::of(ROOT_2_OVER_PI));
        (s, T::of(2.0) * x * upper * lower * du)
    }
}

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
pub fn gelu<T: Real>(x: &FlexTensor, kind: GeluKind) -> FlexTensor {
    let x = contiguous(x);
    let source = elements::<T>(&x);
    let work = |at: usize, y: &mut [MaybeUninit<T>]| {
        let x = &source[at..at + y.len()];
        match kind {
            GeluKind::Erf => dispatch(Forward { x, y, gate: Erf }),
            GeluKind::Tanh => dispatch(Forward { x, y, gate: Tanh }),
        }
    };
    // SAFETY: pieces cover the output, and the kernel writes each element of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, 1, work)) }
}

/// `grad · (s(x) + x · s'(x))`.
pub fn gelu_grad<T: Real>(x: &FlexTensor, grad: &FlexTensor, kind: GeluKind) -> FlexTensor {
    let (x, grad) = (contiguous(x), contiguous(grad));
    let (source, upstream) = (elements::<T>(&x), elements::<T>(&grad));
    let work = |at: usize, dx: &mut [MaybeUninit<T>]| {
        let range = at..at + dx.len();
        let (x, grad) = (&source[range.clone()], &upstream[range]);
        match kind {
            GeluKind::Erf => dispatch(Backward {
                x,
                grad,
                dx,
                gate: Erf,
            }),
            GeluKind::Tanh => dispatch(Backward {
                x,
                grad,
                dx,
                gate: Tanh,
            }),
        }
    };
    // SAFETY: as in `gelu`; the gradient has the shape of `x`.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, 1, work)) }
}
