use burn::tensor::{Bool, Tensor};

use super::scan::softplus;
use crate::rows::indices;
use crate::{RowLayout, StateSpaceDual};

/// Rows of a chunk of the dual form's scan, at most.
const CHUNK: usize = 64;

/// How rows are cut: every sequence into equally many chunks, the last ones padded.
struct Chunks<'a> {
    rows: &'a RowLayout,
    /// Rows of a chunk.
    length: usize,
    /// Chunks of a sequence.
    each: usize,
}

impl<'a> Chunks<'a> {
    fn new(rows: &'a RowLayout) -> Self {
        let length = CHUNK.min(rows.max_len());
        let each = rows.max_len().div_ceil(length);
        Self { rows, length, each }
    }

    /// Chunks of all sequences.
    fn count(&self) -> usize {
        self.rows.len() * self.each
    }

    fn are_the_rows(&self) -> bool {
        self.count() * self.length == self.rows.rows()
    }

    /// `[T, parts · w]` to `[chunks, parts, length, w]`; padding repeats the last row of its sequence.
    fn of(&self, x: Tensor<2>, parts: usize) -> Tensor<4> {
        let w = x.dims()[1] / parts;
        let x = if self.are_the_rows() {
            x
        } else {
            let padded = self.each * self.length;
            let spans = self.rows.starts().windows(2);
            let order = spans.flat_map(|s| {
                let last = s[1] - 1;
                (0..padded).map(move |i| last.min(s[0] + i))
            });
            x.select(0, indices(order, self.rows.device()))
        };
        x.reshape([self.count(), self.length, parts, w])
            .swap_dims(1, 2)
    }

    /// Back to `[T, parts · w]`.
    fn rows_of(&self, x: Tensor<4>) -> Tensor<2> {
        let [count, parts, length, w] = x.dims();
        let x = x.swap_dims(1, 2).reshape([count * length, parts * w]);
        if self.are_the_rows() {
            return x;
        }
        let padded = self.each * self.length;
        let spans = self.rows.starts().windows(2).enumerate();
        let order =
            spans.flat_map(|(sequence, s)| (0..s[1] - s[0]).map(move |i| sequence * padded + i));
        x.select(0, indices(order, self.rows.device()))
    }

    /// 1 for rows, 0 for padding, `[chunks, 1, length, 1]`.
    fn mask(&self, like: &Tensor<2>) -> Tensor<4> {
        let padded = self.each * self.length;
        let spans = self.rows.starts().windows(2);
        let kept = spans.flat_map(|s| (0..padded).map(move |i| usize::from(i < s[1] - s[0])));
        indices(kept, self.rows.device())
            .float()
            .cast(like.dtype())
            .reshape([self.count(), 1, self.length, 1])
    }
}

/// [`ssd`](crate::ssd) by Burn's operations.
pub fn ssd(inputs: StateSpaceDual, rows: &RowLayout) -> (Tensor<2>, Tensor<4>) {
    let ([_, width], [heads], [_, wide]) = (inputs.x.dims(), inputs.a_log.dims(), inputs.b.dims());
    let (p, n, groups) = (width / heads, wide / inputs.groups, inputs.groups);
    let chunks = Chunks::new(rows);
    let (count, q) = (chunks.count(), chunks.length);
    let raw = match inputs.dt_bias {
        Some(bias) => inputs.dt + bias.unsqueeze::<2>(),
        None => inputs.dt,
    };
    let mut delta = softplus(raw);
    let (least, most) = inputs.dt_limit;
    if least > 0.0 {
        delta = delta.clamp_min(least);
    }
    if most.is_finite() {
        delta = delta.clamp_max(most);
    }
    let mask = (!chunks.are_the_rows()).then(|| chunks.mask(&delta));
    // [chunks, H, q, 1]
    let mut delta = chunks.of(delta, heads);
    if let Some(mask) = mask {
        // A step of length 0 leaves the states as they are.
        delta = delta * mask.expand([count, heads, q, 1]);
    }
    let x = chunks.of(inputs.x.clone(), heads) * delta.clone();
    let log_decay = delta * inputs.a_log.exp().neg().reshape([1, heads, 1, 1]);
    let for_heads = |x: Tensor<4>| {
        let [_, _, rows, columns] = x.dims();
        let share = heads / groups;
        x.reshape([count, groups, 1, rows, columns])
            .expand([count, groups, share, rows, columns])
            .reshape([count, heads, rows, columns])
    };
    let (b, c) = (chunks.of(inputs.b, groups), chunks.of(inputs.c, groups));
    let scores = for_heads(c.clone().matmul(b.clone().swap_dims(2, 3)));
    let (b, c) = (for_heads(b), for_heads(c));

    let decays = segment_decays(log_decay.clone());
    let own = (scores * decays.clone()).matmul(x.clone());
    // From each row to the end of its chunk, from its start to each row, and over all of it.
    let to_end = decays.narrow(2, q - 1, 1).swap_dims(2, 3);
    let from_start = log_decay.cumsum(2).exp();
    let over = from_start.clone().narrow(2, q - 1, 1);
    let added = (x * to_end).swap_dims(2, 3).matmul(b);

    let sequences = rows.len();
    let by_sequence = |x: Tensor<4>| -> Tensor<5> {
        let [_, _, rows, columns] = x.dims();
        x.reshape([sequences, chunks.each, heads, rows, columns])
    };
    let (added, over) = (by_sequence(added), by_sequence(over));
    let mut state = match inputs.initial {
        Some(initial) => initial,
        None => Tensor::zeros(
            [sequences, heads, p, n],
            (&inputs.x.device(), inputs.x.dtype()),
        ),
    };
    let mut before: Vec<Tensor<5>> = Vec::with_capacity(chunks.each);
    for chunk in 0..chunks.each {
        before.push(state.clone().unsqueeze_dim(1));
        let at = |x: &Tensor<5>| -> Tensor<4> { x.clone().narrow(1, chunk, 1).squeeze_dim(1) };
        state = at(&over) * state + at(&added);
    }
    let before = Tensor::cat(before, 1).reshape([count, heads, p, n]);
    let earlier = c.matmul(before.swap_dims(2, 3)) * from_start;
    let y = chunks.rows_of(own + earlier);
    let skip = inputs
        .skip
        .reshape([heads, 1])
        .expand([heads, p])
        .reshape([1, width]);
    (y + inputs.x * skip, state)
}

/// `exp(Σ_{s < r ≤ t} l_r)` for `s ≤ t`, 0 otherwise, `[…, t, s]`, from `l`, `[chunks, H, q, 1]`: sums of the numbers between,
/// not differences of sums, which would lose the small ones.
fn segment_decays(log: Tensor<4>) -> Tensor<4> {
    let [count, heads, q, _] = log.dims();
    let shape = [count, heads, q, q];
    let device = log.device().without_autodiff();
    let below = |offset: i64| -> Tensor<4, Bool> {
        Tensor::<2, Bool>::tril_mask([q, q], offset, &device)
            .reshape([1, 1, q, q])
            .expand(shape)
    };
    // Masks are true outside of the triangle.
    log.expand(shape)
        .mask_fill(below(-1), 0.0)
        .cumsum(2)
        .mask_fill(below(0), f32::NEG_INFINITY)
        .exp()
}
