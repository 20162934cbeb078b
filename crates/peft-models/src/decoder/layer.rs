use burn::{Tensor, module::Module};
use peft_core::{
    AdapterContext, Hidden, KeyValues, Prefixes, Slot,
    kernels::{self, AttentionOptions},
};

use crate::{
    DecoderConfig, ModelError, NormKind, PackedBatch, QkvLayout,
    loader::Loader,
    parts::{Norm, Projection, RmsNorm, dropped},
};

/// One block: attention and feed-forward part, each after a norm and before the residual. ModernBERT's are the same, and see
/// both sides.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Norm before the attention; none in ModernBERT's first block, whose input is normalised already.
    pub attention_norm: Option<Norm>,
    /// Queries, `[hidden, H · D]`.
    pub query: Option<Projection>,
    /// Keys, `[hidden, Hkv · D]`.
    pub key: Option<Projection>,
    /// Values, `[hidden, Hkv · D]`.
    pub value: Option<Projection>,
    /// The three of them in one matrix.
    pub query_key_value: Option<Projection>,
    /// Norm of the queries of each head.
    pub query_norm: Option<RmsNorm>,
    /// Norm of the keys of each head.
    pub key_norm: Option<RmsNorm>,
    /// Output of the attention, `[H · D, hidden]`.
    pub output: Projection,
    /// Norm of what the attention adds.
    pub post_attention_norm: Option<Norm>,
    /// Norm before the feed-forward part.
    pub feed_forward_norm: Norm,
    /// Gate beside its first half, `[hidden, intermediate]`.
    pub gate: Option<Projection>,
    /// Its first half, `[hidden, intermediate]`.
    pub up: Option<Projection>,
    /// Gate and first half in one matrix, the gate first.
    pub gate_up: Option<Projection>,
    /// Its second half, `[intermediate, hidden]`.
    pub down: Projection,
    /// Norm of what the feed-forward part adds.
    pub post_feed_forward_norm: Option<Norm>,
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

