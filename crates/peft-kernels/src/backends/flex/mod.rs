//! Bodies for Burn's CPU backend.

mod activation;
mod adamw;
mod attention;
mod attention_grad;
mod bias_activation;
mod blocks;
mod conv;
mod cross_entropy;
mod dropout;
mod embedding;
mod gate;
mod gated;
mod gather;
mod head_loss;
mod lanes;
mod layer_norm;
mod layer_norm_grad;
mod matmul;
mod norms;
mod parallel;
mod product;
mod real;
mod rescale;
mod rms_norm;
mod rope;
mod scan;
mod softmax;
mod ssd;
mod stacked;
mod top_gradient;
mod updated;
mod view;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_flex::Flex;
use peft_simd as simd;

use crate::backends::sine::Sine;
use crate::ops::{AttentionPlan, AttentionSaved, ConvPlan, HeadPlan, KernelGrads, KernelOps};
use crate::{Activation, Dropout, RowUpdate, TopGradient};

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

use by_type;

use activation::{activation, activation_grad};
pub use adamw::adamw;
use attention::attention;
use attention_grad::attention_grads;
use bias_activation::{bias_activation, bias_activation_grad};
pub use blocks::{Blocks, block_matrix};
use conv::{packed_conv, packed_conv_grads};
use cross_entropy::{cross_entropy, cross_entropy_grad};
use dropout::dropout;
use embedding::{Rows, embedding_norm, embedding_sum};
use gated::{gated, gated_grads};
pub use gather::decoded;
use gather::{gathered_rows, scatter_rows};
use head_loss::head_loss;
use layer_norm::{add_layer_norm, layer_norm};
use layer_norm_grad::{column_sums, layer_norm_grad, layer_norm_param_grads};
pub use matmul::{bf16_spin, bf16_units, int8_units};
pub use norms::norms;
use product::{product, product_sum};
pub use rescale::{holds, squared_column_norms};
use rescale::{rescaled, rescaled_grads};
use rms_norm::{add_rms_norm, rms_norm, rms_norm_gamma_grad, rms_norm_grad};
use rope::rotated;
use softmax::{softmax, softmax_grad};
use top_gradient::largest_only;
use updated::{updated_product, updated_product_grads};

type F = FloatTensor<Flex>;
type I = IntTensor<Flex>;

impl KernelOps for Flex {
    fn fused_activation(x: F, kind: Activation) -> F {
        by_type!(x, activation(&x, kind))
    }

    fn fused_bias_activation(x: F, bias: F, kind: Activation) -> F {
        by_type!(x, bias_activation(&x, &bias, kind))
    }

    fn fused_gated(gate: F, up: F, kind: Activation) -> F {
        by_type!(gate, gated(&gate, &up, kind))
    }

    fn fused_softmax(x: F) -> F {
        by_type!(x, softmax(&x))
    }

    fn fused_rms_norm(x: F, gamma: F, eps: f64) -> F {
        by_type!(x, rms_norm(&x, &gamma, eps))
    }

    fn fused_add_rms_norm(x: F, residual: F, gamma: F, eps: f64) -> (F, F) {
        by_type!(x, add_rms_norm(&x, &residual, &gamma, eps))
    }

    fn fused_layer_norm(x: F, gamma: F, beta: F, eps: f64) -> F {
        by_type!(x, layer_norm(&x, &gamma, &beta, eps))
    }

    fn fused_add_layer_norm(x: F, residual: F, gamma: F, beta: F, eps: f64) -> F {
        by_type!(x, add_layer_norm(&x, &residual, &gamma, &beta, eps, false)).0
    }

    fn packed_attention(q: F, k: F, v: F, pk: F, pv: F, plan: AttentionPlan) -> F {
        by_type!(q, attention(&q, [&k, &v], [&pk, &pv], &plan)).0
    }

    fn keyed_dropout(x: F, rule: Dropout) -> F {
        by_type!(x, dropout(&x, rule))
    }

