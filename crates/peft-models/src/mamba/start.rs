//! What sequences start from, and go on from.

use burn::{Tensor, tensor::Device};
use peft_core::{AdapterContext, InitialState, Slot, kernels::RowLayout};

use crate::PackedBatch;

/// Inputs of a convolution before the first row, and states, where there are any: zeros otherwise.
pub type Start<const D: usize> = [Option<Tensor<D>>; 2];

/// What each sequence of a batch goes on from, `[sequences, K − 1, channels]` and `[sequences, D, N]`: what its cache
/// holds, or what every sequence starts from.
pub fn behind(batch: &PackedBatch, depth: usize, start: impl Fn() -> Start<2>) -> Start<3> {
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
pub fn of_slots(
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
