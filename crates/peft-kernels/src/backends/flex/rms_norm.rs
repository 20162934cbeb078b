//! Normalisation by the root of the mean square, forward and backward.

use core::mem::MaybeUninit;

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::lanes::{sum, sums3};
use super::parallel::{over_rows, over_rows2, sum_over_rows};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements, wrap};

/// `1 / √(mean(x²) + eps)` of a row.
#[inline(always)]
fn reciprocal_root<T: Real>(x: &[T], eps: T) -> T {
    let mean = sum(x, |v| v * v) / T::of(x.len() as f64);
    T::ONE / (mean + eps).root()
}

#[inline(always)]
fn apply<T: Real>(x: &[T], y: &mut [MaybeUninit<T>], gamma: &[T], eps: T) {
    let r = reciprocal_root(x, eps);
    for ((y, &v), &g) in y.iter_mut().zip(x).zip(gamma) {
        y.write(v * r * g);
    }
}

struct Plain<'a, T> {
    x: &'a [T],
    y: &'a mut [MaybeUninit<T>],
    gamma: &'a [T],
    eps: T,
}

impl<T: Real> Kernel for Plain<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.gamma.len();
        for (x, y) in self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d)) {
            apply(x, y, self.gamma, self.eps);
        }
    }
}

/// Of a sum: the sum is written first, and normalised while it is still in the cache.
struct OfSum<'a, T> {
    x: &'a [T],
    residual: &'a [T],
    sum: &'a mut [MaybeUninit<T>],
    y: &'a mut [MaybeUninit<T>],
    gamma: &'a [T],
    eps: T,
}

impl<T: Real> Kernel for OfSum<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.gamma.len();
        let inputs = self.x.chunks_exact(d).zip(self.residual.chunks_exact(d));
        let outputs = self.sum.chunks_exact_mut(d).zip(self.y.chunks_exact_mut(d));
        for ((x, r), (sum, y)) in inputs.zip(outputs) {
            for ((s, &a), &b) in sum.iter_mut().zip(x).zip(r) {
                s.write(a + b);
            }
            // SAFETY: written in the loop just above, x and r being as long as the row.
            let sum = unsafe { sum.assume_init_ref() };
            apply(sum, y, self.gamma, self.eps);
        }
    }
}

struct ToInput<'a, T> {
    x: &'a [T],
    grad: &'a [T],
    gamma: &'a [T],
    dx: &'a mut [MaybeUninit<T>],
    eps: T,
}

impl<T: Real> Kernel for ToInput<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.gamma.len();
        let rows = self.x.chunks_exact(d).zip(self.grad.chunks_exact(d));
        for ((x, grad), dx) in rows.zip(self.dx.chunks_exact_mut(d)) {
            let r = reciprocal_root(x, self.eps);
            let (_, along) = sums3(grad, self.gamma, x, T::ZERO);
            // With x̂ = r x and g = grad ∘ gamma: dx = r (g − x̂ mean(g ∘ x̂)).
            let slope = along / T::of(d as f64) * r * r;
            for (((dx, &v), &g), &w) in dx.iter_mut().zip(x).zip(grad).zip(self.gamma) {
                dx.write(r * (g * w - v * slope));
            }
        }
    }
}

/// `sums += Σ grad ∘ x̂`.
struct ToGamma<'a, T> {
    x: &'a [T],
    grad: &'a [T],
    sums: &'a mut [T],
    eps: T,
}

impl<T: Real> Kernel for ToGamma<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.sums.len();
        for (x, grad) in self.x.chunks_exact(d).zip(self.grad.chunks_exact(d)) {
            let r = reciprocal_root(x, self.eps);
            for ((s, &g), &v) in self.sums.iter_mut().zip(grad).zip(x) {
                *s = g.fma::<FMA>(v * r, *s);
            }
        }
    }
}

/// `x / √(mean(x²) + eps) · gamma`, row by row.
pub fn rms_norm<T: Real>(x: &FlexTensor, gamma: &FlexTensor, eps: f64) -> FlexTensor {
    let (x, gamma) = (contiguous(x), contiguous(gamma));
    let (source, gamma, eps) = (elements::<T>(&x), elements::<T>(&gamma), T::of(eps));
    let d = gamma.len();
    let work = |row: usize, y: &mut [MaybeUninit<T>]| {
        let x = &source[row * d..row * d + y.len()];
        dispatch(Plain { x, y, gamma, eps });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}

/// `rms_norm(x + residual)`, and the sum.
pub fn add_rms_norm<T: Real>(
    x: &FlexTensor,
    residual: &FlexTensor,
    gamma: &FlexTensor,
    eps: f64,
) -> (FlexTensor, FlexTensor) {
    let (x, residual, gamma) = (contiguous(x), contiguous(residual), contiguous(gamma));
    let (a, b) = (elements::<T>(&x), elements::<T>(&residual));
    let (gamma, eps) = (elements::<T>(&gamma), T::of(eps));
    let d = gamma.len();
    let work = |row: usize, y: &mut [MaybeUninit<T>], sum: &mut [MaybeUninit<T>]| {
        let range = row * d..row * d + y.len();
        dispatch(OfSum {
            x: &a[range.clone()],
            residual: &b[range],
            sum,
            y,
            gamma,
            eps,
        });
    };
    let shape = x.layout().shape();
    let mut sum = None;
    // SAFETY: as in `rms_norm`, for both outputs.
    let y = unsafe {
        build(shape.clone(), |y: &mut [MaybeUninit<T>]| {
            sum = Some(build(shape.clone(), |sum| {
                over_rows2((y, d), (sum, d), work)
            }));
        })
    };
    (y, sum.expect("built with the other"))
}

/// Gradient to the input.
pub fn rms_norm_grad<T: Real>(
    x: &FlexTensor,
    gamma: &FlexTensor,
    grad: &FlexTensor,
    eps: f64,
) -> FlexTensor {
    let (x, gamma, grad) = (contiguous(x), contiguous(gamma), contiguous(grad));
    let (source, upstream) = (elements::<T>(&x), elements::<T>(&grad));
    let (gamma, eps) = (elements::<T>(&gamma), T::of(eps));
    let d = gamma.len();
    let work = |row: usize, dx: &mut [MaybeUninit<T>]| {
        let range = row * d..row * d + dx.len();
        dispatch(ToInput {
            x: &source[range.clone()],
            grad: &upstream[range],
            gamma,
            dx,
            eps,
        });
    };
    // SAFETY: as in `rms_norm`.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}

/// Gradient to gamma.
pub fn rms_norm_gamma_grad<T: Real>(x: &FlexTensor, grad: &FlexTensor, eps: f64) -> FlexTensor {
    let (x, grad) = (contiguous(x), contiguous(grad));
    let (source, upstream, eps) = (elements::<T>(&x), elements::<T>(&grad), T::of(eps));
    let d = *x.layout().shape().last().expect("a rank of at least 1");
    let sums = sum_over_rows(source.len(), d, d, |part, sums| {
        let (x, grad) = (&source[part.clone()], &upstream[part]);
        dispatch(ToGamma { x, grad, sums, eps });
    });
    wrap(sums, Shape::new([d]))
}
