use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::F;
use crate::Dropout;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct KeyedDropout;

impl<B: KernelGrads> Backward<B, 1> for KeyedDropout {
    type State = Dropout;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::keyed_dropout(grad, ops.state)
        });
    }
}

/// Keeps the key.
pub fn dropout<B: KernelGrads, C: CheckpointStrategy>(x: F<B, C>, dropout: Dropout) -> F<B, C> {
    let prep = KeyedDropout
        .prepare::<C>([x.node()])
        .compute_bound()
        .stateful();
    let y = B::keyed_dropout(x.into_primitive(), dropout);
    match prep {
        OpsKind::Tracked(prep) => prep.finish(dropout, y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}
