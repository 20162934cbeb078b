//! What the fields of each family of decoders mean.

mod gemma;
mod gpt;
mod jamba;
mod llama;

use peft_core::kernels::{Activation, GeluKind};
use serde_json::Value;

use super::{DecoderConfig, Fault, RopeConfig, SUPPORTED, decoder::Defaults, fields::ConfigFields};

const FAMILIES: &[&str] = &[
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "gpt2",
    "gpt_neox",
    "granite",
    "smollm3",
    "jamba",
];

/// Whether this `model_type` is one of the decoders.
pub fn is_decoder(model_type: &str) -> bool {
    FAMILIES.contains(&model_type)
}

/// The decoder that a configuration describes.
pub fn read(fields: ConfigFields) -> Result<DecoderConfig, Fault> {
    match fields.text(&["model_type"])?.unwrap_or_default() {
        "llama" => llama::llama(fields, &Defaults::default()),
        "mistral" => llama::mistral(fields),
        "qwen2" => llama::qwen2(fields),
        "qwen3" => llama::qwen3(fields),
        "gemma" => gemma::gemma(fields),
        "gemma2" => gemma::gemma2(fields),
        "gemma3_text" => gemma::gemma3(fields),
        "phi3" => llama::phi3(fields),
        "gpt2" => gpt::gpt2(fields),
        "gpt_neox" => gpt::gpt_neox(fields),
        "granite" => llama::granite(fields),
        "smollm3" => llama::smollm3(fields),
        "jamba" => jamba::jamba(fields),
        other => Err((format!("model_type `{other}` is not supported"), SUPPORTED)),
    }
}

/// `rope_scaling`, or else the `rope_parameters` of newer files.
fn parameters(fields: ConfigFields<'_>) -> Result<Option<ConfigFields<'_>>, Fault> {
    match fields.object("rope_scaling")? {
        Some(scaling) => Ok(Some(scaling)),
        None => fields.object("rope_parameters"),
    }
}

/// One kind of rotary positions in all blocks, over a part of each head.
fn rotate(
    config: &mut DecoderConfig,
    fields: ConfigFields,
    theta: f64,
    part: f64,
) -> Result<(), Fault> {
    let mut parameters = parameters(fields)?;
    if let Some(all) = parameters
        && let Some(full) = all.object("full_attention")?
    {
        parameters = Some(full);
    }
    let within = parameters.map(|own| own.number("partial_rotary_factor"));
    let part = match within.transpose()?.flatten() {
        Some(part) => part,
        None => match fields.number("partial_rotary_factor")? {
            Some(part) => part,
            None => fields.number("rotary_pct")?.unwrap_or(part),
        },
    };
    let width = (config.head_width as f64 * part) as usize;
    let most = config.max_positions;
    config.ropes = vec![RopeConfig::read(fields, parameters, width, theta, most)?];
    config.rope_of = vec![Some(0); config.layers];
    Ok(())
}

/// Windows of the blocks: as `layer_types` lists them, or by a rule.
pub fn slide(
    config: &mut DecoderConfig,
    fields: ConfigFields,
    window: Option<usize>,
    rule: impl Fn(usize) -> bool,
) -> Result<(), Fault> {
    if window == Some(0) {
        return Err((
            "`sliding_window` is 0".into(),
            "correct the field, or fetch the file again",
        ));
    }
    let types = fields.list("layer_types")?;
    for layer in 0..config.layers {
        let slides = match types {
            None => rule(layer),
            Some(types) => match types.get(layer).and_then(Value::as_str) {
                Some("sliding_attention") => true,
                Some("full_attention") => false,
                other => {
                    let other = other.map_or("nothing".to_owned(), |other| {
                        format!("`{}`", peft_format::shorten(other))
                    });
                    return Err((
                        format!("`layer_types` says {other} of layer {layer}"),
                        "supported are full_attention and sliding_attention, one a layer",
                    ));
                }
            },
        };
        config.windows[layer] = window.filter(|_| slides);
    }
    Ok(())
}

pub fn activation(
    fields: ConfigFields,
    names: &[&str],
    absent: Activation,
) -> Result<Activation, Fault> {
    Ok(match fields.text(names)? {
        None => absent,
        Some("silu" | "swish") => Activation::Silu,
        Some("gelu") => Activation::Gelu(GeluKind::Erf),
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Activation::Gelu(GeluKind::Tanh),
        Some(other) => {
            return Err((
                format!("activation `{other}` is not supported"),
                "supported are silu, gelu, gelu_new and gelu_pytorch_tanh",
            ));
        }
    })
}
