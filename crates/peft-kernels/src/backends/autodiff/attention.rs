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

impl<B: KernelGrads> Backward<B, 3> for Attention {
    /// Inputs, output, log-sum-exp.
    type State = ([NodeId; 3], FloatTensor<B>, FloatTensor<B>, AttentionPlan);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, out, lse, plan) = ops.state;
        let [q, k, v] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let nodes = ops.parents.map(|p| p.map(|n| n.id));
        let grad = grads.consume::<B>(&ops.node);
        let saved = AttentionSaved { q, k, v, out, lse };
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
    q: F<B, C>,
    k: F<B, C>,
    v: F<B, C>,
    plan: AttentionPlan,
) -> F<B, C> {
    match Attention
        .prepare::<C>([q.node(), k.node(), v.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let inputs = [&q, &k, &v].map(|x| prep.checkpoint(x));
            let [q, k, v] = [q, k, v].map(F::<B, C>::into_primitive);
            let (out, lse) = B::attention_saving(q, k, v, plan.clone());
            prep.finish((inputs, out.clone(), lse, plan), out)
        }
        OpsKind::UnTracked(prep) => {
            let [q, k, v] = [q, k, v].map(F::<B, C>::into_primitive);
            prep.finish(B::packed_attention(q, k, v, plan))
        }
    }
}
