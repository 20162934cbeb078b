//! Attention over packed rows, backward: the weights are computed anew, block by block, from the
//! log-sum-exp.
//!
//! With `P` the weights, `M` the dropout mask times its scale and `O` the output, for each head of
//! each sequence: `D = rowsum(dO ∘ O)`, `dV += (P ∘ M)ᵀ dO`, `dP = (dO Vᵀ) ∘ M`,
//! `dS = P ∘ (dP − D)`, `dQ = scale · dS K`, `dK += scale · dSᵀ Q`. With a prefix, `K` and `V` begin with
//! its rows. Where scores are bounded by `c`, with `u = tanh(s / c)`: `dS = P ∘ (dP − D) ∘ (1 − u²)`.

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::attention::{BLOCK, Columns, Sequence, block_of, drop_rule};
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
    columns: Columns,
    cap: Option<T>,
    lse: T,
    grad: &'a [T],
    out: &'a [T],
    drop: Option<(Keep, T)>,
}

impl<T: Real> Kernel for Rows<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let columns = &self.columns;
        let scores = &mut self.scores[..columns.seen.end];
        let slopes = &mut self.slopes[..columns.seen.end];
        let dot = sum2(self.grad, self.out, |g, o| g * o);
        if let Some(cap) = self.cap {
            let inverse = T::ONE / cap;
            for (j, (s, ds)) in scores.iter_mut().zip(slopes.iter_mut()).enumerate() {
                let factor = match self.drop {
                    None => T::ONE,
                    Some((rule, scale)) if rule.at(columns.key(j)) => scale,
                    Some(_) => T::ZERO,
                };
                let u = (*s * inverse).hyperbolic_tangent::<FMA>();
                let p = (cap * u - self.lse).exponential::<FMA>();
                *ds = p * (*ds * factor - dot) * (T::ONE - u * u);
                *s = p * factor;
            }
        } else {
            for (s, ds) in scores.iter_mut().zip(slopes.iter_mut()) {
                *s = (*s - self.lse).exponential::<FMA>();
                if self.drop.is_none() {
                    *ds = *s * (*ds - dot);
                }
            }
            if let Some((rule, scale)) = self.drop {
                for (j, (s, ds)) in scores.iter_mut().zip(slopes.iter_mut()).enumerate() {
                    let factor = if rule.at(columns.key(j)) {
                        scale
                    } else {
                        T::ZERO
                    };
                    *ds = *s * (*ds * factor - dot);
                    *s = *s * factor;
                }
            }
        }
        if columns.count() == 1 {
            // Softmax over one key is constant: the difference is rounding alone.
            slopes.fill(T::ZERO);
        }
        columns.hide(self.scores, T::ZERO);
        columns.hide(self.slopes, T::ZERO);
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
    let (rows, key_rows, width, p) = (qm.rows, km.rows, qm.cols, pk.rows);
    let (d, group) = (width / plan.heads, plan.heads / plan.kv_heads);
    let kv_width = plan.kv_heads * d;
    let (scale, cap) = (T::of(plan.scale), plan.softcap.map(T::of));
    let sequences = plan.starts.len() - 1;

    let zeros = |wanted: bool, n: usize| wanted.then(|| vec![T::ZERO; n]);
    let mut sinks = Sinks {
        q: zeros(wanted[0], rows * width),
        keys: zeros(wanted[1], key_rows * kv_width),
        values: zeros(wanted[2], key_rows * kv_width),
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
            let (index, kv_head) = (task / plan.kv_heads, task % plan.kv_heads);
            let sequence = Sequence::of(plan, index);
            let (first, len) = (sequence.queries.start, sequence.queries.len());
            let rows_of = &sequence.keys;
            let keys = Stacked::head(pk, km, rows_of.clone(), kv_head, d);
            let values = Stacked::head(pv, vm, rows_of.clone(), kv_head, d);
            // SAFETY: the columns of a head in the rows of a sequence, and in its copy of the
            // prefix, lie inside of the sinks and belong to the task of their key head alone.
            let target = |prefix: Option<Target<T>>, own: Option<Target<T>>| unsafe {
                let at = |to: Target<T>, row: usize| Target(to.at(row * kv_width + kv_head * d));
                StackedTarget {
                    prefix: prefix.filter(|_| p > 0).map(|to| at(to, index * p)),
                    own: own.map(|to| at(to, rows_of.start)),
                    stride: kv_width,
                    prefix_rows: p,
                }
            };
            let (to_keys, to_values) = (target(dpk, dk), target(dpv, dv));
            let (weights, slopes) = (&mut scratch.0, &mut scratch.1);
            let room = BLOCK.min(len) * (p + rows_of.len());
            weights.resize(room, T::ZERO);
            slopes.resize(room, T::ZERO);

            for head in kv_head * group..(kv_head + 1) * group {
                for from in (0..len).step_by(BLOCK) {
                    let to = (from + BLOCK).min(len);
                    let near = sequence.reach(plan, from..to);
                    let (m, n) = (to - from, p + near.len());
                    let block = first + from..first + to;
                    let queries = head_of(qm, block.clone(), head, d);
                    let upstream = head_of(gm, block, head, d);
                    // SAFETY: the scratches hold m × n elements.
                    unsafe {
                        let near_keys = keys.near(near.clone());
                        near_keys.scores(queries, scale, weights.as_mut_ptr());
                        if needs_slopes {
                            let near_values = values.near(near.clone());
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
                            columns: sequence.columns(plan, from + i, &near, p),
                            cap,
                            lse: lse[head * rows + at],
                            grad: &grads[columns.clone()],
                            out: &outs[columns],
                            drop: drop_rule(plan, head, at),
                        });
                    }
                    let (weights, slopes) = (block_of(weights, m, n), block_of(slopes, m, n));
                    // SAFETY: as said at the targets; the sinks are zeroed.
                    unsafe {
                        let (to_values, to_keys) = (
                            to_values.after_rows(near.start),
                            to_keys.after_rows(near.start),
                        );
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
        sinks.keys.map(|data| matrix(data, key_rows, kv_width)),
        sinks.values.map(|data| matrix(data, key_rows, kv_width)),
        prefix_k,
        prefix_v,
    ]
}
