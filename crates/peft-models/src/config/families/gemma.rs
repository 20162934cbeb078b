//! The three generations of Gemma.

use peft_core::kernels::{Activation, GeluKind};

use super::{activation, llama::llama, parameters, slide};
use crate::config::{
    DecoderConfig, Fault, NormKind, RopeConfig, decoder::Defaults, fields::ConfigFields,
};

pub fn gemma(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let defaults = Defaults {
        head_width: Some(256),
        tied: true,
        ..Defaults::default()
    };
    let mut config = llama(fields, &defaults)?;
    config.feed_forward_bias = false;
    config.norm = NormKind::RmsPlusOne;
    // Files of the first Gemma say `gelu` under either name and mean the approximation.
    let names = &["hidden_activation", "hidden_act"];
    let kind = activation(fields, names, Activation::Gelu(GeluKind::Tanh))?;
    config.activation = match kind {
        Activation::Gelu(_) => Activation::Gelu(GeluKind::Tanh),
        other => other,
    };
    // In the type of the computation, as the tokens' rows are.
    config.embedding_scale = f64::from((config.hidden_size as f32).sqrt());
    Ok(config)
}

pub fn gemma2(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let mut config = gemma(fields)?;
    config.post_norms = true;
    config.attention_scale = fields.positive("query_pre_attn_scalar", 256.0)?.powf(-0.5);
    config.attention_softcap = softcap(fields, "attn_logit_softcapping", Some(50.0))?;
    config.logits_softcap = softcap(fields, "final_logit_softcapping", Some(30.0))?;
    let window = fields.size(&["sliding_window"])?.or(Some(4096));
    slide(&mut config, fields, window, |layer| layer % 2 == 0)?;
    Ok(config)
}

pub fn gemma3(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    let mut config = gemma(fields)?;
    config.post_norms = true;
    config.head_norms = true;
    config.attention_scale = fields.positive("query_pre_attn_scalar", 256.0)?.powf(-0.5);
    config.attention_softcap = softcap(fields, "attn_logit_softcapping", None)?;
    config.logits_softcap = softcap(fields, "final_logit_softcapping", None)?;
    if fields.flag("use_bidirectional_attention", false)? {
        return Err((
            "attention in both directions is not supported".into(),
            "use a checkpoint that predicts the next token",
        ));
    }
    let pattern = fields.size(&["sliding_window_pattern", "_sliding_window_pattern"])?;
    let pattern = pattern.unwrap_or(6).max(1);
    let window = fields.size(&["sliding_window"])?.or(Some(4096));
    slide(&mut config, fields, window, |layer| {
        (layer + 1) % pattern != 0
    })?;
    // Blocks that see a window have frequencies of their own, and no scaling.
    let (width, most) = (config.head_width, config.max_positions);
    let parameters = parameters(fields)?;
    let (global, local) = match parameters {
        Some(all) if all.has("full_attention") || all.has("sliding_attention") => (
            all.object("full_attention")?,
            all.object("sliding_attention")?,
        ),
        other => (other, None),
    };
    let own = local
        .map(|local| local.number("rope_theta"))
        .transpose()?
        .flatten();
    let local_theta = match own {
        Some(theta) => theta,
        None => fields.positive("rope_local_base_freq", 10_000.0)?,
    };
    let local = RopeConfig {
        theta: local_theta,
        ..RopeConfig::read(fields, local, width, 10_000.0, most)?
    };
    config.ropes = vec![RopeConfig::read(fields, global, width, 1e6, most)?, local];
    let kinds = config
        .windows
        .iter()
        .map(|window| Some(usize::from(window.is_some())));
    config.rope_of = kinds.collect();
    Ok(config)
}

fn softcap(fields: ConfigFields, name: &str, absent: Option<f64>) -> Result<Option<f64>, Fault> {
    match (fields.number(name)?, fields.has(name)) {
        (None, true) => Ok(None),
        (None, false) => Ok(absent),
        (Some(_), _) => fields.positive(name, 1.0).map(Some),
    }
}
