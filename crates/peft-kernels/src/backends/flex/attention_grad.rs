//! Attention over packed rows, backward: the weights are computed anew, block by block, from the
//! log-sum-exp.
//!
//! With `P` the weights, `M` the dropout mask times its scale and `O` the output, for each head of
//! each sequence: `D = rowsum(dO ∘ O)`, `dV += (P ∘ M)ᵀ dO`, `dP = (dO Vᵀ) ∘ M`,
//! `dS = P ∘ (dP − D)`, `dQ = scale · dS K`, `dK += scale · dSᵀ Q`. With a prefix, `K` and `V` begin with
//! its rows.

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::attention::{BLOCK, block_of, drop_rule, reach, seen};
use super::lanes::sum2;
use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::stacked::{Stacked, StackedTarget, head_of};
use super::view::{Matrix, Target, contiguous, elements, wrap};
use crate::Keep;
use crate::ops::{AttentionPlan, AttentionSaved};

/// Turns a row of scores into dropped weights, `P ∘ M`, and a row of `dO Vᵀ` into `dS`.
struct Rows<'a, T> {
    scores: &'a mut [T],
    slopes: &'a mut [T],
    seen: usize,
    lse: T,
    grad: &'a [T],
    out: &'a [T],
    drop: Option<(Keep, T)>,
}

impl<T: Real> Kernel for Rows<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (scores, hidden) = self.scores.split_at_mut(self.seen);
        let (slopes, hidden_slopes) = self.slopes.split_at_mut(self.seen);
        let dot = sum2(self.grad, self.out, |g, o| g * o);
        for (s, ds) in scores.iter_mut().zip(slopes.iter_mut()) {
            *s = (*s - self.lse).exponential::<FMA>();
            if self.drop.is_none() {
                *ds = *s * (*ds - dot);
            }
        }
        if let Some((rule, scale)) = self.drop {
            for (j, (s, ds)) in scores.iter_mut().zip(slopes.iter_mut()).enumerate() {
                let factor = if rule.at(j as u64) { scale } else { T::ZERO };
                *ds = *s * (*ds * factor - dot);
                *s = *s * factor;
            }
        }
        if slopes.len() == 1 {
            // Softmax over one key is constant: the difference is rounding alone.
            slopes[0] = T::ZERO;
        }
        hidden.fill(T::ZERO);
        hidden_slopes.fill(T::ZERO);
    }
}

/// Buffers for the gradients, those asked for, zeroed: sums go there.
struct Sinks<T> {
    q: Option<Vec<T>>,
    keys: Option<Vec<T>>,
    values: Option<Vec<T>>,
    /// `[sequences, P, Hkv·D]`: every sequence reads the prefix, and the sum of what it gets from
    /// each must not depend on who comes first.
    prefix: [Option<Vec<T>>; 2],
}

/// Sums over the sequences, in their order.
fn summed<T: Real>(parts: &[T], len: usize) -> Vec<T> {
    let mut total = vec![T::ZERO; len];
    over_rows(&mut total, 1, |at, piece| {
        for part in parts.chunks_exact(len) {
            let part = &part[at..at + piece.len()];
            piece.iter_mut().zip(part).for_each(|(t, &v)| *t += v);
        }
    });
    total
}

