//! Attention over packed rows, backward: the weights are computed anew, block by block, from the
//! log-sum-exp.
//!
//! With `P` the weights, `M` the dropout mask times its scale and `O` the output, for each head of
//! each sequence: `D = rowsum(dO ∘ O)`, `dV += (P ∘ M)ᵀ dO`, `dP = (dO Vᵀ) ∘ M`,
//! `dS = P ∘ (dP − D)`, `dQ = scale · dS K`, `dK += scale · dSᵀ Q`.

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::attention::{BLOCK, block_of, block_product, head_of, reach, seen};
use super::lanes::sum2;
use super::matmul::Start;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Matrix, Target, contiguous, elements, wrap};
use crate::ops::{AttentionPlan, AttentionSaved};
use crate::{Keep, attention_keep};

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

/// Gradients to `q`, `k` and `v`, those asked for.
pub fn attention_grads<T: Real>(
    saved: &AttentionSaved<Flex>,
    grad: &FlexTensor,
    plan: &AttentionPlan,
    wanted: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let (qm, km, vm) = (
        Matrix::<T>::of(&saved.q),
        Matrix::<T>::of(&saved.k),
        Matrix::<T>::of(&saved.v),
    );
    let (grad, out) = (contiguous(grad), contiguous(&saved.out));
    let gm = Matrix::<T>::of(&grad);
    let (grads, outs, lse) = (
        elements::<T>(&grad),
        elements::<T>(&out),
        elements::<T>(&saved.lse),
    );
    let (rows, width) = (qm.rows, qm.cols);
    let (d, group) = (width / plan.heads, plan.heads / plan.kv_heads);
    let kv_width = plan.kv_heads * d;
    let scale = T::of(plan.scale);

    let mut sinks = [
        (wanted[0], width),
        (wanted[1], kv_width),
        (wanted[2], kv_width),
    ]
    .map(|(wanted, width)| wanted.then(|| vec![T::ZERO; rows * width]));
    let [dq, dk, dv] = sinks
        .each_mut()
        .map(|s| s.as_mut().map(|s| Target(s.as_mut_ptr())));
    let needs_slopes = wanted[0] || wanted[1];

    // One task for each key head, not query head: the query heads of a group add to the same keys,
    // in order.
    let tasks = (plan.starts.len() - 1) * plan.kv_heads;
    (0..tasks).into_par_iter().for_each_init(
        Default::default,
        |scratch: &mut (Vec<T>, Vec<T>), task| {
            let (sequence, kv_head) = (task / plan.kv_heads, task % plan.kv_heads);
            let (first, end) = (plan.starts[sequence], plan.starts[sequence + 1]);
            let len = end - first;
            let keys = head_of(km, first..end, kv_head, d);
            let values = head_of(vm, first..end, kv_head, d);
            let (weights, slopes) = (&mut scratch.0, &mut scratch.1);
            weights.resize(BLOCK.min(len) * len, T::ZERO);
            slopes.resize(BLOCK.min(len) * len, T::ZERO);

            for head in kv_head * group..(kv_head + 1) * group {
                for from in (0..len).step_by(BLOCK) {
                    let to = (from + BLOCK).min(len);
                    let (m, n) = (to - from, reach(plan, to, len));
                    let block = first + from..first + to;
                    let queries = head_of(qm, block.clone(), head, d);
                    let upstream = head_of(gm, block, head, d);
                    let (near_keys, near_values) =
                        (Matrix { rows: n, ..keys }, Matrix { rows: n, ..values });
                    // SAFETY: the scratches hold m × n elements.
                    unsafe {
                        block_product(
                            weights.as_mut_ptr(),
                            n,
                            Start::Zero,
                            queries,
                            near_keys.transposed(),
                            scale,
                        );
                        if needs_slopes {
                            block_product(
                                slopes.as_mut_ptr(),
                                n,
                                Start::Zero,
                                upstream,
                                near_values.transposed(),
                                T::ONE,
                            );
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
                            seen: seen(plan, from + i, n),
                            lse: lse[head * rows + at],
                            grad: &grads[columns.clone()],
                            out: &outs[columns],
                            drop: plan.dropout.map(|o| {
                                (
                                    attention_keep(o.key, head, at, o.probability),
                                    T::of(o.scale()),
                                )
                            }),
                        });
                    }
                    let (weights, slopes) = (block_of(weights, m, n), block_of(slopes, m, n));
                    let kv_at = first * kv_width + kv_head * d;
                    // SAFETY: the columns of a head in the rows of a sequence belong to the task
                    // of its key head alone, and the sinks are zeroed.
                    unsafe {
                        if let Some(dv) = dv {
                            block_product(
                                dv.at(kv_at),
                                kv_width,
                                Start::Output,
                                weights.transposed(),
                                upstream,
                                T::ONE,
                            );
                        }
                        if let Some(dk) = dk {
                            block_product(
                                dk.at(kv_at),
                                kv_width,
                                Start::Output,
                                slopes.transposed(),
                                queries,
                                scale,
                            );
                        }
                        if let Some(dq) = dq {
                            let q_at = (first + from) * width + head * d;
                            block_product(
                                dq.at(q_at),
                                width,
                                Start::Zero,
                                slopes,
                                near_keys,
                                scale,
                            );
                        }
                    }
                }
            }
        },
    );
    let mut widths = [width, kv_width, kv_width].into_iter();
    sinks.map(|sink| {
        let width = widths.next().expect("three");
        sink.map(|data| wrap(data, Shape::new([rows, width])))
    })
}
