use burn::backend::tensor::FloatTensor;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::F;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct Softmax;

impl<B: KernelGrads> Backward<B, 1> for Softmax {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::softmax_grad(ops.state, grad)
        });
    }
}

/// Keeps the output.
pub fn softmax<B: KernelGrads, C: CheckpointStrategy>(x: F<B, C>) -> F<B, C> {
    let prep = Softmax.prepare::<C>([x.node()]).compute_bound().stateful();
    let y = B::fused_softmax(x.into_primitive());
    match prep {
        OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}
