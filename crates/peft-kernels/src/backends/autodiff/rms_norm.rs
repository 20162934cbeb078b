use burn::backend::tensor::FloatTensor;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct RmsNorm;

impl<B: KernelGrads> Backward<B, 2> for RmsNorm {
    type State = ([NodeId; 2], f64);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, eps) = ops.state;
        let [x, gamma]: [FloatTensor<B>; 2] =
            inputs.map(|id| checkpointer.retrieve_node_output(id));
        let [to_x, to_gamma] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = to_gamma {
            let dgamma = B::rms_norm_gamma_grad(x.clone(), grad.clone(), eps);
            grads.register::<B>(node.id, dgamma);
        }
        if let Some(node) = to_x {
            grads.register::<B>(node.id, B::rms_norm_grad(x, gamma, grad, eps));
        }
    }
}

/// The graph's node of a norm that `forward` computes. Keeps the inputs.
fn node<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    gamma: F<B, C>,
    eps: f64,
    forward: impl FnOnce(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
) -> F<B, C> {
    let prep = RmsNorm.prepare::<C>([x.node(), gamma.node()]);
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let inputs = [&x, &gamma].map(|x| prep.checkpoint(x));
            prep.finish(
                (inputs, eps),
                forward(x.into_primitive(), gamma.into_primitive()),
            )
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(forward(x.into_primitive(), gamma.into_primitive()))
        }
    }
}

/// Keeps the inputs.
pub fn rms_norm<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    gamma: F<B, C>,
    eps: f64,
) -> F<B, C> {
    node::<B, C>(x, gamma, eps, |x, gamma| B::fused_rms_norm(x, gamma, eps))
}

#[derive(Debug)]
struct Sum;

impl<B: KernelGrads> Backward<B, 2> for Sum {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        for node in ops.parents.into_iter().flatten() {
            grads.register::<B>(node.id, grad.clone());
        }
    }
}

/// One pass forward, two nodes of the graph: the sum is a result of its own, and the norm's input.
pub fn of_sum<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    residual: F<B, C>,
    gamma: F<B, C>,
    eps: f64,
) -> (F<B, C>, F<B, C>) {
    let prep = Sum.prepare::<C>([x.node(), residual.node()]);
    let (y, sum) = B::fused_add_rms_norm(
        x.into_primitive(),
        residual.into_primitive(),
        gamma.primitive().clone(),
        eps,
    );
    let sum = prep.compute_bound().stateless(sum);
    (node::<B, C>(sum.clone(), gamma, eps, |_, _| y), sum)
}
