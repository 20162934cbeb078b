//! The scan of Mamba-2, backward, by Burn's operations: the products of the chunks are computed anew from the inputs and the
//! states between chunks, and the gradients of those states go through the chunks of a sequence from its last.
//!
//! Within a chunk, with `E_t` and `W_s` the decays from its start to row `t` and from row `s` to its end, `D_ts` those between
//! rows, `x̃ = δ x`, `G_ts = C_t · B_s`, `M = G ∘ D`, the states `h` before it, the gradients `Λ` of those behind it and `g` of
//! its rows: `dx̃_s = Σ_t M_ts g_t + W_s Λ B_s`, `dG_ts = (g_t · x̃_s) D_ts`, `dC_t = Σ_s dG_ts B_s + E_t hᵀ g_t`,
//! `dB_s = Σ_t dG_ts C_t + W_s Λᵀ x̃_s`, `dh = E_q Λ + Σ_t E_t g_t C_tᵀ`. The logarithm `δ_r A` of a decay gets the sum of
//! `dG_ts G_ts` over all pairs `s < r ≤ t` that it lies between, where the states before the chunk and behind it count as a row
//! each: sums of the numbers, not differences of sums, which would lose the small ones.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

use super::ssd::{Chunks, Steps, Within, above, rates, skips};
use crate::{RowLayout, StateSpaceDual};

/// Gradients to the inputs, those that are wanted, in the order of the inputs.
pub struct SsdGrads {
    pub x: Option<Tensor<2>>,
    pub dt: Option<Tensor<2>>,
    pub a_log: Option<Tensor<1>>,
    pub b: Option<Tensor<2>>,
    pub c: Option<Tensor<2>>,
    pub skip: Option<Tensor<1>>,
    pub dt_bias: Option<Tensor<1>>,
    pub initial: Option<Tensor<4>>,
}

/// From the states before every chunk, and the gradients to the output and, if there is one, to the last states.
pub fn ssd_grads(
    inputs: &StateSpaceDual,
    before: Tensor<4>,
    grad: Tensor<2>,
    last: Option<Tensor<4>>,
    rows: &RowLayout,
    wanted: [bool; 8],
) -> SsdGrads {
    let [
        to_x,
        to_dt,
        to_a_log,
        to_b,
        to_c,
        to_skip,
        to_bias,
        to_initial,
    ] = wanted;
    let for_steps = to_dt || to_a_log || to_bias;
    let chunks = Chunks::new(rows);
    let steps = Steps::new(inputs);
    let within = Within::new(inputs, &chunks, steps.delta.clone());
    let ([heads, _, _], groups) = (within.sizes, inputs.groups);
    let mut upstream = chunks.of(grad.clone(), heads);
    if let Some(mask) = &within.mask {
        upstream = upstream * mask.clone();
    }
    let from_start = upstream.clone() * within.from_start.clone();

    let carried = to_x || for_steps || to_b || to_initial;
    let (after, first) = match carried {
        true => {
            let (after, first) = carried_back(&within, &chunks, from_start.clone(), last, &before);
            (Some(after), Some(first))
        }
        false => (None, None),
    };

    // [chunks, H, q, P]: through the states behind the chunk, and in all.
    let later = after
        .clone()
        .filter(|_| to_x || for_steps)
        .map(|after| within.b.clone().matmul(after.swap_dims(2, 3)) * within.to_end());
    let to_driven = later.clone().map(|later| {
        let products = within.scores.clone() * within.decays.clone();
        later + products.swap_dims(2, 3).matmul(upstream.clone())
    });
    // [chunks, H, t, s]
    let to_scores = (for_steps || to_b || to_c).then(|| {
        let pairs = upstream
            .clone()
            .matmul(within.driven.clone().swap_dims(2, 3));
        pairs * within.decays.clone()
    });
    // [chunks, G, t, s]
    let of_groups = to_scores.clone().filter(|_| to_b || to_c);
    let of_groups = of_groups.map(|to_scores| group_sums(to_scores, groups));
    // [chunks, H, q, N]
    let earlier = (for_steps || to_c).then(|| from_start.matmul(before.clone()));

    let mut found = SsdGrads {
        x: None,
        dt: None,
        a_log: None,
        b: None,
        c: None,
        skip: None,
        dt_bias: None,
        initial: first.filter(|_| to_initial),
    };
    if let (true, Some(of_groups), Some(after)) = (to_b, &of_groups, &after) {
        let own = of_groups.clone().swap_dims(2, 3);
        let own = own.matmul(chunks.of(inputs.c.clone(), groups));
        let later = (within.driven.clone() * within.to_end()).matmul(after.clone());
        found.b = Some(chunks.rows_of(own + group_sums(later, groups)));
    }
    if let (true, Some(of_groups), Some(earlier)) = (to_c, of_groups, &earlier) {
        let own = of_groups.matmul(chunks.of(inputs.b.clone(), groups));
        found.c = Some(chunks.rows_of(own + group_sums(earlier.clone(), groups)));
    }
    if let (true, Some(to_scores), Some(earlier), Some(later), Some(after)) =
        (for_steps, to_scores, earlier, later, after)
    {
        // [chunks, H, q, 1]
        let through_start = reverse_sums((within.c.clone() * earlier).sum_dim(3));
        let through_all = within.over() * (after * before).sum_dims(&[2, 3]);
        let through_end = (within.driven.clone() * later).sum_dim(3).swap_dims(2, 3);
        let between = reverse_sums(to_scores * within.scores.clone());
        let shape = between.dims();
        let outside = above(-1, shape, &between.device());
        let between = (between + through_end).mask_fill(outside, 0.0).sum_dim(3);
        let to_logs = chunks.rows_of(between + through_start + through_all);
        found.steps(inputs, &chunks, &steps, to_logs, to_driven.clone(), wanted);
    }
    if to_x {
        let through = to_driven.map(|to_driven| chunks.rows_of(to_driven * within.delta.clone()));
        found.x = through.map(|through| through + grad.clone() * skips(inputs));
    }
    if to_skip {
        let [t, width] = grad.dims();
        let products = (grad * inputs.x.clone()).reshape([t, heads, width / heads]);
        found.skip = Some(products.sum_dims_squeeze::<1, _>(&[0, 2]));
    }
    found
}

