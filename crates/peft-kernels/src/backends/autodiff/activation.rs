use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::F;
use crate::Activation as Kind;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct Activation;

impl<B: KernelGrads> Backward<B, 1> for Activation {
    type State = (NodeId, Kind);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (x, kind) = ops.state;
        let x = checkpointer.retrieve_node_output(x);
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::activation_grad(x, grad, kind)
        });
    }
}

/// Keeps the input.
pub fn activation<B: KernelGrads, C: CheckpointStrategy>(x: F<B, C>, kind: Kind) -> F<B, C> {
    let prep = Activation.prepare::<C>([x.node()]);
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), kind);
            prep.finish(state, B::fused_activation(x.into_primitive(), kind))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::fused_activation(x.into_primitive(), kind)),
    }
}

#[derive(Debug)]
struct BiasActivation;

impl<B: KernelGrads> Backward<B, 2> for BiasActivation {
    type State = ([NodeId; 2], Kind);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, kind) = ops.state;
        let [x, bias] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let [to_x, to_bias] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let to_sum = B::bias_activation_grad(x, bias, grad, kind);
        if let Some(node) = to_bias {
            grads.register::<B>(node.id, B::column_sums(to_sum.clone()));
        }
        if let Some(node) = to_x {
            grads.register::<B>(node.id, to_sum);
        }
    }
}

/// Keeps the inputs.
pub fn bias_activation<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    bias: F<B, C>,
    kind: Kind,
) -> F<B, C> {
    let forward = |x: F<B, C>, bias: F<B, C>| {
        B::fused_bias_activation(x.into_primitive(), bias.into_primitive(), kind)
    };
    let prep = BiasActivation.prepare::<C>([x.node(), bias.node()]);
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let inputs = [&x, &bias].map(|x| prep.checkpoint(x));
            prep.finish((inputs, kind), forward(x, bias))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x, bias)),
    }
}

#[derive(Debug)]
struct Gated;

impl<B: KernelGrads> Backward<B, 2> for Gated {
    type State = ([NodeId; 2], Kind);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, kind) = ops.state;
        let [gate, up] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let grad = grads.consume::<B>(&ops.node);
        let (to_gate, to_up) = B::gated_grads(gate, up, grad, kind);
        for (node, grad) in ops.parents.into_iter().zip([to_gate, to_up]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// Keeps the inputs.
pub fn gated<B: KernelGrads, C: CheckpointStrategy>(
    gate: F<B, C>,
    up: F<B, C>,
    kind: Kind,
) -> F<B, C> {
    let forward = |gate: F<B, C>, up: F<B, C>| {
        B::fused_gated(gate.into_primitive(), up.into_primitive(), kind)
    };
    let prep = Gated.prepare::<C>([gate.node(), up.node()]);
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let inputs = [&gate, &up].map(|x| prep.checkpoint(x));
            prep.finish((inputs, kind), forward(gate, up))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(gate, up)),
    }
}
