use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::F;
use crate::ops::KernelGrads;

#[derive(Debug)]
struct EmbeddingNorm;

impl<B: KernelGrads> Backward<B, 5> for EmbeddingNorm {
    /// Tables and gamma, the ids, ε.
    type State = ([NodeId; 4], [IntTensor<B>; 3], f64);

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, ids, eps) = ops.state;
        let [word, position, segment, gamma]: [FloatTensor<B>; 4] =
            inputs.map(|id| checkpointer.retrieve_node_output(id));
        let [to_word, to_position, to_segment, to_gamma, to_beta] = ops.parents;
        let to_tables = [to_word, to_position, to_segment];
        let grad = grads.consume::<B>(&ops.node);
        let tables = [word, position, segment];
        let entries = tables.each_ref().map(|table| table.shape()[0]);
        let [a, b, c] = tables;
        let [i, j, k] = ids.clone();
        let sum = B::embedding_sum([(a, i), (b, j), (c, k)], gamma.clone());
        if to_gamma.is_some() || to_beta.is_some() {
            let (dgamma, dbeta) = B::layer_norm_param_grads(sum.clone(), grad.clone(), eps);
            for (node, grad) in [(to_gamma, dgamma), (to_beta, dbeta)] {
                if let Some(node) = node {
                    grads.register::<B>(node.id, grad);
                }
            }
        }
        if to_tables.iter().any(Option::is_some) {
            let to_sum = B::layer_norm_grad(sum, gamma, grad, eps);
            for ((node, ids), entries) in to_tables.into_iter().zip(ids).zip(entries) {
                if let Some(node) = node {
                    let dtable = B::scatter_rows(to_sum.clone(), ids, entries);
                    grads.register::<B>(node.id, dtable);
                }
            }
        }
    }
}

/// Keeps the tables, gamma and the ids; the sum is looked up anew.
pub fn embedding_norm<B: KernelGrads, C: CheckpointStrategy>(
    tables: [F<B, C>; 3],
    ids: [IntTensor<B>; 3],
    gamma: F<B, C>,
    beta: F<B, C>,
    eps: f64,
) -> F<B, C> {
    let [word, position, segment] = &tables;
    let nodes = [word, position, segment, &gamma, &beta].map(F::<B, C>::node);
    match EmbeddingNorm.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = [word, position, segment, &gamma].map(|x| prep.checkpoint(x));
            let y = forward::<B, C>(tables, ids.clone(), gamma, beta, eps);
            prep.finish((kept, ids, eps), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward::<B, C>(tables, ids, gamma, beta, eps)),
    }
}

fn forward<B: KernelGrads, C: CheckpointStrategy>(
    tables: [F<B, C>; 3],
    ids: [IntTensor<B>; 3],
    gamma: F<B, C>,
    beta: F<B, C>,
    eps: f64,
) -> FloatTensor<B> {
    let [word, position, segment] = tables.map(F::<B, C>::into_primitive);
    let [word_ids, position_ids, segment_ids] = ids;
    let (gamma, beta) = (gamma.into_primitive(), beta.into_primitive());
    B::fused_embedding_norm(
        word,
        word_ids,
        position,
        position_ids,
        segment,
        segment_ids,
        gamma,
        beta,
        eps,
    )
}
