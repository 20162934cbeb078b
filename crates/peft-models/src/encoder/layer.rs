use burn::{Tensor, module::Module, tensor::activation::relu};
use peft_core::{
    AdapterContext,
    kernels::{self, AttentionOptions, GeluKind, RowLayout},
    nn::Linear,
};

use super::LayerNorm;
use crate::{Activation, EncoderConfig};

/// One block: attention and feed-forward, each followed by residual and norm.
#[derive(Module, Debug)]
pub struct Layer {
    /// Queries, `[hidden, hidden]`.
    pub query: Linear,
    /// Keys, `[hidden, hidden]`.
    pub key: Linear,
    /// Values, `[hidden, hidden]`.
    pub value: Linear,
    /// Output of the attention, `[hidden, hidden]`.
    pub output: Linear,
    /// Norm after the attention.
    pub attention_norm: LayerNorm,
    /// First half of the feed-forward block, `[hidden, intermediate]`.
    pub up: Linear,
    /// Second half of the feed-forward block, `[intermediate, hidden]`.
    pub down: Linear,
    /// Norm after the feed-forward block.
    pub norm: LayerNorm,
}

impl Layer {
    /// `[rows, hidden] -> [rows, hidden]`; `depth` is how many layers were applied before.
    pub fn forward(
        &self,
        x: Tensor<2>,
        rows: &RowLayout,
        config: &EncoderConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        // A layer that is applied repeatedly drops other values each time.
        let place = |what: u64| depth as u64 * 8 + what;
        let head_width = config.hidden_size / config.heads;
        let scale = 1.0 / (head_width as f64).sqrt();
        let options = AttentionOptions {
            dropout: context.dropout(config.attention_dropout, place(1)),
            ..AttentionOptions::new(config.heads, config.heads, scale)
        };
        let query = self.query.forward(x.clone(), context);
        let key = self.key.forward(x.clone(), context);
        let value = self.value.forward(x.clone(), context);
        let attended = kernels::attention(query, key, value, rows, &options);
        let attended = self.output.forward(attended, context);
        let attended = dropped(attended, context, config.hidden_dropout, place(2));
        let x = self.attention_norm.forward_residual(attended, x);
        let up = self.up.forward(x.clone(), context);
        let up = match config.activation {
            Activation::Gelu => kernels::gelu(up, GeluKind::Erf),
            Activation::GeluTanh => kernels::gelu(up, GeluKind::Tanh),
            Activation::Relu => relu(up),
        };
        let down = self.down.forward(up, context);
        let down = dropped(down, context, config.hidden_dropout, place(3));
        self.norm.forward_residual(down, x)
    }
}

pub(crate) fn dropped(x: Tensor<2>, context: &AdapterContext, p: f64, place: u64) -> Tensor<2> {
    match context.dropout(p, place) {
        Some(dropout) => kernels::dropout(x, dropout),
        None => x,
    }
}
