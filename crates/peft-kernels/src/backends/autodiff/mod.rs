//! Hand-written backward passes over any backend that offers
//! [`KernelGrads`](crate::ops::KernelGrads).
//!
//! Inputs are kept through Burn's checkpointer, so that its gradient checkpointing may recompute
//! them; nothing is kept that no gradient will ask for.

mod attention;
mod cross_entropy;
mod elementwise;
mod layer_norm;
mod low_rank;
mod product;
mod updated;

use burn::backend::Backend;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use crate::ops::{AttentionPlan, KernelGrads, KernelOps};
use crate::{Dropout, GeluKind, RowUpdate};

type F<B, C> = FloatTensor<Autodiff<B, C>>;

impl<B: Backend + KernelGrads, C: CheckpointStrategy> KernelOps for Autodiff<B, C> {
    fn fused_gelu(x: F<B, C>, kind: GeluKind) -> F<B, C> {
        elementwise::gelu::<B, C>(x, kind)
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

    fn packed_attention(q: F<B, C>, k: F<B, C>, v: F<B, C>, plan: AttentionPlan) -> F<B, C> {
        attention::attention::<B, C>(q, k, v, plan)
    }

    fn keyed_dropout(x: F<B, C>, dropout: Dropout) -> F<B, C> {
        elementwise::dropout::<B, C>(x, dropout)
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

    fn product_with_addend(
        x: F<B, C>,
        weight: F<B, C>,
        bias: F<B, C>,
        low: F<B, C>,
        b: F<B, C>,
    ) -> F<B, C> {
        low_rank::product_with_addend::<B, C>(x, weight, bias, low, b)
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

    fn fused_cross_entropy(logits: F<B, C>, targets: IntTensor<Self>) -> F<B, C> {
        cross_entropy::cross_entropy::<B, C>(logits, targets)
    }
}
