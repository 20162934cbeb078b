//! What sequences start from, and go on from.

use burn::{Tensor, tensor::Device};
use peft_core::{AdapterContext, InitialState, Slot, kernels::RowLayout};

use super::conv::Conv1d;
use crate::PackedBatch;

/// Inputs of a convolution before the first row, and states, where there are any: zeros otherwise.
pub type Start<const D: usize> = [Option<Tensor<D>>; 2];

/// What convolution and scan give.
pub struct Spaced {
    /// The convolution's rows of channels behind its nonlinearity, `[rows, D]`.
    pub inner: Tensor<2>,
    /// `[rows, D]`
    pub y: Tensor<2>,
    /// What states are read by, `[rows, N]`, or `[rows, G · N]` in groups.
    pub c: Tensor<2>,
    /// The states behind the last rows, `[sequences, D, N]`.
    pub last: Tensor<3>,
}

/// The way of a batch's rows through convolution and scan of a block.
pub struct Passage<'a> {
    pub conv: &'a Conv1d,
    /// How many columns of the rows it convolves.
    pub convolved: usize,
    /// Of the convolution's inputs before the first row, of states, and of rows that come before all others.
    pub slots: [&'a Slot<InitialState>; 3],
    pub batch: &'a PackedBatch,
    pub depth: usize,
    pub context: &'a AdapterContext,
}

impl Passage<'_> {
    /// Rows through `space`, from what their sequences start from or go on from, which is kept anew where there is a cache.
    pub fn of(
        &self,
        rows: Tensor<2>,
        space: impl Fn(Tensor<2>, Start<3>, &RowLayout) -> Spaced,
    ) -> Spaced {
        let (batch, depth) = (self.batch, self.depth);
        let inputs = |rows: Tensor<2>, before, layout: &RowLayout| {
            let inputs = rows.narrow(1, 0, self.convolved);
            self.conv.inputs(inputs, before, layout)
        };
        let from = behind(batch, depth, || {
            of_slots(
                self.slots,
                &rows.device(),
                self.context,
                |rows, start, layout| {
                    let before = start[0].clone();
                    let last = space(rows.clone(), start, layout).last;
                    [inputs(rows, before, layout), last]
                },
            )
        });
        let before = from[0].clone();
        let spaced = space(rows.clone(), from, &batch.rows);
        batch.put_states(depth, || {
            [inputs(rows, before, &batch.rows), spaced.last.clone()]
        });
        spaced
    }
}

/// What each sequence of a batch goes on from, `[sequences, K − 1, channels]` and `[sequences, D, N]`: what its cache
/// holds, or what every sequence starts from.
fn behind(batch: &PackedBatch, depth: usize, start: impl Fn() -> Start<2>) -> Start<3> {
    match batch.states(depth, &start) {
        Some(known) => known.map(Some),
        None => start().map(|one| {
            one.map(|one| {
                let [a, b] = one.dims();
                one.reshape([1, a, b]).expand([batch.rows.len(), a, b])
            })
        }),
    }
}

/// What every sequence starts from, `[K − 1, channels]` and `[D, N]`: what the slots hold, and behind it the rows that
/// come before all others, through which `space` gives inputs and states on.
fn of_slots(
    [conv, states, affix]: [&Slot<InitialState>; 3],
    device: &Device,
    context: &AdapterContext,
    space: impl FnOnce(Tensor<2>, Start<3>, &RowLayout) -> [Tensor<3>; 2],
) -> Start<2> {
    let of = |slot: &Slot<InitialState>| slot.pass(InitialState { state: None }, context);
    let start = [of(conv), of(states)];
    let Some(rows) = of(affix) else {
        return start;
    };
    let layout = RowLayout::new(vec![0, rows.dims()[0]], device);
    let start = start.map(|one| one.map(|one| one.unsqueeze_dim(0)));
    space(rows, start, &layout).map(|one| Some(one.squeeze_dim(0)))
}
