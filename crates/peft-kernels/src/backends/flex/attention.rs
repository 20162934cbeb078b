//! Attention over packed rows, forward.

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::lanes::{max, sum};
use super::matmul::{Output, Start, Term, Threads, multiply};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Matrix, Target, wrap};
use crate::ops::AttentionPlan;
use crate::{Keep, attention_keep};

/// Query rows whose scores exist at a time: 128 rows by 512 keys in `f32` are 256 KiB.
pub const BLOCK: usize = 128;

/// The part of a packed matrix that one head of one sequence owns.
pub fn head_of<T: Real>(
    m: Matrix<T>,
    rows: core::ops::Range<usize>,
    head: usize,
    d: usize,
) -> Matrix<T> {
    m.part(rows, head * d..(head + 1) * d)
}

/// Row-major scratch as a matrix.
pub fn block_of<T: Real>(scratch: &[T], rows: usize, cols: usize) -> Matrix<T> {
    assert!(scratch.len() >= rows * cols);
    Matrix {
        start: scratch.as_ptr(),
        rows,
        cols,
        row_stride: cols as isize,
        col_stride: 1,
    }
}

/// `to (+)= scale · a · b` on the thread of the task.
///
/// # Safety
/// As for [`multiply`]; rows of the output are `stride` apart.
pub unsafe fn block_product<T: Real>(
    to: *mut T,
    stride: usize,
    start: Start<T>,
    a: Matrix<T>,
    b: Matrix<T>,
    scale: T,
) {
    let out = Output {
        to: Target(to),
        rows: a.rows,
        cols: b.cols,
        row_stride: stride as isize,
        col_stride: 1,
    };
    let term = Term {
        scale,
        ..Term::new(a, b)
    };
    // SAFETY: the caller's promise.
    unsafe { multiply(out, start, &[term], Threads::Caller) }
}

/// Keys that the queries of a block reach: all, or those up to the block's last row.
pub fn reach(plan: &AttentionPlan, block_end: usize, len: usize) -> usize {
    if plan.causal { block_end } else { len }
}

/// Keys that the query at `offset` sees.
pub fn seen(plan: &AttentionPlan, offset: usize, keys: usize) -> usize {
    if plan.causal { offset + 1 } else { keys }
}

/// Softmax of the first `seen` scores of a row; the rest become 0. Gives the log-sum-exp.
struct Softmax<'a, T> {
    row: &'a mut [T],
    seen: usize,
    drop: Option<(Keep, T)>,
    lse: &'a mut T,
}

impl<T: Real> Kernel for Softmax<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (row, hidden) = self.row.split_at_mut(self.seen);
        let top = max(row);
        for s in row.iter_mut() {
            *s = (*s - top).exponential::<FMA>();
        }
        let total = sum(row, |p| p);
        *self.lse = top + total.log();
        let inverse = T::ONE / total;
        for p in row.iter_mut() {
            *p = *p * inverse;
        }
        if let Some((rule, scale)) = self.drop {
            for (j, p) in row.iter_mut().enumerate() {
                *p = if rule.at(j as u64) {
                    *p * scale
                } else {
                    *p * T::ZERO
                };
            }
        }
        hidden.fill(T::ZERO);
    }
}

/// Output `[T, H·D]` and log-sum-exp `[H, T]`.
pub fn attention<T: Real>(
    q: &FlexTensor,
    k: &FlexTensor,
    v: &FlexTensor,
    plan: &AttentionPlan,
) -> (FlexTensor, FlexTensor) {
    let (qm, km, vm) = (Matrix::<T>::of(q), Matrix::<T>::of(k), Matrix::<T>::of(v));
    let (rows, width) = (qm.rows, qm.cols);
    let (d, group) = (width / plan.heads, plan.heads / plan.kv_heads);
    let mut out = Vec::<T>::with_capacity(rows * width);
    let mut lse = vec![T::ZERO; plan.heads * rows];
    let (out_at, lse_at) = (Target(out.as_mut_ptr()), Target(lse.as_mut_ptr()));
    let scale = T::of(plan.scale);

    let tasks = (plan.starts.len() - 1) * plan.heads;
    (0..tasks)
        .into_par_iter()
        .for_each_init(Vec::new, |scratch: &mut Vec<T>, task| {
            let (sequence, head) = (task / plan.heads, task % plan.heads);
            let (first, end) = (plan.starts[sequence], plan.starts[sequence + 1]);
            let len = end - first;
            let keys = head_of(km, first..end, head / group, d);
            let values = head_of(vm, first..end, head / group, d);
            scratch.resize(BLOCK.min(len) * len, T::ZERO);

            for from in (0..len).step_by(BLOCK) {
                let to = (from + BLOCK).min(len);
                let (m, n) = (to - from, reach(plan, to, len));
                let queries = head_of(qm, first + from..first + to, head, d);
                let (near_keys, near_values) =
                    (Matrix { rows: n, ..keys }, Matrix { rows: n, ..values });
                // SAFETY: the scratch holds m × n elements.
                unsafe {
                    let to = scratch.as_mut_ptr();
                    block_product(to, n, Start::Zero, queries, near_keys.transposed(), scale);
                }
                for (i, row) in scratch[..m * n].chunks_exact_mut(n).enumerate() {
                    let at = first + from + i;
                    let drop = plan.dropout.map(|o| {
                        (
                            attention_keep(o.key, head, at, o.probability),
                            T::of(o.scale()),
                        )
                    });
                    // SAFETY: (head, row) belongs to this task alone.
                    let lse = unsafe { &mut *lse_at.at(head * rows + at) };
                    dispatch(Softmax {
                        row,
                        seen: seen(plan, from + i, n),
                        drop,
                        lse,
                    });
                }
                // SAFETY: these columns of these rows belong to this task alone, and are not read.
                unsafe {
                    let dst = out_at.at((first + from) * width + head * d);
                    let weights = block_of(scratch, m, n);
                    block_product(dst, width, Start::Zero, weights, near_values, T::ONE);
                }
            }
        });
    // SAFETY: the sequences and heads cover every element.
    unsafe { out.set_len(rows * width) };
    (
        wrap(out, Shape::new([rows, width])),
        wrap(lse, Shape::new([plan.heads, rows])),
    )
}