/// Gradients to `q`, `k`, `v` and the keys and values of the prefix, those asked for.
pub fn attention_grads<T: Real>(
    saved: &AttentionSaved<Flex>,
    grad: &FlexTensor,
    plan: &AttentionPlan,
    wanted: [bool; 5],
) -> [Option<FlexTensor>; 5] {
    let [qm, km, vm, pk, pv] = [
        &saved.q,
        &saved.k,
        &saved.v,
        &saved.prefix_k,
        &saved.prefix_v,
    ]
    .map(Matrix::<T>::of);
    let (grad, out) = (contiguous(grad), contiguous(&saved.out));
    let gm = Matrix::<T>::of(&grad);
    let (grads, outs, lse) = (
        elements::<T>(&grad),
        elements::<T>(&out),
        elements::<T>(&saved.lse),
    );
    let (rows, width, p) = (qm.rows, qm.cols, pk.rows);
    let (d, group) = (width / plan.heads, plan.heads / plan.kv_heads);
    let kv_width = plan.kv_heads * d;
    let scale = T::of(plan.scale);
    let sequences = plan.starts.len() - 1;

    let zeros = |wanted: bool, n: usize| wanted.then(|| vec![T::ZERO; n]);
    let mut sinks = Sinks {
        q: zeros(wanted[0], rows * width),
        keys: zeros(wanted[1], rows * kv_width),
        values: zeros(wanted[2], rows * kv_width),
        prefix: [wanted[3], wanted[4]].map(|w| zeros(w, sequences * p * kv_width)),
    };
    let place = |sink: &mut Option<Vec<T>>| sink.as_mut().map(|s| Target(s.as_mut_ptr()));
    let (dq, dk, dv) = (
        place(&mut sinks.q),
        place(&mut sinks.keys),
        place(&mut sinks.values),
    );
    let [dpk, dpv] = sinks.prefix.each_mut().map(place);
    let needs_slopes = wanted[0] || wanted[1] || wanted[3];

    // One task for each key head, not query head: the query heads of a group add to the same keys,
    // in order.
    (0..sequences * plan.kv_heads)
        .into_par_iter()
        .for_each_init(Default::default, |scratch: &mut (Vec<T>, Vec<T>), task| {
            let (sequence, kv_head) = (task / plan.kv_heads, task % plan.kv_heads);
            let (first, end) = (plan.starts[sequence], plan.starts[sequence + 1]);
            let len = end - first;
            let keys = Stacked::head(pk, km, first..end, kv_head, d);
            let values = Stacked::head(pv, vm, first..end, kv_head, d);
            // SAFETY: the columns of a head in the rows of a sequence, and in its copy of the
            // prefix, lie inside of the sinks and belong to the task of their key head alone.
            let target = |prefix: Option<Target<T>>, own: Option<Target<T>>| unsafe {
                let at = |to: Target<T>, row: usize| Target(to.at(row * kv_width + kv_head * d));
                StackedTarget {
                    prefix: prefix.filter(|_| p > 0).map(|to| at(to, sequence * p)),
                    own: own.map(|to| at(to, first)),
                    stride: kv_width,
                    prefix_rows: p,
                }
            };
            let (to_keys, to_values) = (target(dpk, dk), target(dpv, dv));
            let (weights, slopes) = (&mut scratch.0, &mut scratch.1);
            weights.resize(BLOCK.min(len) * (p + len), T::ZERO);
            slopes.resize(BLOCK.min(len) * (p + len), T::ZERO);

            for head in kv_head * group..(kv_head + 1) * group {
                for from in (0..len).step_by(BLOCK) {
                    let to = (from + BLOCK).min(len);
                    let near = reach(plan, to, len);
                    let (m, n) = (to - from, p + near);
                    let block = first + from..first + to;
                    let queries = head_of(qm, block.clone(), head, d);
                    let upstream = head_of(gm, block, head, d);
                    // SAFETY: the scratches hold m × n elements.
                    unsafe {
                        let near_keys = keys.near(near);
                        near_keys.scores(queries, scale, weights.as_mut_ptr());
                        if needs_slopes {
                            let near_values = values.near(near);
                            near_values.scores(upstream, T::ONE, slopes.as_mut_ptr());
                        }
                    }
                    let lines = weights[..m * n]
                        .chunks_exact_mut(n)
                        .zip(slopes[..m * n].chunks_exact_mut(n));
                    for (i, (scores, slopes)) in lines.enumerate() {
                        let at = first + from + i;
                        let columns = at * width + head * d..at * width + (head + 1) * d;
                        dispatch(Rows {
                            scores,
                            slopes,
                            seen: p + seen(plan, from + i, near),
                            lse: lse[head * rows + at],
                            grad: &grads[columns.clone()],
                            out: &outs[columns],
                            drop: drop_rule(plan, head, at),
                        });
                    }
                    let (weights, slopes) = (block_of(weights, m, n), block_of(slopes, m, n));
                    // SAFETY: as said at the targets; the sinks are zeroed.
                    unsafe {
                        to_values.add(weights, upstream, T::ONE);
                        to_keys.add(slopes, queries, scale);
                        if let Some(dq) = dq {
                            let dst = dq.at((first + from) * width + head * d);
                            keys.near(near).weighted(slopes, scale, dst, width);
                        }
                    }
                }
            }
        });
    let matrix = |data: Vec<T>, rows: usize, width: usize| wrap(data, Shape::new([rows, width]));
    let [prefix_k, prefix_v] = sinks
        .prefix
        .map(|sink| sink.map(|parts| matrix(summed(&parts, p * kv_width), p, kv_width)));
    [
        sinks.q.map(|data| matrix(data, rows, width)),
        sinks.keys.map(|data| matrix(data, rows, kv_width)),
        sinks.values.map(|data| matrix(data, rows, kv_width)),
        prefix_k,
        prefix_v,
    ]
}
