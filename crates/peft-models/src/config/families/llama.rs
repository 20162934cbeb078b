//! Llama and what followed it closely.

use serde_json::Value;

use peft_core::kernels::Activation;

use super::{activation, rotate, slide};
use crate::config::{
    DecoderConfig, Fault, FeedForwardLayout, QkvLayout, decoder::Defaults, fields::ConfigFields,
};

/// Rotary positions of one kind in all blocks, and the plain biases.
pub fn llama(fields: ConfigFields, defaults: &Defaults) -> Result<DecoderConfig, Fault> {
    let mut config = DecoderConfig::base(fields, defaults)?;
    config.activation = activation(fields, &["hidden_act"], Activation::Silu)?;
    let bias = fields.flag("attention_bias", false)?;
    (config.qkv_bias, config.output_bias) = (bias, bias);
    config.feed_forward_bias = fields.flag("mlp_bias", false)?;
    rotate(&mut config, fields, 10_000.0, 1.0)?;
    Ok(config)
}

pub fn mistral(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let defaults = Defaults {
        kv_heads: Some(8),
        ..Defaults::default()
    };
    let mut config = llama(fields, &defaults)?;
    (config.qkv_bias, config.output_bias) = (false, false);
    config.feed_forward_bias = false;
    let window = match fields.has("sliding_window") {
        true => fields.size(&["sliding_window"])?,
        false => Some(4096),
    };
    slide(&mut config, fields, window, |_| true)?;
    Ok(config)
}

pub fn qwen2(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let mut config = llama(fields, &Defaults::default())?;
    (config.qkv_bias, config.output_bias) = (true, false);
    config.feed_forward_bias = false;
    slide_last(&mut config, fields)?;
    Ok(config)
}

pub fn qwen3(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let defaults = Defaults {
        head_width: Some(128),
        ..Defaults::default()
    };
    let mut config = llama(fields, &defaults)?;
    config.head_norms = true;
    config.feed_forward_bias = false;
    slide_last(&mut config, fields)?;
    Ok(config)
}

pub fn phi3(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let defaults = Defaults {
        norm_eps: 1e-5,
        ..Defaults::default()
    };
    let mut config = llama(fields, &defaults)?;
    (config.qkv_bias, config.output_bias) = (false, false);
    config.feed_forward_bias = false;
    config.qkv = QkvLayout::Fused;
    config.feed_forward = FeedForwardLayout::GatedFused;
    config.hidden_dropout = fields.dropout("resid_pdrop", 0.0)?;
    config.embedding_dropout = fields.dropout("embd_pdrop", 0.0)?;
    let window = fields.size(&["sliding_window"])?;
    slide(&mut config, fields, window, |_| true)?;
    Ok(config)
}

pub fn granite(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let mut config = llama(fields, &Defaults::default())?;
    config.embedding_scale = fields.positive("embedding_multiplier", 1.0)?;
    config.residual_scale = fields.positive("residual_multiplier", 1.0)?;
    config.attention_scale = fields.positive("attention_multiplier", 1.0)?;
    config.logits_divisor = fields.positive("logits_scaling", 1.0)?;
    Ok(config)
}

pub fn smollm3(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let defaults = Defaults {
        kv_heads: Some(4),
        tied: true,
        ..Defaults::default()
    };
    let mut config = llama(fields, &defaults)?;
    rotate(&mut config, fields, 2e6, 1.0)?;
    let interval = fields
        .size(&["no_rope_layer_interval"])?
        .unwrap_or(4)
        .max(1);
    let given = fields.list("no_rope_layers")?;
    for layer in 0..config.layers {
        // The list says where there are positions, whatever its name.
        let rotated = match given {
            Some(list) => list.get(layer).and_then(Value::as_u64) != Some(0),
            None => (layer + 1) % interval != 0,
        };
        if !rotated {
            config.rope_of[layer] = None;
        }
    }
    let window = match fields.flag("use_sliding_window", false)? {
        true => fields.size(&["sliding_window"])?,
        false => None,
    };
    let plain: Vec<bool> = config.rope_of.iter().map(Option::is_none).collect();
    slide(&mut config, fields, window, |layer| plain[layer])?;
    Ok(config)
}

/// Qwen's windows: of the last layers, and only where they are switched on.
fn slide_last(config: &mut DecoderConfig, fields: ConfigFields) -> Result<(), Fault> {
    let window = match fields.flag("use_sliding_window", false)? {
        true => fields.size(&["sliding_window"])?.or(Some(4096)),
        false => None,
    };
    let first = fields.size(&["max_window_layers"])?.unwrap_or(28);
    slide(config, fields, window, |layer| layer >= first)
}
