//! Layer normalisation, backward. The statistics are computed anew: the row is in the cache anyway.

use core::mem::MaybeUninit;

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::lanes::sums3;
use super::layer_norm::statistics;
use super::parallel::{over_rows, sum_over_rows};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements, wrap};

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
        let n = T::of(d as f64);
        let rows = self.x.chunks_exact(d).zip(self.grad.chunks_exact(d));
        for ((x, grad), dx) in rows.zip(self.dx.chunks_exact_mut(d)) {
            let (mean, rstd) = statistics(x, self.eps);
            let (plain, along) = sums3(grad, self.gamma, x, mean);
            // With x̂ = (x − mean) rstd and g = grad ∘ gamma: dx = rstd (g − mean(g) − x̂ mean(g ∘
            // x̂)).
            let (shift, slope) = (plain / n, along / n * rstd * rstd);
            for (((dx, &v), &g), &w) in dx.iter_mut().zip(x).zip(grad).zip(self.gamma) {
                dx.write(rstd * (g.fma::<FMA>(w, -shift) - (v - mean) * slope));
            }
        }
    }
}

/// Gradient to the input.
pub fn layer_norm_grad<T: Real>(
    x: &FlexTensor,
    gamma: &FlexTensor,
    grad: &FlexTensor,
    eps: f64,
) -> FlexTensor {
    let (x, gamma, grad) = (contiguous(x), contiguous(gamma), contiguous(grad));
    let (source, upstream, gamma) = (
        elements::<T>(&x),
        elements::<T>(&grad),
        elements::<T>(&gamma),
    );
    let d = gamma.len();
    let work = |row: usize, dx: &mut [MaybeUninit<T>]| {
        let range = row * d..row * d + dx.len();
        let (x, grad) = (&source[range.clone()], &upstream[range]);
        dispatch(ToInput {
            x,
            grad,
            gamma,
            dx,
            eps: T::of(eps),
        });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}

/// `sums[0..d] += Σ grad`, and with an input `sums[d..2d] += Σ grad ∘ x̂`.
struct OverRows<'a, T> {
    x: Option<&'a [T]>,
    grad: &'a [T],
    sums: &'a mut [T],
    d: usize,
    eps: T,
}

impl<T: Real> Kernel for OverRows<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (beta, gamma) = self.sums.split_at_mut(self.d);
        for (i, grad) in self.grad.chunks_exact(self.d).enumerate() {
            for (b, &g) in beta.iter_mut().zip(grad) {
                *b += g;
            }
            if let Some(x) = self.x {
                let x = &x[i * self.d..(i + 1) * self.d];
                let (mean, rstd) = statistics(x, self.eps);
                for ((w, &g), &v) in gamma.iter_mut().zip(grad).zip(x) {
                    *w = g.fma::<FMA>((v - mean) * rstd, *w);
                }
            }
        }
    }
}

fn over_blocks<T: Real>(x: Option<&[T]>, grad: &[T], d: usize, eps: T) -> Vec<T> {
    let width = if x.is_some() { 2 * d } else { d };
    sum_over_rows(grad.len(), d, width, |part, sums| {
        dispatch(OverRows {
            x: x.map(|x| &x[part.clone()]),
            grad: &grad[part],
            sums,
            d,
            eps,
        });
    })
}

/// Gradients to gamma and beta.
pub fn layer_norm_param_grads<T: Real>(
    x: &FlexTensor,
    grad: &FlexTensor,
    eps: f64,
) -> (FlexTensor, FlexTensor) {
    let (x, grad) = (contiguous(x), contiguous(grad));
    let d = *x.layout().shape().last().expect("a rank of at least 1");
    let mut beta = over_blocks(Some(elements::<T>(&x)), elements::<T>(&grad), d, T::of(eps));
    let gamma = beta.split_off(d);
    (wrap(gamma, Shape::new([d])), wrap(beta, Shape::new([d])))
}

/// Sums of the columns of a matrix.
pub fn column_sums<T: Real>(x: &FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let d = x.layout().shape()[1];
    let sums = over_blocks(None, elements::<T>(&x), d, T::ZERO);
    wrap(sums, Shape::new([d]))
}
