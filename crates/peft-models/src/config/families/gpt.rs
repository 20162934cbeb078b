//! GPT-2 and GPT-NeoX.

use peft_core::kernels::{Activation, GeluKind};

use super::{activation, rotate};
use crate::config::{
    DecoderConfig, Fault, FeedForwardLayout, NormKind, QkvLayout, decoder::Defaults,
    fields::ConfigFields,
};

pub fn gpt2(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let defaults = Defaults {
        tied: true,
        ..Defaults::default()
    };
    let mut config = DecoderConfig::base(fields, &defaults)?;
    if fields.flag("add_cross_attention", false)? {
        return Err((
            "attention to an encoder is not supported".into(),
            "use a checkpoint without `add_cross_attention`",
        ));
    }
    config.norm = NormKind::Layer;
    config.norm_eps = fields.positive("layer_norm_epsilon", 1e-5)?;
    config.activation = activation(
        fields,
        &["activation_function"],
        Activation::Gelu(GeluKind::Tanh),
    )?;
    config.qkv = QkvLayout::Fused;
    config.feed_forward = FeedForwardLayout::Plain;
    config.transposed = true;
    config.learned_positions = true;
    (config.qkv_bias, config.output_bias) = (true, true);
    config.feed_forward_bias = true;
    if !fields.flag("scale_attn_weights", true)? {
        config.attention_scale = 1.0;
    }
    config.scale_by_depth = fields.flag("scale_attn_by_inverse_layer_idx", false)?;
    config.embedding_dropout = fields.dropout("embd_pdrop", 0.1)?;
    config.hidden_dropout = fields.dropout("resid_pdrop", 0.1)?;
    config.attention_dropout = fields.dropout("attn_pdrop", 0.1)?;
    Ok(config)
}

pub fn gpt_neox(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let mut config = DecoderConfig::base(fields, &Defaults::default())?;
    config.norm = NormKind::Layer;
    config.norm_eps = fields.positive("layer_norm_eps", 1e-5)?;
    let plain = Activation::Gelu(GeluKind::Erf);
    config.activation = activation(fields, &["hidden_act"], plain)?;
    config.parallel = fields.flag("use_parallel_residual", true)?;
    config.qkv = QkvLayout::FusedByHead;
    config.feed_forward = FeedForwardLayout::Plain;
    let bias = fields.flag("attention_bias", true)?;
    (config.qkv_bias, config.output_bias) = (bias, bias);
    config.feed_forward_bias = true;
    config.hidden_dropout = fields.dropout("hidden_dropout", 0.0)?;
    config.embedding_dropout = config.hidden_dropout;
    let theta = fields.positive("rotary_emb_base", 10_000.0)?;
    rotate(&mut config, fields, theta, 0.25)?;
    Ok(config)
}
