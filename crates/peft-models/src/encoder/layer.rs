use burn::{Tensor, module::Module};
use peft_core::{
    AdapterContext, Hidden, KeyValues, Prefixes, Slot, kernels::AttentionOptions, nn::Linear,
};

use super::{Relative, relative::At};
use crate::{
    EncoderConfig, ModelError, PackedBatch, RelativePositions,
    loader::Loader,
    parts::{LayerNorm, activated, attend, dropped},
};

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
    /// Changes what the attention reads.
    pub before_attention: Slot<Hidden>,
    /// Changes keys and values, or puts some before them.
    pub keys_values: Slot<KeyValues>,
    /// Changes what the attention gives, before it is added.
    pub after_attention: Slot<Hidden>,
    /// Changes what the feed-forward part reads.
    pub before_feed_forward: Slot<Hidden>,
    /// Changes what the feed-forward part gives, from what it reads.
    pub beside_feed_forward: Slot<Hidden>,
    /// Changes what the feed-forward part gives, before it is added.
    pub after_feed_forward: Slot<Hidden>,
}

impl Layer {
    /// The layer of a path, `encoder.layers.0` for the first.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &EncoderConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, eps) = (config.hidden_size, config.layer_norm_eps);
        let part = |name: &str| format!("{path}.{name}");
        Ok(Self {
            query: loader.linear(&part("query"))?,
            key: loader.linear(&part("key"))?,
            value: loader.linear(&part("value"))?,
            output: loader.linear(&part("output"))?,
            attention_norm: loader.layer_norm(&part("attention_norm"), eps)?,
            up: loader.linear(&part("up"))?,
            down: loader.linear(&part("down"))?,
            norm: loader.layer_norm(&part("norm"), eps)?,
            before_attention: Slot::new([hidden]),
            keys_values: Slot::new([hidden]),
            after_attention: Slot::new([hidden]),
            before_feed_forward: Slot::new([hidden]),
            beside_feed_forward: Slot::new([hidden]),
            after_feed_forward: Slot::new([hidden]),
        })
    }

    /// `[rows, hidden] -> [rows, hidden]`; `depth` is how many layers were applied before.
    pub fn forward(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        relative: Option<&Relative>,
        config: &EncoderConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        // A layer that is applied repeatedly drops other values each time.
        let place = |what: u64| depth as u64 * 8 + what;
        let head_width = config.hidden_size / config.heads;
        let scale = match config.relative {
            // The reference takes this root in single precision.
            Some(RelativePositions::Disentangled(own)) => {
                1.0 / f64::from(((head_width * own.parts()) as f32).sqrt())
            }
            _ => 1.0 / (head_width as f64).sqrt(),
        };
        let options = AttentionOptions {
            dropout: context.dropout_of_depth(config.attention_dropout, place(1)),
            ..AttentionOptions::new(config.heads, config.heads, scale)
        };
        let as_it_is = |x: Tensor<2>, _: Tensor<2>| x;
        let read = self
            .before_attention
            .through(x.clone(), &x, as_it_is, context);
        let query = self.query.forward(read.clone(), context);
        let keys = self.key.forward(read.clone(), context);
        let values = self.value.forward(read, context);
        let seen = KeyValues {
            keys,
            values,
            prefix: Prefixes::None,
        };
        let seen = self.keys_values.pass(seen, context);
        let attended = match relative {
            None => attend(query, seen, &batch.rows, &options),
            Some(relative) => relative.attend(
                query,
                seen,
                &At {
                    layer: self,
                    batch,
                    options,
                    dropout: (config.hidden_dropout, place(4)),
                    context,
                },
            ),
        };
        let attended = self.output.forward(attended, context);
        let attended = dropped(attended, context, config.hidden_dropout, place(2));
        let norm = |x, residual| self.attention_norm.forward_residual(x, residual, context);
        let attended = self.after_attention.through(attended, &x, norm, context);
        let x = norm(attended, x);
        let read = self
            .before_feed_forward
            .through(x.clone(), &x, as_it_is, context);
        let up = self.up.forward(read.clone(), context);
        let up = activated(up, config.activation);
        let down = self.down.forward(up, context);
        let down = dropped(down, context, config.hidden_dropout, place(3));
        let norm = |x, residual| self.norm.forward_residual(x, residual, context);
        // The norm that follows is of the sum with the residual, whatever the part reads.
        let of_sum = |down, _| norm(down, x.clone());
        let down = self
            .beside_feed_forward
            .through(down, &read, of_sum, context);
        norm(self.after_feed_forward.through(down, &x, norm, context), x)
    }
}
