use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::{AttentionPlan, AttentionSaved, KernelGrads};

#[derive(Debug)]
struct Attention;

impl<B: KernelGrads> Backward<B, 5> for Attention {
    /// Inputs, output, log-sum-exp.
    type State = ([NodeId; 5], FloatTensor<B>, FloatTensor<B>, AttentionPlan);

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, out, lse, plan) = ops.state;
        let [q, k, v, prefix_k, prefix_v] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let nodes = ops.parents.map(|p| p.map(|n| n.id));
        let grad = grads.consume::<B>(&ops.node);
        let saved = AttentionSaved {
            q,
            k,
            v,
            prefix_k,
            prefix_v,
            out,
            lse,
        };
        let wanted = nodes.map(|n| n.is_some());
        let found = B::attention_grads(saved, grad, plan, wanted);
        for (node, grad) in nodes.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node, grad);
            }
        }
    }
}

/// Keeps the inputs, the output and one number for each row and head.
pub fn attention<B: KernelGrads, C: CheckpointStrategy>(
    inputs: [F<B, C>; 5],
    plan: AttentionPlan,
) -> F<B, C> {
    match Attention
        .prepare::<C>(inputs.each_ref().map(F::<B, C>::node))
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let kept = inputs.each_ref().map(|x| prep.checkpoint(x));
            let inputs = inputs.map(F::<B, C>::into_primitive);
            let (out, lse) = B::attention_saving(inputs, plan.clone());
            prep.finish((kept, out.clone(), lse, plan), out)
        }
        OpsKind::UnTracked(prep) => {
            let [q, k, v, prefix_k, prefix_v] = inputs.map(F::<B, C>::into_primitive);
            prep.finish(B::packed_attention(q, k, v, prefix_k, prefix_v, plan))
        }
    }
}
