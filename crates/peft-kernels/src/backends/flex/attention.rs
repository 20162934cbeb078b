//! Attention over packed rows, forward.

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::lanes::{max, sum};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::stacked::{Stacked, head_of};
use super::view::{Matrix, Target, wrap};
use crate::ops::AttentionPlan;
use crate::{Keep, attention_keep};

/// Query rows whose scores exist at a time: 128 rows by 512 keys in `f32` are 256 KiB.
pub const BLOCK: usize = 128;

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

/// Keys of the sequence that the queries of a block reach: all, or those up to the block's last row.
pub fn reach(plan: &AttentionPlan, block_end: usize, len: usize) -> usize {
    if plan.causal { block_end } else { len }
}

/// Keys of the sequence that the query at `offset` sees.
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

/// The dropout rule of a row of weights, and the factor of those that stay.
pub fn drop_rule<T: Real>(plan: &AttentionPlan, head: usize, row: usize) -> Option<(Keep, T)> {
    plan.dropout.map(|o| {
        let rule = attention_keep(o.key, head, row, o.probability);
        (rule, T::of(o.scale()))
    })
}

/// Output `[T, H·D]` and log-sum-exp `[H, T]`.
pub fn attention<T: Real>(
    q: &FlexTensor,
    [k, v]: [&FlexTensor; 2],
    prefix: [&FlexTensor; 2],
    plan: &AttentionPlan,
) -> (FlexTensor, FlexTensor) {
    let (qm, km, vm) = (Matrix::<T>::of(q), Matrix::<T>::of(k), Matrix::<T>::of(v));
    let [pk, pv] = prefix.map(Matrix::<T>::of);
    let (rows, width, p) = (qm.rows, qm.cols, pk.rows);
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
            let keys = Stacked::head(pk, km, first..end, head / group, d);
            let values = Stacked::head(pv, vm, first..end, head / group, d);
            scratch.resize(BLOCK.min(len) * (p + len), T::ZERO);

            for from in (0..len).step_by(BLOCK) {
                let to = (from + BLOCK).min(len);
                let near = reach(plan, to, len);
                let (m, n) = (to - from, p + near);
                let queries = head_of(qm, first + from..first + to, head, d);
                // SAFETY: the scratch holds m × n elements.
                unsafe { keys.near(near).scores(queries, scale, scratch.as_mut_ptr()) };
                for (i, row) in scratch[..m * n].chunks_exact_mut(n).enumerate() {
                    let at = first + from + i;
                    // SAFETY: (head, row) belongs to this task alone.
                    let lse = unsafe { &mut *lse_at.at(head * rows + at) };
                    dispatch(Softmax {
                        row,
                        seen: p + seen(plan, from + i, near),
                        drop: drop_rule(plan, head, at),
                        lse,
                    });
                }
                // SAFETY: these columns of these rows belong to this task alone, and are not read.
                unsafe {
                    let dst = out_at.at((first + from) * width + head * d);
                    let weights = block_of(scratch, m, n);
                    values.near(near).weighted(weights, T::ONE, dst, width);
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
