//! Causal convolution of every channel by itself, over packed rows.

use core::mem::MaybeUninit;
use core::ops::Range;

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::layer_norm_grad::column_sums;
use super::parallel::{over_rows, sum_over_rows};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Matrix, build, contiguous, elements, with_lines, wrap};
use crate::ops::ConvPlan;

/// What a convolution reads: rows, and the rows before those of each sequence.
#[derive(Clone, Copy)]
struct Source<'a, T> {
    x: Matrix<T>,
    /// `[sequences, K − 1, d]`, or nothing for zeros.
    state: &'a [T],
    starts: &'a [usize],
    kernel: usize,
}

impl<'a, T: Real> Source<'a, T> {
    /// The row `back` rows before one of a sequence; none for zeros.
    #[inline(always)]
    fn row(self, sequence: usize, row: usize, back: usize) -> Option<&'a [T]> {
        let (offset, d) = (row - self.starts[sequence], self.x.cols);
        if back <= offset {
            // SAFETY: the matrix is made with lines, and this row is of the same sequence.
            return Some(unsafe { self.x.line(row - back) });
        }
        let before = self.kernel - 1;
        let at = sequence * before + before + offset - back;
        (!self.state.is_empty()).then(|| &self.state[at * d..(at + 1) * d])
    }

    /// The rows of a range with their sequences.
    #[inline(always)]
    fn rows(self, range: Range<usize>) -> impl Iterator<Item = (usize, usize)> + use<'a, T> {
        let mut sequence = self.starts.partition_point(|&s| s <= range.start) - 1;
        range.map(move |row| {
            sequence += usize::from(row == self.starts[sequence + 1]);
            (sequence, row)
        })
    }
}

/// `y_t = bias + Σ_k w_k ∘ x_{t−K+1+k}`.
struct Forward<'a, T> {
    source: Source<'a, T>,
    /// `[K, d]`.
    weight: &'a [T],
    /// Empty for none.
    bias: &'a [T],
    first: usize,
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (d, kernel) = (self.source.x.cols, self.source.kernel);
        let range = self.first..self.first + self.y.len() / d;
        let lines = self.y.chunks_exact_mut(d);
        for (y, (sequence, row)) in lines.zip(self.source.rows(range)) {
            match self.bias {
                [] => y.iter_mut().for_each(|y| {
                    y.write(T::ZERO);
                }),
                bias => y.iter_mut().zip(bias).for_each(|(y, &b)| {
                    y.write(b);
                }),
            }
            // SAFETY: written just above.
            let y = unsafe { y.assume_init_mut() };
            for (k, weight) in self.weight.chunks_exact(d).enumerate() {
                if let Some(x) = self.source.row(sequence, row, kernel - 1 - k) {
                    add_product::<T, FMA>(y, weight, x);
                }
            }
        }
    }
}

/// `to += a ∘ b`.
#[inline(always)]
fn add_product<T: Real, const FMA: bool>(to: &mut [T], a: &[T], b: &[T]) {
    for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
        *to = a.fma::<FMA>(b, *to);
    }
}

/// `dx_t = Σ_j w_{K−1−j} ∘ dy_{t+j}` within each sequence.
struct ToInput<'a, T> {
    source: Source<'a, T>,
    weight: &'a [T],
    grad: &'a [T],
    first: usize,
    dx: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for ToInput<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (d, kernel) = (self.source.x.cols, self.source.kernel);
        let range = self.first..self.first + self.dx.len() / d;
        let lines = self.dx.chunks_exact_mut(d);
        for (dx, (sequence, row)) in lines.zip(self.source.rows(range)) {
            dx.iter_mut().for_each(|v| {
                v.write(T::ZERO);
            });
            // SAFETY: written just above.
            let dx = unsafe { dx.assume_init_mut() };
            let after = self.source.starts[sequence + 1] - row;
            for j in 0..kernel.min(after) {
                let weight = &self.weight[(kernel - 1 - j) * d..(kernel - j) * d];
                add_product::<T, FMA>(dx, weight, &self.grad[(row + j) * d..(row + j + 1) * d]);
            }
        }
    }
}

/// `dw_k += Σ_t dy_t ∘ x_{t−K+1+k}` over some rows.
struct ToWeight<'a, T> {
    source: Source<'a, T>,
    grad: &'a [T],
    rows: Range<usize>,
    sums: &'a mut [T],
}

