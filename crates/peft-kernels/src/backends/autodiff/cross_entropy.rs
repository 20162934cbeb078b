use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::F;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct CrossEntropy;

impl<B: KernelGrads> Backward<B, 1> for CrossEntropy {
    type State = (NodeId, IntTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (logits, targets, lse) = ops.state;
        let logits = checkpointer.retrieve_node_output(logits);
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::cross_entropy_grad(logits, targets, lse, grad)
        });
    }
}

/// Keeps the logits, the targets and one number for each row.
pub fn cross_entropy<B: KernelGrads, C: CheckpointStrategy>(
    logits: F<B, C>,
    targets: IntTensor<B>,
) -> F<B, C> {
    match CrossEntropy
        .prepare::<C>([logits.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let id = prep.checkpoint(&logits);
            let (loss, lse) = B::cross_entropy_saving(logits.into_primitive(), targets.clone());
            prep.finish((id, targets, lse), loss)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(B::fused_cross_entropy(logits.into_primitive(), targets))
        }
    }
}
