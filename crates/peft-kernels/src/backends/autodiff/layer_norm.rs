use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct LayerNorm;

impl<B: KernelGrads> Backward<B, 3> for LayerNorm {
    type State = (NodeId, NodeId, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (x, gamma, eps) = ops.state;
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
        let gamma: FloatTensor<B> = checkpointer.retrieve_node_output(gamma);
        let [to_x, to_gamma, to_beta] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if to_gamma.is_some() || to_beta.is_some() {
            let (dgamma, dbeta) = B::layer_norm_param_grads(x.clone(), grad.clone(), eps);
            to_gamma
                .into_iter()
                .for_each(|n| grads.register::<B>(n.id, dgamma.clone()));
            to_beta
                .into_iter()
                .for_each(|n| grads.register::<B>(n.id, dbeta.clone()));
        }
        if let Some(node) = to_x {
            grads.register::<B>(node.id, B::layer_norm_grad(x, gamma, grad, eps));
        }
    }
}

/// Keeps the input and gamma.
pub fn plain<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    gamma: F<B, C>,
    beta: F<B, C>,
    eps: f64,
) -> F<B, C> {
    let forward = |x: F<B, C>, gamma: F<B, C>, beta: F<B, C>| {
        B::fused_layer_norm(
            x.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            eps,
        )
    };
    match LayerNorm
        .prepare::<C>([x.node(), gamma.node(), beta.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), prep.checkpoint(&gamma), eps);
            prep.finish(state, forward(x, gamma, beta))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x, gamma, beta)),
    }
}

#[derive(Debug)]
struct AddLayerNorm;

impl<B: KernelGrads> Backward<B, 4> for AddLayerNorm {
    type State = (FloatTensor<B>, NodeId, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (sum, gamma, eps) = ops.state;
        let gamma: FloatTensor<B> = checkpointer.retrieve_node_output(gamma);
        let [to_x, to_residual, to_gamma, to_beta] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if to_gamma.is_some() || to_beta.is_some() {
            let (dgamma, dbeta) = B::layer_norm_param_grads(sum.clone(), grad.clone(), eps);
            to_gamma
                .into_iter()
                .for_each(|n| grads.register::<B>(n.id, dgamma.clone()));
            to_beta
                .into_iter()
                .for_each(|n| grads.register::<B>(n.id, dbeta.clone()));
        }
        if to_x.is_some() || to_residual.is_some() {
            // Both summands get the same gradient.
            let dx = B::layer_norm_grad(sum, gamma, grad, eps);
            to_x.into_iter()
                .for_each(|n| grads.register::<B>(n.id, dx.clone()));
            to_residual
                .into_iter()
                .for_each(|n| grads.register::<B>(n.id, dx.clone()));
        }
    }
}

/// Keeps the sum and gamma.
pub fn of_sum<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    residual: F<B, C>,
    gamma: F<B, C>,
    beta: F<B, C>,
    eps: f64,
) -> F<B, C> {
    let guards = [x.node(), residual.node(), gamma.node(), beta.node()];
    match AddLayerNorm.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let gamma_id = prep.checkpoint(&gamma);
            let (y, sum) = B::add_layer_norm_saving(
                x.into_primitive(),
                residual.into_primitive(),
                gamma.into_primitive(),
                beta.into_primitive(),
                eps,
            );
            prep.finish((sum, gamma_id, eps), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::fused_add_layer_norm(
            x.into_primitive(),
            residual.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            eps,
        )),
    }
}
