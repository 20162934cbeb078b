use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::KernelGrads;

/// `y = c + f ∘ (x − c)`: `dx = dy ∘ f`, `dc = (1 − f) ∘ Σ dy`, `df = Σ dy ∘ (x − c)`.
///
/// If `y` was kept, `x − c = (y − c) / f`.
#[derive(Debug)]
struct Rescale;

#[derive(Debug, Clone)]
struct Saved<B: KernelGrads> {
    /// Output or input, if the factor wants a gradient; whether it is the output.
    kept: Option<(FloatTensor<B>, bool)>,
    center: FloatTensor<B>,
    factor: FloatTensor<B>,
}

impl<B: KernelGrads> Backward<B, 3> for Rescale {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [to_x, to_center, to_factor] = ops.parents.map(|p| p.map(|n| n.id));
        let Saved {
            kept,
            center,
            factor,
        } = ops.state;
        if let Some(node) = to_center {
            let sums = B::column_sums(grad.clone());
            let stretched = B::float_mul(sums.clone(), factor.clone());
            grads.register::<B>(node, B::float_sub(sums, stretched));
        }
        let dx = match (to_factor, kept) {
            (Some(node), Some((kept, is_output))) => {
                let (dx, sums) = B::rescaled_grads(kept, center, factor.clone(), grad);
                let to_factor = if is_output {
                    B::float_div(sums, factor)
                } else {
                    sums
                };
                grads.register::<B>(node, to_factor);
                dx
            }
            _ => {
                let d = factor.shape().num_elements();
                B::float_mul(grad, B::float_reshape(factor, Shape::new([1, d])))
            }
        };
        if let Some(node) = to_x {
            grads.register::<B>(node, dx);
        }
    }
}

pub fn rescaled<B: KernelGrads, C: CheckpointStrategy>(
    x: F<B, C>,
    center: F<B, C>,
    factor: F<B, C>,
) -> F<B, C> {
    let for_factor = factor.is_tracked();
    let guards = [x.node(), center.node(), factor.node()];
    match Rescale.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (center, factor) = (center.into_primitive(), factor.into_primitive());
            let (y, kept, is_output) =
                B::rescaled_saving(x.into_primitive(), center.clone(), factor.clone());
            let saved = Saved {
                kept: for_factor.then_some((kept, is_output)),
                center,
                factor,
            };
            prep.finish(saved, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::rescaled(
            x.into_primitive(),
            center.into_primitive(),
            factor.into_primitive(),
        )),
    }
}