impl SsdGrads {
    /// Those of the steps, their bias and the rates, from the gradients to the logarithms of the decays, `[T, H]`, and to `δ x`.
    fn steps(
        &mut self,
        inputs: &StateSpaceDual,
        chunks: &Chunks<'_>,
        steps: &Steps,
        to_logs: Tensor<2>,
        to_driven: Option<Tensor<4>>,
        wanted: [bool; 8],
    ) {
        let [_, to_dt, to_a_log, _, _, _, to_bias, _] = wanted;
        let rates = rates(inputs);
        if to_a_log {
            let sums = (to_logs.clone() * steps.delta.clone()).sum_dim(0);
            self.a_log = Some(sums.squeeze_dim::<1>(0) * rates.clone());
        }
        let Some(to_driven) = to_driven.filter(|_| to_dt || to_bias) else {
            return;
        };
        let heads = to_driven.dims()[1];
        let along = (chunks.of(inputs.x.clone(), heads) * to_driven).sum_dim(3);
        let to_delta = to_logs * rates.unsqueeze::<2>() + chunks.rows_of(along);
        let mut slope = sigmoid(steps.raw.clone());
        let (least, most) = inputs.dt_limit;
        if least > 0.0 {
            slope = slope.mask_fill(steps.free.clone().lower_scalar(least), 0.0);
        }
        if most.is_finite() {
            slope = slope.mask_fill(steps.free.clone().greater_scalar(most), 0.0);
        }
        let to_raw = to_delta * slope;
        if to_bias {
            self.dt_bias = Some(to_raw.clone().sum_dim(0).squeeze_dim::<1>(0));
        }
        self.dt = to_dt.then_some(to_raw);
    }
}

/// The gradients of the states behind every chunk, `[chunks, H, P, N]`, and of those before the first of each sequence, from
/// `E ∘ g`, `[chunks, H, q, P]`.
fn carried_back(
    within: &Within,
    chunks: &Chunks<'_>,
    from_start: Tensor<4>,
    last: Option<Tensor<4>>,
    before: &Tensor<4>,
) -> (Tensor<4>, Tensor<4>) {
    let added = chunks.by_sequence(from_start.swap_dims(2, 3).matmul(within.c.clone()));
    let over = chunks.by_sequence(within.over());
    let mut carry = last.unwrap_or_else(|| Chunks::at(&added, 0).zeros_like());
    let mut after: Vec<Tensor<5>> = Vec::with_capacity(chunks.each);
    for chunk in (0..chunks.each).rev() {
        after.push(carry.clone().unsqueeze_dim(1));
        carry = Chunks::at(&over, chunk) * carry + Chunks::at(&added, chunk);
    }
    after.reverse();
    (Tensor::cat(after, 1).reshape(before.dims()), carry)
}

/// Sums over the heads of each group.
fn group_sums(x: Tensor<4>, groups: usize) -> Tensor<4> {
    let [count, heads, rows, columns] = x.dims();
    if heads == groups {
        return x;
    }
    x.reshape([count, groups, heads / groups, rows, columns])
        .sum_dim(2)
        .squeeze_dim(2)
}

/// Sums over each row and those behind it.
fn reverse_sums(x: Tensor<4>) -> Tensor<4> {
    x.flip([2]).cumsum(2).flip([2])
}