impl<T: Real> Kernel for ToWeight<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (d, kernel) = (self.source.x.cols, self.source.kernel);
        for (sequence, row) in self.source.rows(self.rows) {
            let grad = &self.grad[row * d..(row + 1) * d];
            for (k, sums) in self.sums.chunks_exact_mut(d).enumerate() {
                if let Some(x) = self.source.row(sequence, row, kernel - 1 - k) {
                    add_product::<T, FMA>(sums, grad, x);
                }
            }
        }
    }
}

/// A matrix turned, `[cols, rows]`.
fn turned<T: Real>(x: &[T], cols: usize) -> Vec<T> {
    let column = |j: usize| x.iter().skip(j).step_by(cols.max(1)).copied();
    (0..cols).flat_map(column).collect()
}

/// See [`causal_conv1d`](crate::causal_conv1d): the rows `[T, d]`, the weight `[d, K]`; an empty bias or state is none.
pub fn packed_conv<T: Real>(
    x: &FlexTensor,
    weight: &FlexTensor,
    [bias, state]: [&FlexTensor; 2],
    plan: &ConvPlan,
) -> FlexTensor {
    let (x, weight) = (with_lines::<T>(x), contiguous(weight));
    let (bias, state) = (contiguous(bias), contiguous(state));
    let source = source::<T>(&x, &weight, &state, plan);
    let weight = turned(elements::<T>(&weight), source.kernel);
    let (d, bias) = (source.x.cols, elements::<T>(&bias));
    let work = |first: usize, y: &mut [MaybeUninit<T>]| {
        dispatch(Forward {
            source,
            weight: &weight,
            bias,
            first,
            y,
        });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) }
}

fn source<'a, T: Real>(
    x: &'a FlexTensor,
    weight: &FlexTensor,
    state: &'a FlexTensor,
    plan: &'a ConvPlan,
) -> Source<'a, T> {
    Source {
        x: Matrix::of(x),
        state: elements::<T>(state),
        starts: &plan.starts,
        kernel: weight.layout().shape()[1],
    }
}

/// Gradients to the rows, the weight, the bias and the state, those that are wanted.
pub fn packed_conv_grads<T: Real>(
    [x, weight, state]: [&FlexTensor; 3],
    grad: &FlexTensor,
    plan: &ConvPlan,
    wanted: [bool; 4],
) -> [Option<FlexTensor>; 4] {
    let (x, weight) = (with_lines::<T>(x), contiguous(weight));
    let (state, grad) = (contiguous(state), contiguous(grad));
    let source = source::<T>(&x, &weight, &state, plan);
    let (d, kernel) = (source.x.cols, source.kernel);
    let (turned_weight, upstream) = (turned(elements::<T>(&weight), kernel), elements::<T>(&grad));
    let to_input = |first: usize, dx: &mut [MaybeUninit<T>]| {
        dispatch(ToInput {
            source,
            weight: &turned_weight,
            grad: upstream,
            first,
            dx,
        });
    };
    let shape = x.layout().shape().clone();
    // SAFETY: pieces cover the gradient in whole rows, and the kernel writes every row of a piece.
    let dx = wanted[0].then(|| unsafe { build(shape, |out| over_rows(out, d, to_input)) });
    let dw = wanted[1].then(|| {
        let sums = sum_over_rows(upstream.len(), d, kernel * d, |part, sums| {
            dispatch(ToWeight {
                source,
                grad: upstream,
                rows: part.start / d..part.end / d,
                sums,
            });
        });
        wrap(turned(&sums, d), Shape::new([d, kernel]))
    });
    let db = wanted[2].then(|| column_sums::<T>(&grad));
    let dstate = (wanted[3] && !source.state.is_empty()).then(|| {
        let data = state_grads(source, &turned_weight, upstream);
        wrap(data, state.layout().shape().clone())
    });
    [dx, dw, db, dstate]
}

/// `ds_i = Σ_t w_{i−t} ∘ dy_t` over the first rows of each sequence.
fn state_grads<T: Real>(source: Source<'_, T>, weight: &[T], grad: &[T]) -> Vec<T> {
    let (d, before) = (source.x.cols, source.kernel - 1);
    let mut all = vec![T::ZERO; source.state.len()];
    let sequences = all.par_chunks_mut(before * d).enumerate();
    sequences.for_each(|(sequence, state)| {
        let rows = source.starts[sequence]..source.starts[sequence + 1];
        for (i, state) in state.chunks_exact_mut(d).enumerate() {
            for (t, row) in rows.clone().take(i + 1).enumerate() {
                let weight = &weight[(i - t) * d..(i - t + 1) * d];
                let grad = &grad[row * d..(row + 1) * d];
                for ((s, &w), &g) in state.iter_mut().zip(weight).zip(grad) {
                    *s += w * g;
                }
            }
        }
    });
    all
}
