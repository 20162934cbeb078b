use burn::backend::tensor::FloatTensor;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::F;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct Rope;

impl<B: KernelGrads> Backward<B, 1> for Rope {
    type State = (FloatTensor<B>, FloatTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cos, sin, heads) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::rotated_back(grad, cos, sin, heads)
        });
    }
}

/// Keeps the tables, which all layers share.
pub fn rotated<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    cos: F<B, C>,
    sin: F<B, C>,
    heads: usize,
) -> F<B, C> {
    let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
    match Rope.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let y = B::rotated(x.into_primitive(), cos.clone(), sin.clone(), heads);
            prep.finish((cos, sin, heads), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::rotated(x.into_primitive(), cos, sin, heads)),
    }
}