impl DecoderLayer {
    /// The layer of a path, `decoder.layers.0` for the first.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &DecoderConfig,
    ) -> Result<Self, ModelError> {
        let plus_one = config.norm == NormKind::RmsPlusOne;
        let part = |name: &str| format!("{path}.{name}");
        let norm =
            |loader: &mut Loader, path: &str| loader.norm(path, config.norm_eps, config.norm);
        let head_norm =
            |loader: &mut Loader, path: &str| loader.rms_norm(path, config.norm_eps, plus_one);
        let linear = Loader::projection;
        Ok(Self {
            attention_norm: loader.optional(&part("attention_norm"), norm)?,
            query: loader.optional(&part("query"), linear)?,
            key: loader.optional(&part("key"), linear)?,
            value: loader.optional(&part("value"), linear)?,
            query_key_value: loader.optional(&part("query_key_value"), linear)?,
            query_norm: loader.optional(&part("query_norm"), head_norm)?,
            key_norm: loader.optional(&part("key_norm"), head_norm)?,
            output: loader.projection(&part("output"))?,
            post_attention_norm: loader.optional(&part("post_attention_norm"), norm)?,
            feed_forward_norm: norm(loader, &part("feed_forward_norm"))?,
            gate: loader.optional(&part("gate"), linear)?,
            up: loader.optional(&part("up"), linear)?,
            gate_up: loader.optional(&part("gate_up"), linear)?,
            down: loader.projection(&part("down"))?,
            post_feed_forward_norm: loader.optional(&part("post_feed_forward_norm"), norm)?,
            before_attention: Slot::new([config.hidden_size]),
            keys_values: Slot::new([config.kv_width()]),
            after_attention: Slot::new([config.hidden_size]),
            before_feed_forward: Slot::new([config.hidden_size]),
            beside_feed_forward: Slot::new([config.hidden_size]),
            after_feed_forward: Slot::new([config.hidden_size]),
        })
    }

    /// `[rows, hidden] -> [rows, hidden]`; `depth` is how many layers were applied before, and `context`
    /// that of rows of tokens.
    pub fn forward(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        config: &DecoderConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        // Blocks drop values at places of their own.
        let place = |what: u64| depth as u64 * 8 + what;
        let add = |x: Tensor<2>, part: Tensor<2>, what: u64| {
            let part = dropped(part, context, config.hidden_dropout, place(what));
            match config.residual_scale {
                1.0 => x + part,
                scale => x + part * scale,
            }
        };
        let as_it_is = |x: Tensor<2>, _: Tensor<2>| x;
        let feed_forward = |x: &Tensor<2>| {
            let wide = self.feed_forward(x, config, context);
            let wide = through(&self.post_feed_forward_norm, wide, context);
            self.after_feed_forward.through(wide, x, as_it_is, context)
        };
        let attended = self.attend(&x, batch, config, depth, context);
        let attended = through(&self.post_attention_norm, attended, context);
        let attended = self
            .after_attention
            .through(attended, &x, as_it_is, context);
        if config.parallel {
            let wide = feed_forward(&x);
            return add(add(x, attended, 2), wide, 3);
        }
        let x = add(x, attended, 2);
        let wide = feed_forward(&x);
        add(x, wide, 3)
    }

    fn attend(
        &self,
        residual: &Tensor<2>,
        batch: &PackedBatch,
        config: &DecoderConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let x = through(&self.attention_norm, residual.clone(), context);
        let x = self
            .before_attention
            .through(x, residual, |x, _| x, context);
        let dtype = x.dtype();
        let [mut query, mut key, value] = self.query_key_value(x, config, context);
        let heads = |x: Tensor<2>, norm: &RmsNorm, heads: usize| {
            let [rows, width] = x.dims();
            let x = norm.forward(x.reshape([rows, heads, width / heads]), context);
            x.reshape([rows, width])
        };
        if let Some(norm) = &self.query_norm {
            query = heads(query, norm, config.heads);
        }
        if let Some(norm) = &self.key_norm {
            key = heads(key, norm, config.kv_heads);
        }
        if let Some(kind) = config.rope_of[depth] {
            let table = batch.rope(&config.ropes[kind], dtype.into());
            query = table.rotate(query, config.heads);
            key = table.rotate(key, config.kv_heads);
        }
        let scale = match config.scale_by_depth {
            true => config.attention_scale / (depth + 1) as f64,
            false => config.attention_scale,
        };
        let options = AttentionOptions {
            causal: config.causal,
            dropout: context.dropout_of_depth(config.attention_dropout, depth as u64 * 8 + 1),
            window: config.windows[depth],
            softcap: config.attention_softcap,
            ..AttentionOptions::new(config.heads, config.kv_heads, scale)
        };
        let seen = KeyValues {
            keys: key,
            values: value,
            prefix: Prefixes::None,
        };
        let seen = self.keys_values.pass(seen, context);
        let attended = batch.attend(depth, query, seen, &options);
        self.output.forward(attended, context)
    }

    /// Queries, keys and values of normalised rows.
    fn query_key_value(
        &self,
        x: Tensor<2>,
        config: &DecoderConfig,
        context: &AdapterContext,
    ) -> [Tensor<2>; 3] {
        if let (Some(query), Some(key), Some(value)) = (&self.query, &self.key, &self.value) {
            return [query, key, value].map(|part| part.forward(x.clone(), context));
        }
        let fused = self.query_key_value.as_ref();
        let fused = fused.expect("queries, keys and values are in three matrices or in one");
        let fused = fused.forward(x, context);
        let (query, key) = (config.query_width(), config.kv_width());
        match config.qkv {
            QkvLayout::FusedByHead => {
                let [rows, width] = fused.dims();
                let head = config.head_width;
                let by_head = fused.reshape([rows, config.heads, 3, head]);
                [0, 1, 2].map(|part| {
                    by_head
                        .clone()
                        .narrow(2, part, 1)
                        .reshape([rows, width / 3])
                })
            }
            QkvLayout::Fused | QkvLayout::Separate => {
                [(0, query), (query, key), (query + key, key)]
                    .map(|(start, width)| fused.clone().narrow(1, start, width))
            }
        }
    }

    fn feed_forward(
        &self,
        residual: &Tensor<2>,
        config: &DecoderConfig,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let x = self.feed_forward_norm.forward(residual.clone(), context);
        let x = self
            .before_feed_forward
            .through(x, residual, |x, _| x, context);
        let (read, wide) = (x.clone(), config.intermediate_size);
        let x = match (&self.gate, &self.up, &self.gate_up) {
            (Some(gate), Some(up), _) => {
                let gate = gate.forward(x.clone(), context);
                kernels::gated(gate, up.forward(x, context), config.activation)
            }
            (_, Some(up), _) => match config.activation {
                kernels::Activation::Gelu(kind) => kernels::gelu(up.forward(x, context), kind),
                kernels::Activation::Silu => kernels::silu(up.forward(x, context)),
            },
            (_, None, fused) => {
                let fused = fused
                    .as_ref()
                    .expect("the feed-forward part has a first half");
                let fused = fused.forward(x, context);
                let (gate, up) = (
                    fused.clone().narrow(1, 0, wide),
                    fused.narrow(1, wide, wide),
                );
                kernels::gated(gate, up, config.activation)
            }
        };
        let x = self.down.forward(x, context);
        self.beside_feed_forward
            .through(x, &read, |x, _| x, context)
    }
}

fn through(norm: &Option<Norm>, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x, context),
        None => x,
    }
}
