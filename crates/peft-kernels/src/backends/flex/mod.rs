//! Bodies for Burn's CPU backend.

mod attention;
mod attention_grad;
mod cross_entropy;
mod dropout;
mod gelu;
mod lanes;
mod layer_norm;
mod layer_norm_grad;
mod matmul;
mod parallel;
mod product;
mod real;
mod simd;
mod updated;
mod view;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_flex::Flex;

use crate::ops::{AttentionPlan, AttentionSaved, KernelGrads, KernelOps};
use crate::{Dropout, GeluKind, RowUpdate};

/// Runs a generic body for the element type of a tensor.
macro_rules! by_type {
    ($tensor:expr, $body:ident($($arg:expr),*)) => {
        match $tensor.dtype() {
            DType::F32 => $body::<f32>($($arg),*),
            DType::F64 => $body::<f64>($($arg),*),
            other => panic!("{}: no flex body for {other:?}", stringify!($body)),
        }
    };
}

use attention::attention;
use attention_grad::attention_grads;
use cross_entropy::{cross_entropy, cross_entropy_grad};
use dropout::dropout;
use gelu::{gelu, gelu_grad};
use layer_norm::{add_layer_norm, layer_norm};
use layer_norm_grad::{column_sums, layer_norm_grad, layer_norm_param_grads};
use product::{product, product_sum};
use updated::{updated_product, updated_product_grads};

type F = FloatTensor<Flex>;

impl KernelOps for Flex {
    fn fused_gelu(x: F, kind: GeluKind) -> F {
        by_type!(x, gelu(&x, kind))
    }

    fn fused_layer_norm(x: F, gamma: F, beta: F, eps: f64) -> F {
        by_type!(x, layer_norm(&x, &gamma, &beta, eps))
    }

    fn fused_add_layer_norm(x: F, residual: F, gamma: F, beta: F, eps: f64) -> F {
        by_type!(x, add_layer_norm(&x, &residual, &gamma, &beta, eps, false)).0
    }

    fn packed_attention(q: F, k: F, v: F, plan: AttentionPlan) -> F {
        by_type!(q, attention(&q, &k, &v, &plan)).0
    }

    fn keyed_dropout(x: F, rule: Dropout) -> F {
        by_type!(x, dropout(&x, rule))
    }

    fn product(x: F, weight: F) -> F {
        by_type!(x, product(&x, &weight, None, 1.0))
    }

    fn product_bias(x: F, weight: F, bias: F) -> F {
        by_type!(x, product(&x, &weight, Some(&bias), 1.0))
    }

    fn low_rank_product(x: F, weight: F, bias: F, a: F, b: F, scale: f64) -> F {
        Self::low_rank_saving(x, weight, bias, a, b, scale).0
    }

    fn product_with_addend(x: F, weight: F, bias: F, low: F, b: F) -> F {
        by_type!(x, product_sum(&x, &weight, &low, &b, Some(&bias)))
    }

    fn updated_product(x: F, weight: F, bias: F, coefficients: F, update: RowUpdate) -> F {
        Self::updated_product_saving(x, weight, bias, coefficients, &update).0
    }

    fn fused_cross_entropy(logits: F, targets: IntTensor<Flex>) -> F {
        by_type!(logits, cross_entropy(&logits, targets)).0
    }
}

impl KernelGrads for Flex {
    fn low_rank_saving(x: F, weight: F, bias: F, a: F, b: F, scale: f64) -> (F, F) {
        let low = Self::product_scaled(x.clone(), a, scale);
        let y = Self::product_with_addend(x, weight, bias, low.clone(), b);
        (y, low)
    }

    fn product_scaled(x: F, weight: F, scale: f64) -> F {
        by_type!(x, product(&x, &weight, None, scale))
    }

    fn product_sum(x: F, weight: F, y: F, other: F) -> F {
        by_type!(x, product_sum(&x, &weight, &y, &other, None))
    }

    fn gelu_grad(x: F, grad: F, kind: GeluKind) -> F {
        by_type!(x, gelu_grad(&x, &grad, kind))
    }

    fn add_layer_norm_saving(x: F, residual: F, gamma: F, beta: F, eps: f64) -> (F, F) {
        let (y, sum) = by_type!(x, add_layer_norm(&x, &residual, &gamma, &beta, eps, true));
        (y, sum.expect("asked for"))
    }

    fn layer_norm_grad(x: F, gamma: F, grad: F, eps: f64) -> F {
        by_type!(x, layer_norm_grad(&x, &gamma, &grad, eps))
    }

    fn layer_norm_param_grads(x: F, grad: F, eps: f64) -> (F, F) {
        by_type!(x, layer_norm_param_grads(&x, &grad, eps))
    }

    fn attention_saving(q: F, k: F, v: F, plan: AttentionPlan) -> (F, F) {
        by_type!(q, attention(&q, &k, &v, &plan))
    }

    fn attention_grads(
        saved: AttentionSaved<Self>,
        grad: F,
        plan: AttentionPlan,
        wanted: [bool; 3],
    ) -> [Option<F>; 3] {
        by_type!(saved.q, attention_grads(&saved, &grad, &plan, wanted))
    }

    fn updated_product_saving(x: F, weight: F, bias: F, a: F, update: &RowUpdate) -> (F, F) {
        by_type!(x, updated_product(&x, &weight, &bias, &a, update))
    }

    fn updated_product_grads(
        saved: F,
        grad: F,
        weight: Option<F>,
        a: F,
        update: &RowUpdate,
    ) -> (Option<F>, F) {
        by_type!(
            grad,
            updated_product_grads(&saved, &grad, weight.as_ref(), &a, update)
        )
    }

    fn column_sums(x: F) -> F {
        by_type!(x, column_sums(&x))
    }

    fn cross_entropy_saving(logits: F, targets: IntTensor<Flex>) -> (F, F) {
        by_type!(logits, cross_entropy(&logits, targets))
    }

    fn cross_entropy_grad(logits: F, targets: IntTensor<Flex>, lse: F, grad: F) -> F {
        by_type!(logits, cross_entropy_grad(&logits, targets, &lse, &grad))
    }
}
