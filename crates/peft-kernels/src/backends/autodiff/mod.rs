//! Hand-written backward passes over any backend that offers
//! [`KernelGrads`](crate::ops::KernelGrads).
//!
//! Inputs are kept through Burn's checkpointer, so that its gradient checkpointing may recompute
//! them; nothing is kept that no gradient will ask for.

mod activation;
mod attention;
mod conv;
mod core_product;
mod cross_entropy;
mod dropout;
mod embedding;
mod gather;
mod head_loss;
mod layer_norm;
mod low_rank;
mod product;
mod rescale;
mod rms_norm;
mod rope;
mod sine;
mod softmax;
mod top_gradient;
mod updated;

use burn::backend::Backend;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use crate::ops::{AttentionPlan, ConvPlan, HeadPlan, KernelGrads, KernelOps};
use crate::{Activation, Dropout, RowUpdate, TopGradient};

type F<B, C> = FloatTensor<Autodiff<B, C>>;

impl<B: Backend + KernelGrads, C: CheckpointStrategy> KernelOps for Autodiff<B, C> {
    fn fused_activation(x: F<B, C>, kind: Activation) -> F<B, C> {
        activation::activation::<B, C>(x, kind)
    }

    fn fused_bias_activation(x: F<B, C>, bias: F<B, C>, kind: Activation) -> F<B, C> {
        activation::bias_activation::<B, C>(x, bias, kind)
    }

    fn fused_gated(gate: F<B, C>, up: F<B, C>, kind: Activation) -> F<B, C> {
        activation::gated::<B, C>(gate, up, kind)
    }

    fn fused_softmax(x: F<B, C>) -> F<B, C> {
        softmax::softmax::<B, C>(x)
    }

    fn fused_rms_norm(x: F<B, C>, gamma: F<B, C>, eps: f64) -> F<B, C> {
        rms_norm::rms_norm::<B, C>(x, gamma, eps)
    }

    fn fused_add_rms_norm(
        x: F<B, C>,
        residual: F<B, C>,
        gamma: F<B, C>,
        eps: f64,
    ) -> (F<B, C>, F<B, C>) {
        rms_norm::of_sum::<B, C>(x, residual, gamma, eps)
    }

    fn fused_layer_norm(x: F<B, C>, gamma: F<B, C>, beta: F<B, C>, eps: f64) -> F<B, C> {
        layer_norm::plain::<B, C>(x, gamma, beta, eps)
    }

    fn fused_add_layer_norm(
        x: F<B, C>,
        residual: F<B, C>,
        gamma: F<B, C>,
        beta: F<B, C>,
        eps: f64,
    ) -> F<B, C> {
        layer_norm::of_sum::<B, C>(x, residual, gamma, beta, eps)
    }

    fn packed_attention(
        q: F<B, C>,
        k: F<B, C>,
        v: F<B, C>,
        prefix_k: F<B, C>,
        prefix_v: F<B, C>,
        plan: AttentionPlan,
    ) -> F<B, C> {
        attention::attention::<B, C>([q, k, v, prefix_k, prefix_v], plan)
    }

    fn keyed_dropout(x: F<B, C>, dropout: Dropout) -> F<B, C> {
        dropout::dropout::<B, C>(x, dropout)
    }

    fn kept_gradient(x: F<B, C>, rule: TopGradient) -> F<B, C> {
        top_gradient::kept_gradient::<B, C>(x, rule)
    }

    fn product(x: F<B, C>, weight: F<B, C>) -> F<B, C> {
        product::product::<B, C>(x, weight)
    }

    fn product_bias(x: F<B, C>, weight: F<B, C>, bias: F<B, C>) -> F<B, C> {
        product::product_bias::<B, C>(x, weight, bias)
    }

    fn low_rank_product(
        x: F<B, C>,
        weight: F<B, C>,
        bias: F<B, C>,
        a: F<B, C>,
        b: F<B, C>,
        scale: f64,
    ) -> F<B, C> {
        low_rank::low_rank_product::<B, C>(x, weight, bias, a, b, scale)
    }

    fn core_product(
        x: F<B, C>,
        weight: F<B, C>,
        bias: F<B, C>,
        a: F<B, C>,
        core: F<B, C>,
        b: F<B, C>,
    ) -> F<B, C> {
        core_product::core_product::<B, C>(x, weight, bias, a, core, b)
    }

    fn product_with_addend(
        x: F<B, C>,
        weight: F<B, C>,
        bias: F<B, C>,
        low: F<B, C>,
        b: F<B, C>,
    ) -> F<B, C> {
        low_rank::product_with_addend::<B, C>(x, weight, bias, low, b)
    }

    fn fused_embedding_norm(
        word: F<B, C>,
        word_ids: IntTensor<Self>,
        position: F<B, C>,
        position_ids: IntTensor<Self>,
        segment: F<B, C>,
        segment_ids: IntTensor<Self>,
        gamma: F<B, C>,
        beta: F<B, C>,
        eps: f64,
    ) -> F<B, C> {
        let tables = [word, position, segment];
        let ids = [word_ids, position_ids, segment_ids];
        embedding::embedding_norm::<B, C>(tables, ids, gamma, beta, eps)
    }

    fn packed_conv(
        x: F<B, C>,
        weight: F<B, C>,
        bias: F<B, C>,
        state: F<B, C>,
        plan: ConvPlan,
    ) -> F<B, C> {
        conv::packed_conv::<B, C>(x, weight, bias, state, plan)
    }

    fn gathered_rows(table: F<B, C>, ids: IntTensor<Self>) -> F<B, C> {
        gather::gathered_rows::<B, C>(table, ids)
    }

    fn rotated(x: F<B, C>, cos: F<B, C>, sin: F<B, C>, heads: usize) -> F<B, C> {
        rope::rotated::<B, C>(x, cos, sin, heads)
    }

    fn updated_product(
        x: F<B, C>,
        weight: F<B, C>,
        bias: F<B, C>,
        coefficients: F<B, C>,
        update: RowUpdate,
    ) -> F<B, C> {
        updated::updated_product::<B, C>(x, weight, bias, coefficients, update)
    }

    fn sine_product(
        x: F<B, C>,
        weight: F<B, C>,
        bias: F<B, C>,
        a: F<B, C>,
        b: F<B, C>,
        frequency: f64,
        scale: f64,
    ) -> F<B, C> {
        sine::sine_product::<B, C>(x, weight, bias, a, b, frequency, scale)
    }

    fn rescaled(x: F<B, C>, center: F<B, C>, factor: F<B, C>) -> F<B, C> {
        rescale::rescaled::<B, C>(x, center, factor)
    }

    fn head_loss(
        hidden: F<B, C>,
        weight: F<B, C>,
        targets: IntTensor<Self>,
        plan: HeadPlan,
    ) -> F<B, C> {
        head_loss::head_loss::<B, C>(hidden, weight, targets, plan)
    }

    fn fused_cross_entropy(logits: F<B, C>, targets: IntTensor<Self>) -> F<B, C> {
        cross_entropy::cross_entropy::<B, C>(logits, targets)
    }
}
