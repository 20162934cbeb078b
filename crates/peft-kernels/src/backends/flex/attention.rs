//! Attention over packed rows, forward.

use core::ops::Range;

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

/// Keys of the sequence, `keys` in all, that the query at a position sees.
fn seen(plan: &AttentionPlan, position: usize, keys: usize) -> Range<usize> {
    let end = position + 1;
    let window = plan.window.unwrap_or(keys);
    match plan.causal {
        true => end - window.min(end)..end,
        false => end - window.min(end)..keys.min(position.saturating_add(window)),
    }
}

/// The queries and keys of a sequence: their rows.
#[derive(Clone)]
pub struct Sequence {
    /// Rows of the queries, which are at the positions of the last keys.
    pub queries: Range<usize>,
    /// Rows of the keys.
    pub keys: Range<usize>,
}

impl Sequence {
    /// One of those of a plan.
    pub fn of(plan: &AttentionPlan, index: usize) -> Self {
        let rows = |starts: &[usize]| starts[index]..starts[index + 1];
        Self {
            queries: rows(&plan.starts),
            keys: rows(&plan.key_starts),
        }
    }

    fn position(&self, query: usize) -> usize {
        self.keys.len() - self.queries.len() + query
    }

    /// Keys that some queries reach: all, or those that the first or the last of them sees, and those between.
    pub fn reach(&self, plan: &AttentionPlan, queries: Range<usize>) -> Range<usize> {
        let keys = |query: usize| seen(plan, self.position(query), self.keys.len());
        keys(queries.start).start..keys(queries.end - 1).end
    }

    /// Columns of a row of scores that are of keys of the sequence that the query sees, where the row is of a prefix of
    /// `before` keys and of the keys `near`.
    pub fn columns(
        &self,
        plan: &AttentionPlan,
        query: usize,
        near: &Range<usize>,
        before: usize,
    ) -> Columns {
        let seen = seen(plan, self.position(query), self.keys.len());
        Columns {
            before,
            seen: before + seen.start - near.start..before + seen.end - near.start,
            skipped: near.start,
        }
    }
}

/// What the columns of a row of scores are.
pub struct Columns {
    /// The first are of a prefix.
    pub before: usize,
    /// These are of the keys of the sequence that the query sees; the columns before and behind are hidden.
    pub seen: Range<usize>,
    /// Keys of the sequence before the first that has a column.
    pub skipped: usize,
}

impl Columns {
    /// Keys that are seen.
    pub fn count(&self) -> usize {
        self.before + self.seen.len()
    }

    /// The number of a key in the rules of dropout, which count all keys.
    #[inline(always)]
    pub fn key(&self, column: usize) -> u64 {
        let skipped = if column < self.before {
            0
        } else {
            self.skipped
        };
        (column + skipped) as u64
    }

    /// Puts hidden columns of a row to a value.
    #[inline(always)]
    pub fn hide<T: Copy>(&self, row: &mut [T], value: T) {
        row[self.before..self.seen.start].fill(value);
        row[self.seen.end..].fill(value);
    }
}

/// Softmax of the scores of a row that are seen; the rest become 0. Gives the log-sum-exp.
struct Softmax<'a, T> {
    row: &'a mut [T],
    columns: Columns,
    cap: Option<T>,
    drop: Option<(Keep, T)>,
    lse: &'a mut T,
}

impl<T: Real> Kernel for Softmax<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = self.columns;
        if let Some(cap) = self.cap {
            let inverse = T::ONE / cap;
            for s in self.row.iter_mut() {
                *s = cap * (*s * inverse).hyperbolic_tangent::<FMA>();
            }
        }
        columns.hide(self.row, T::LOWEST);
        let (row, behind) = self.row.split_at_mut(columns.seen.end);
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
                *p = if rule.at(columns.key(j)) {
                    *p * scale
                } else {
                    *p * T::ZERO
                };
            }
        }
        behind.fill(T::ZERO);
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
    let (scale, cap) = (T::of(plan.scale), plan.softcap.map(T::of));

    let tasks = (plan.starts.len() - 1) * plan.heads;
    (0..tasks)
        .into_par_iter()
        .for_each_init(Vec::new, |scratch: &mut Vec<T>, task| {
            let (sequence, head) = (Sequence::of(plan, task / plan.heads), task % plan.heads);
            let (first, len) = (sequence.queries.start, sequence.queries.len());
            let rows_of = &sequence.keys;
            let keys = Stacked::head(pk, km, rows_of.clone(), head / group, d);
            let values = Stacked::head(pv, vm, rows_of.clone(), head / group, d);
            scratch.resize(BLOCK.min(len) * (p + rows_of.len()), T::ZERO);

            for from in (0..len).step_by(BLOCK) {
                let to = (from + BLOCK).min(len);
                let near = sequence.reach(plan, from..to);
                let (m, n) = (to - from, p + near.len());
                let queries = head_of(qm, first + from..first + to, head, d);
                // SAFETY: the scratch holds m × n elements.
                unsafe {
                    let keys = keys.near(near.clone());
                    keys.scores(queries, scale, scratch.as_mut_ptr());
                }
                for (i, row) in scratch[..m * n].chunks_exact_mut(n).enumerate() {
                    let at = first + from + i;
                    // SAFETY: (head, row) belongs to this task alone.
                    let lse = unsafe { &mut *lse_at.at(head * rows + at) };
                    dispatch(Softmax {
                        row,
                        columns: sequence.columns(plan, from + i, &near, p),
                        cap,
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
