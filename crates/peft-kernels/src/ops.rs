//! The extension traits: what a backend with fast bodies provides.

use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

use crate::{Activation, Dropout, RowUpdate, TopGradient};

/// Everything the attention bodies need besides the tensors.
#[derive(Clone, Debug)]
pub struct AttentionPlan {
    /// First query row of each sequence and, last, the number of rows.
    pub starts: Arc<Vec<usize>>,
    /// The same of the keys. The queries of a sequence are at the positions of its last keys.
    pub key_starts: Arc<Vec<usize>>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Factor of the scores.
    pub scale: f64,
    /// Whether a query sees only itself and the rows before it.
    pub causal: bool,
    /// How many of these it sees, itself among them, and as many on the other side where there is no `causal`.
    pub window: Option<usize>,
    /// Bound `c` of the scores `s`, which become `c · tanh(s / c)`.
    pub softcap: Option<f64>,
    /// Dropout of the weights.
    pub dropout: Option<Dropout>,
}

/// Which rows a convolution reads together.
#[derive(Clone, Debug)]
pub struct ConvPlan {
    /// First row of each sequence and, last, the number of rows.
    pub starts: Arc<Vec<usize>>,
}

/// How a language head makes logits of what its weight gives.
#[derive(Clone, Copy, Debug)]
pub struct HeadPlan {
    /// Factor of the logits.
    pub scale: f64,
    /// Bound `c` of the logits `s`, which become `c · tanh(s / c)`.
    pub softcap: Option<f64>,
}

/// Forward bodies, routed by Burn's dispatch. Shapes and equations are those of the public
/// functions of the same name.
#[backend_extension(Flex, Autodiff)]
pub trait KernelOps: Backend {
    /// See [`gelu`](crate::gelu) and [`silu`](crate::silu).
    fn fused_activation(x: FloatTensor<Self>, kind: Activation) -> FloatTensor<Self>;

    /// See [`bias_activation`](crate::bias_activation).
    fn fused_bias_activation(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: Activation,
    ) -> FloatTensor<Self>;

    /// See [`gated`](crate::gated).
    fn fused_gated(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        kind: Activation,
    ) -> FloatTensor<Self>;

    /// See [`softmax`](crate::softmax).
    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`rms_norm`](crate::rms_norm).
    fn fused_rms_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// See [`add_rms_norm`](crate::add_rms_norm): the norm, and the sum.
    fn fused_add_rms_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// See [`layer_norm`](crate::layer_norm).
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// See [`add_layer_norm`](crate::add_layer_norm).
    fn fused_add_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// See [`prefix_attention`](crate::prefix_attention). A prefix without rows is none.
    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        prefix_k: FloatTensor<Self>,
        prefix_v: FloatTensor<Self>,
        plan: AttentionPlan,
    ) -> FloatTensor<Self>;

    /// See [`dropout`](crate::dropout).
    fn keyed_dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self>;

    /// See [`top_gradient`](crate::top_gradient).
    fn kept_gradient(x: FloatTensor<Self>, rule: TopGradient) -> FloatTensor<Self>;

    /// See [`linear`](crate::linear).
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`linear`](crate::linear).
    fn product_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`linear_low_rank`](crate::linear_low_rank). An empty bias is none.
    fn low_rank_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self>;

    /// See [`linear_core`](crate::linear_core). An empty bias is none.
    fn core_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        core: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`linear_plus`](crate::linear_plus). An empty bias is none.
    fn product_with_addend(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        low: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`embedding_layer_norm`](crate::embedding_layer_norm). A table without columns is none.
    #[allow(clippy::too_many_arguments)] // The routing takes tensors one by one.
    fn fused_embedding_norm(
        word: FloatTensor<Self>,
        word_ids: IntTensor<Self>,
        position: FloatTensor<Self>,
        position_ids: IntTensor<Self>,
        segment: FloatTensor<Self>,
        segment_ids: IntTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// See [`causal_conv1d`](crate::causal_conv1d). An empty bias or state is none.
    fn packed_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        state: FloatTensor<Self>,
        plan: ConvPlan,
    ) -> FloatTensor<Self>;

    /// See [`embedding`](crate::embedding).
    fn gathered_rows(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;

    /// See [`rope`](crate::rope). The tables get no gradient.
    fn rotated(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;

    /// See [`linear_updated`](crate::linear_updated). An empty bias is none.
    fn updated_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        update: RowUpdate,
    ) -> FloatTensor<Self>;

    /// See [`linear_sine`](crate::linear_sine). An empty bias is none.
    #[allow(clippy::too_many_arguments)] // The routing takes tensors one by one.
    fn sine_product(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        frequency: f64,
        scale: f64,
    ) -> FloatTensor<Self>;

    /// See [`rescale`](crate::rescale). An empty centre is none.
    fn rescaled(
        x: FloatTensor<Self>,
        center: FloatTensor<Self>,
        factor: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`head_cross_entropy`](crate::head_cross_entropy).
    fn head_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        plan: HeadPlan,
    ) -> FloatTensor<Self>;

    /// See [`cross_entropy`](crate::cross_entropy).
    fn fused_cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// What the backward passes call on the inner backend. Not routed: a gradient of a gradient is not
