use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::{ConvPlan, KernelGrads};

#[derive(Debug)]
struct Conv;

impl<B: KernelGrads> Backward<B, 4> for Conv {
    /// Rows, weight and state.
    type State = ([NodeId; 3], ConvPlan);

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, plan) = ops.state;
        let inputs: [FloatTensor<B>; 3] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let nodes = ops.parents.map(|p| p.map(|n| n.id));
        let grad = grads.consume::<B>(&ops.node);
        let wanted = nodes.map(|n| n.is_some());
        let found = B::packed_conv_grads(inputs, grad, plan, wanted);
        for (node, grad) in nodes.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node, grad);
            }
        }
    }
}

/// Keeps the inputs.
pub fn packed_conv<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    weight: F<B, C>,
    bias: F<B, C>,
    state: F<B, C>,
    plan: ConvPlan,
) -> F<B, C> {
    let guards = [&x, &weight, &bias, &state].map(F::<B, C>::node);
    let forward = |[x, weight, bias, state]: [F<B, C>; 4], plan| {
        B::packed_conv(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            state.into_primitive(),
            plan,
        )
    };
    match Conv.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = [&x, &weight, &state].map(|x| prep.checkpoint(x));
            let y = forward([x, weight, bias, state], plan.clone());
            prep.finish((kept, plan), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward([x, weight, bias, state], plan)),
    }
}
