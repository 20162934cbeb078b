use burn::tensor::{Bool, Device, Tensor};

use super::scan::softplus;
use crate::rows::indices;
use crate::{RowLayout, StateSpaceDual};

/// Rows of a chunk of the dual form's scan, at most.
const CHUNK: usize = 64;

/// How rows are cut: every sequence into equally many chunks, the last ones padded.
pub(super) struct Chunks<'a> {
    rows: &'a RowLayout,
    /// Rows of a chunk.
    length: usize,
    /// Chunks of a sequence.
    pub each: usize,
}

impl<'a> Chunks<'a> {
    pub fn new(rows: &'a RowLayout) -> Self {
        let length = CHUNK.min(rows.max_len());
        let each = rows.max_len().div_ceil(length);
        Self { rows, length, each }
    }

    /// Chunks of all sequences.
    pub fn count(&self) -> usize {
        self.rows.len() * self.each
    }

    fn are_the_rows(&self) -> bool {
        self.count() * self.length == self.rows.rows()
    }

    /// `[T, parts · w]` to `[chunks, parts, length, w]`; padding repeats the last row of its sequence.
    pub fn of(&self, x: Tensor<2>, parts: usize) -> Tensor<4> {
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
    pub fn rows_of(&self, x: Tensor<4>) -> Tensor<2> {
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

    /// `[chunks, …]` to `[sequences, chunks of one, …]`.
    pub fn by_sequence(&self, x: Tensor<4>) -> Tensor<5> {
        let [_, heads, rows, columns] = x.dims();
        x.reshape([self.rows.len(), self.each, heads, rows, columns])
    }

    /// A chunk of every sequence.
    pub fn at(x: &Tensor<5>, chunk: usize) -> Tensor<4> {
        x.clone().narrow(1, chunk, 1).squeeze_dim(1)
    }
}

/// [`ssd`](crate::ssd) by Burn's operations, forward and, on the backends of this crate's features, backward.
pub fn ssd(inputs: StateSpaceDual, rows: &RowLayout) -> (Tensor<2>, Tensor<4>) {
    #[cfg(any(feature = "flex", feature = "ndarray", feature = "cubecl"))]
    if crate::backends::dual::is_known(&inputs.x.device()) {
        return crate::backends::dual::routed(inputs, rows, false);
    }
    let scanned = scanned(&inputs, rows);
    (scanned.y, scanned.last)
}

/// What the scan gives.
pub struct Scanned {
    /// `[T, H·P]`.
    pub y: Tensor<2>,
    /// The states behind the last row of each sequence, `[sequences, H, P, N]`.
    pub last: Tensor<4>,
    /// The states before every chunk, `[chunks, H, P, N]`.
    pub before: Tensor<4>,
}

/// The scan, which Burn can differentiate.
pub fn scanned(inputs: &StateSpaceDual, rows: &RowLayout) -> Scanned {
    let chunks = Chunks::new(rows);
    let steps = Steps::new(inputs);
    let within = Within::new(inputs, &chunks, steps.delta);
    let [heads, p, n] = within.sizes;

    let own = (within.scores.clone() * within.decays.clone()).matmul(within.driven.clone());
    let over = within.over();
    let added = (within.driven.clone() * within.to_end())
        .swap_dims(2, 3)
        .matmul(within.b.clone());

    let (added, over) = (chunks.by_sequence(added), chunks.by_sequence(over));
    let mut state = match &inputs.initial {
        Some(initial) => initial.clone(),
        None => Tensor::zeros(
            [rows.len(), heads, p, n],
            (&inputs.x.device(), inputs.x.dtype()),
        ),
    };
    let mut before: Vec<Tensor<5>> = Vec::with_capacity(chunks.each);
    for chunk in 0..chunks.each {
        before.push(state.clone().unsqueeze_dim(1));
        state = Chunks::at(&over, chunk) * state + Chunks::at(&added, chunk);
    }
    let before = Tensor::cat(before, 1).reshape([chunks.count(), heads, p, n]);
    let earlier = within.c.clone().matmul(before.clone().swap_dims(2, 3)) * within.from_start;
    let y = chunks.rows_of(own + earlier);
    Scanned {
        y: y + inputs.x.clone() * skips(inputs),
        last: state,
        before,
    }
}

/// The factor of every channel's input in its output, `[1, H·P]`.
pub(super) fn skips(inputs: &StateSpaceDual) -> Tensor<2> {
    let ([heads], [_, width]) = (inputs.skip.dims(), inputs.x.dims());
    (inputs.skip.clone())
        .reshape([heads, 1])
        .expand([heads, width / heads])
        .reshape([1, width])
}

/// The steps of all rows and heads, `[T, H]`.
pub(super) struct Steps {
    /// Before the softplus.
    pub raw: Tensor<2>,
    /// Behind the softplus, without bounds.
    pub free: Tensor<2>,
    /// Within the bounds.
    pub delta: Tensor<2>,
}

impl Steps {
    pub fn new(inputs: &StateSpaceDual) -> Self {
        let raw = match &inputs.dt_bias {
            Some(bias) => inputs.dt.clone() + bias.clone().unsqueeze::<2>(),
            None => inputs.dt.clone(),
        };
        let free = softplus(raw.clone());
        let (least, most) = inputs.dt_limit;
        let mut delta = free.clone();
        if least > 0.0 {
            delta = delta.clamp_min(least);
        }
        if most.is_finite() {
            delta = delta.clamp_max(most);
        }
        Self { raw, free, delta }
    }
}

/// What the rows of a chunk are to each other, all `[chunks, H, …]`.
pub(super) struct Within {
    /// Heads, channels of a head, states.
    pub sizes: [usize; 3],
    /// 0 for padding and 1 for rows, `[chunks, 1, q, 1]`, if there is padding.
    pub mask: Option<Tensor<4>>,
    /// Steps, 0 for padding, `[…, q, 1]`.
    pub delta: Tensor<4>,
    /// `δ x`, `[…, q, P]`.
    pub driven: Tensor<4>,
    /// `B` of a group's heads, `[…, q, N]`.
    pub b: Tensor<4>,
    /// `C` likewise.
    pub c: Tensor<4>,
    /// `C_t · B_s`, `[…, t, s]`.
    pub scores: Tensor<4>,
    /// From row `s` to row `t`, `[…, t, s]`; 0 for `s > t`.
    pub decays: Tensor<4>,
    /// From the start of the chunk to each row, `[…, q, 1]`.
    pub from_start: Tensor<4>,
}

impl Within {
    pub fn new(inputs: &StateSpaceDual, chunks: &Chunks<'_>, delta: Tensor<2>) -> Self {
        let ([_, width], [heads]) = (inputs.x.dims(), inputs.a_log.dims());
        let (count, q, groups) = (chunks.count(), chunks.length, inputs.groups);
        let mask = (!chunks.are_the_rows()).then(|| chunks.mask(&delta));
        let mut delta = chunks.of(delta, heads);
        if let Some(mask) = &mask {
            // A step of length 0 leaves the states as they are.
            delta = delta * mask.clone().expand([count, heads, q, 1]);
        }
        let driven = chunks.of(inputs.x.clone(), heads) * delta.clone();
        let log_decay = delta.clone() * rates(inputs).reshape([1, heads, 1, 1]);
        let (b, c) = (
            chunks.of(inputs.b.clone(), groups),
            chunks.of(inputs.c.clone(), groups),
        );
        let scores = for_heads(c.clone().matmul(b.clone().swap_dims(2, 3)), heads);
        let (b, c) = (for_heads(b, heads), for_heads(c, heads));
        Self {
            sizes: [heads, width / heads, b.dims()[3]],
            mask,
            delta,
            driven,
            b,
            c,
            scores,
            decays: segment_decays(log_decay.clone()),
            from_start: log_decay.cumsum(2).exp(),
        }
    }

    /// Decays from each row to the end of its chunk, `[…, q, 1]`.
    pub fn to_end(&self) -> Tensor<4> {
        let q = self.decays.dims()[2];
        self.decays.clone().narrow(2, q - 1, 1).swap_dims(2, 3)
    }

    /// Decays over whole chunks, `[…, 1, 1]`.
    pub fn over(&self) -> Tensor<4> {
        let q = self.from_start.dims()[2];
        self.from_start.clone().narrow(2, q - 1, 1)
    }
}

/// `A`, `[H]`.
pub(super) fn rates(inputs: &StateSpaceDual) -> Tensor<1> {
    inputs.a_log.clone().exp().neg()
}

/// What belongs to groups, for each of their heads.
fn for_heads(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [count, groups, rows, columns] = x.dims();
    x.reshape([count, groups, 1, rows, columns])
        .expand([count, groups, heads / groups, rows, columns])
        .reshape([count, heads, rows, columns])
}

/// The mask of what is on or below a diagonal: true outside.
pub(super) fn above(offset: i64, shape: [usize; 4], device: &Device) -> Tensor<4, Bool> {
    let [_, _, rows, columns] = shape;
    Tensor::<2, Bool>::tril_mask([rows, columns], offset, device)
        .reshape([1, 1, rows, columns])
        .expand(shape)
}

/// `exp(Σ_{s < r ≤ t} l_r)` for `s ≤ t`, 0 otherwise, `[…, t, s]`, from `l`, `[chunks, H, q, 1]`: sums of the numbers between,
/// not differences of sums, which would lose the small ones.
fn segment_decays(log: Tensor<4>) -> Tensor<4> {
    let [count, heads, q, _] = log.dims();
    let shape = [count, heads, q, q];
    let device = log.device().without_autodiff();
    log.expand(shape)
        .mask_fill(above(-1, shape, &device), 0.0)
        .cumsum(2)
        .mask_fill(above(0, shape, &device), f32::NEG_INFINITY)
        .exp()
}