/// offered.
pub trait KernelGrads: KernelOps {
    /// `grad` with all but its largest values put to zero.
    fn largest_only(grad: FloatTensor<Self>, rule: TopGradient) -> FloatTensor<Self>;

    /// `grad · activation'(x)`.
    fn activation_grad(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: Activation,
    ) -> FloatTensor<Self>;

    /// `grad · activation'(x + bias)`.
    fn bias_activation_grad(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: Activation,
    ) -> FloatTensor<Self>;

    /// `grad · up · activation'(gate)` and `grad · activation(gate)`.
    fn gated_grads(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of softmax to its input, from its output.
    fn softmax_grad(y: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradient of the root mean square norm to its input.
    fn rms_norm_grad(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// Gradient of the root mean square norm to gamma.
    fn rms_norm_gamma_grad(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// Layer normalisation of a sum that also returns the sum: `(y, x + residual)`.
    fn add_layer_norm_saving(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of layer normalisation to its input; the statistics are computed anew.
    fn layer_norm_grad(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// Gradients of layer normalisation to gamma and beta.
    fn layer_norm_param_grads(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Attention that also returns the log-sum-exp of the scores, `[H, T]`. The inputs are queries,
    /// keys, values, and keys and values of the prefix.
    fn attention_saving(
        inputs: [FloatTensor<Self>; 5],
        plan: AttentionPlan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of attention to its inputs, those asked for.
    fn attention_grads(
        saved: AttentionSaved<Self>,
        grad: FloatTensor<Self>,
        plan: AttentionPlan,
        wanted: [bool; 5],
    ) -> [Option<FloatTensor<Self>>; 5];

    /// The low-rank product that also returns `scale · x · a`.
    fn low_rank_saving(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `scale · x · weight`.
    fn product_scaled(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self>;

    /// `x · weight + y · other` in one pass over the output.
    fn product_sum(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        y: FloatTensor<Self>,
        other: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The updated product that also returns what the update's gradients need.
    fn updated_product_saving(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        update: &RowUpdate,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of the updated product to `x`, if the weight is given, and to the coefficients.
    fn updated_product_grads(
        saved: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        weight: Option<FloatTensor<Self>>,
        coefficients: FloatTensor<Self>,
        update: &RowUpdate,
    ) -> (Option<FloatTensor<Self>>, FloatTensor<Self>);

    /// The rescaled rows, what their gradients need, and whether that is the output and not `x`.
    fn rescaled_saving(
        x: FloatTensor<Self>,
        center: FloatTensor<Self>,
        factor: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, bool);

    /// `grad ∘ factor`, and the sums of the columns of `grad ∘ (kept − center)`.
    fn rescaled_grads(
        kept: FloatTensor<Self>,
        center: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Sums of the columns of a matrix.
    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The sums of table rows that
    /// [`fused_embedding_norm`](KernelOps::fused_embedding_norm) normalises, in the type of `like`.
    fn embedding_sum(
        tables: [(FloatTensor<Self>, IntTensor<Self>); 3],
        like: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradients of the convolution to its rows, weight, bias and state, those asked for, from rows, weight and state.
    fn packed_conv_grads(
        inputs: [FloatTensor<Self>; 3],
        grad: FloatTensor<Self>,
        plan: ConvPlan,
        wanted: [bool; 4],
    ) -> [Option<FloatTensor<Self>>; 4];

    /// The rotation of [`rotated`](KernelOps::rotated) by the opposite angles.
    fn rotated_back(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;

    /// A table of `entries` rows: each the sum of the rows of `grad` that have its id.
    fn scatter_rows(
        grad: FloatTensor<Self>,
        ids: IntTensor<Self>,
        entries: usize,
    ) -> FloatTensor<Self>;

    /// The loss of a language head, and its gradients to the hidden rows and the weight, those that are wanted.
    fn head_loss_saving(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        plan: HeadPlan,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, [Option<FloatTensor<Self>>; 2]);

    /// Cross entropy that also returns the log-sum-exp of each row.
    fn cross_entropy_saving(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of cross entropy to the logits.
    fn cross_entropy_grad(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// What attention keeps for its backward pass.
#[derive(Clone, Debug)]
pub struct AttentionSaved<B: Backend> {
    /// Queries.
    pub q: FloatTensor<B>,
    /// Keys.
    pub k: FloatTensor<B>,
    /// Values.
    pub v: FloatTensor<B>,
    /// Keys of the prefix.
    pub prefix_k: FloatTensor<B>,
    /// Values of the prefix.
    pub prefix_v: FloatTensor<B>,
    /// The output.
    pub out: FloatTensor<B>,
    /// Log-sum-exp of the scores, `[H, T]`.
    pub lse: FloatTensor<B>,
}
