use burn::backend::TensorMetadata;
use burn::backend::tensor::IntTensor;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::F;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct Gather;

impl<B: KernelGrads> Backward<B, 1> for Gather {
    /// The ids, and the rows of the table.
    type State = (IntTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (ids, entries) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::scatter_rows(grad, ids, entries)
        });
    }
}

/// Keeps the ids alone.
pub fn gathered_rows<B: KernelGrads, C: CheckpointStrategy>(
    table: F<B, C>,
    ids: IntTensor<B>,
) -> F<B, C> {
    match Gather
        .prepare::<C>([table.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => {
            let table = table.into_primitive();
            let entries = table.shape()[0];
            prep.finish((ids.clone(), entries), B::gathered_rows(table, ids))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::gathered_rows(table.into_primitive(), ids)),
    }
}
