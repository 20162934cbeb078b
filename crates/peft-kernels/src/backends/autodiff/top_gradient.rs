use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::F;
use crate::TopGradient;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct KeptGradient;

impl<B: KernelGrads> Backward<B, 1> for KeptGradient {
    type State = TopGradient;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::largest_only(grad, ops.state)
        });
    }
}

/// Keeps the rule.
pub fn kept_gradient<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    rule: TopGradient,
) -> F<B, C> {
    let prep = KeptGradient
        .prepare::<C>([x.node()])
        .compute_bound()
        .stateful();
    let y = x.into_primitive();
    match prep {
        OpsKind::Tracked(prep) => prep.finish(rule, y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}
