use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_autodiff::{Autodiff, NodeId};

use super::ops::{CoreKernels, CoreOps, CoreShape};

/// `z = x Kᵀ`: `dx = dz K`, and the values' gradient from `x`.
#[derive(Debug)]
struct SparseCore;

/// What the gradients asked for need, and nothing else.
#[derive(Debug, Clone)]
struct Saved<B: CoreKernels> {
    x: Option<NodeId>,
    values: Option<NodeId>,
    by_input: IntTensor<B>,
    by_value: IntTensor<B>,
    shape: CoreShape,
}

impl<B: CoreKernels> Backward<B, 2> for SparseCore {
    type State = Saved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dz = grads.consume::<B>(&ops.node);
        let saved = ops.state;
        let [to_x, to_values] = ops.parents;
        if let (Some(node), Some(values)) = (to_x, saved.values) {
            let values: FloatTensor<B> = checkpointer.retrieve_node_output(values);
            let shape = saved.shape.transposed();
            let dx = B::core_product(dz.clone(), values, saved.by_input, shape);
            grads.register::<B>(node.id, dx);
        }
        if let (Some(node), Some(x)) = (to_values, saved.x) {
            let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
            let dv = B::core_value_grads(x, dz, saved.by_value, saved.shape);
            grads.register::<B>(node.id, dv);
        }
    }
}

impl<B: CoreKernels, C: CheckpointStrategy> CoreOps for Autodiff<B, C> {
    fn sparse_core(
        x: FloatTensor<Self>,
        values: FloatTensor<Self>,
        by_output: IntTensor<Self>,
        by_input: IntTensor<Self>,
        by_value: IntTensor<Self>,
        shape: CoreShape,
    ) -> FloatTensor<Self> {
        let (for_x, for_values) = (x.is_tracked(), values.is_tracked());
        let guards = [x.node(), values.node()];
        match SparseCore.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let saved = Saved {
                    x: for_values.then(|| prep.checkpoint(&x)),
                    values: for_x.then(|| prep.checkpoint(&values)),
                    by_input,
                    by_value,
                    shape,
                };
                let (x, values) = (x.into_primitive(), values.into_primitive());
                prep.finish(saved, B::core_product(x, values, by_output, shape))
            }
            OpsKind::UnTracked(prep) => {
                let (x, values) = (x.into_primitive(), values.into_primitive());
                prep.finish(B::core_product(x, values, by_output, shape))
            }
        }
    }
}