    fn kept_gradient(x: F, _: TopGradient) -> F {
        x
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

    fn core_product(x: F, weight: F, bias: F, a: F, core: F, b: F) -> F {
        let low = Self::product(Self::product(x.clone(), a), core);
        Self::product_with_addend(x, weight, bias, low, b)
    }

    fn product_with_addend(x: F, weight: F, bias: F, low: F, b: F) -> F {
        by_type!(x, product_sum(&x, &weight, &low, &b, Some(&bias)))
    }

    #[rustfmt::skip]
    fn fused_embedding_norm(
        word: F, word_ids: I, position: F, position_ids: I, segment: F, segment_ids: I,
        gamma: F, beta: F, eps: f64,
    ) -> F {
        let tables = [
            Rows::new("word", &word, word_ids),
            Rows::new("position", &position, position_ids),
            Rows::new("segment", &segment, segment_ids),
        ];
        by_type!(gamma, embedding_norm(&tables, &gamma, &beta, eps))
    }

    fn packed_conv(x: F, weight: F, bias: F, state: F, plan: ConvPlan) -> F {
        by_type!(x, packed_conv(&x, &weight, [&bias, &state], &plan))
    }

    fn gathered_rows(table: F, ids: I) -> F {
        by_type!(table, gathered_rows(&table, ids))
    }

    fn rotated(x: F, cos: F, sin: F, heads: usize) -> F {
        by_type!(x, rotated(&x, [&cos, &sin], heads, false))
    }

    fn updated_product(x: F, weight: F, bias: F, coefficients: F, update: RowUpdate) -> F {
        Self::updated_product_saving(x, weight, bias, coefficients, &update).0
    }

    fn sine_product(x: F, weight: F, bias: F, a: F, b: F, frequency: f64, scale: f64) -> F {
        let sine = Sine::<Self> {
            x,
            weight,
            a,
            b,
            frequency,
            scale,
        };
        sine.forward(bias)
    }

    fn rescaled(x: F, center: F, factor: F) -> F {
        Self::rescaled_saving(x, center, factor).0
    }

    fn head_loss(hidden: F, weight: F, targets: I, plan: HeadPlan) -> F {
        Self::head_loss_saving(hidden, weight, targets, plan, [false; 2]).0
    }

    fn fused_cross_entropy(logits: F, targets: IntTensor<Flex>) -> F {
        by_type!(logits, cross_entropy(&logits, targets)).0
    }
}

impl KernelGrads for Flex {
    fn largest_only(grad: F, rule: TopGradient) -> F {
        by_type!(grad, largest_only(&grad, rule))
    }

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

    fn activation_grad(x: F, grad: F, kind: Activation) -> F {
        by_type!(x, activation_grad(&x, &grad, kind))
    }

    fn bias_activation_grad(x: F, bias: F, grad: F, kind: Activation) -> F {
        by_type!(x, bias_activation_grad(&x, &bias, &grad, kind))
    }

    fn gated_grads(gate: F, up: F, grad: F, kind: Activation) -> (F, F) {
        by_type!(gate, gated_grads(&gate, &up, &grad, kind))
    }

    fn softmax_grad(y: F, grad: F) -> F {
        by_type!(y, softmax_grad(&y, &grad))
    }

    fn rms_norm_grad(x: F, gamma: F, grad: F, eps: f64) -> F {
        by_type!(x, rms_norm_grad(&x, &gamma, &grad, eps))
    }

    fn rms_norm_gamma_grad(x: F, grad: F, eps: f64) -> F {
        by_type!(x, rms_norm_gamma_grad(&x, &grad, eps))
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

    fn attention_saving([q, k, v, pk, pv]: [F; 5], plan: AttentionPlan) -> (F, F) {
        by_type!(q, attention(&q, [&k, &v], [&pk, &pv], &plan))
    }

    fn attention_grads(
        saved: AttentionSaved<Self>,
        grad: F,
        plan: AttentionPlan,
        wanted: [bool; 5],
    ) -> [Option<F>; 5] {
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

    fn rescaled_saving(x: F, center: F, factor: F) -> (F, F, bool) {
        by_type!(x, rescaled(&x, &center, &factor))
    }

    fn rescaled_grads(kept: F, center: F, factor: F, grad: F) -> (F, F) {
        by_type!(grad, rescaled_grads(&kept, &center, &factor, &grad))
    }

    fn column_sums(x: F) -> F {
        by_type!(x, column_sums(&x))
    }

    fn embedding_sum(tables: [(F, I); 3], like: F) -> F {
        let [word, position, segment] = tables;
        let tables = [
            Rows::new("word", &word.0, word.1),
            Rows::new("position", &position.0, position.1),
            Rows::new("segment", &segment.0, segment.1),
        ];
        by_type!(like, embedding_sum(&tables))
    }

    fn packed_conv_grads(
        [x, weight, state]: [F; 3],
        grad: F,
        plan: ConvPlan,
        wanted: [bool; 4],
    ) -> [Option<F>; 4] {
        by_type!(
            grad,
            packed_conv_grads([&x, &weight, &state], &grad, &plan, wanted)
        )
    }

    fn rotated_back(x: F, cos: F, sin: F, heads: usize) -> F {
        by_type!(x, rotated(&x, [&cos, &sin], heads, true))
    }

    fn scatter_rows(grad: F, ids: I, entries: usize) -> F {
        by_type!(grad, scatter_rows(&grad, ids, entries))
    }

    fn head_loss_saving(
        hidden: F,
        weight: F,
        targets: I,
        plan: HeadPlan,
        wanted: [bool; 2],
    ) -> (F, [Option<F>; 2]) {
        by_type!(hidden, head_loss(&hidden, &weight, targets, plan, wanted))
    }

    fn cross_entropy_saving(logits: F, targets: IntTensor<Flex>) -> (F, F) {
        by_type!(logits, cross_entropy(&logits, targets))
    }

    fn cross_entropy_grad(logits: F, targets: IntTensor<Flex>, lse: F, grad: F) -> F {
        by_type!(logits, cross_entropy_grad(&logits, targets, &lse, &grad))
    }
}
