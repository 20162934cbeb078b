//! ModernBERT: an encoder whose blocks are those of a decoder that sees both sides.

use peft_core::kernels::{self, GeluKind};
use serde_json::{Map, Value};

use super::{
    Activation, DecoderConfig, EncoderConfig, Family, Fault, FeedForwardLayout, NormKind, Pooling,
    QkvLayout, RopeConfig,
    decoder::Defaults,
    families::{activation, slide},
    fields::ConfigFields,
    named,
};

const FIX: &str = "correct the field, or fetch the file again";

/// Bases of the rotary positions of blocks that see all tokens, and of those with a window.
const THETAS: [(&str, &str, f64); 2] = [
    ("full_attention", "global_rope_theta", 160_000.0),
    ("sliding_attention", "local_rope_theta", 10_000.0),
];

pub fn read(map: &Map<String, Value>) -> Result<EncoderConfig, Fault> {
    let fields = ConfigFields(map);
    let mut blocks = DecoderConfig::base(fields, &Defaults::default())?;
    if blocks.query_width() != blocks.hidden_size || blocks.kv_heads != blocks.heads {
        return Err((
            format!(
                "{} heads of {} channels for {} are not this family's",
                blocks.heads, blocks.head_width, blocks.hidden_size
            ),
            FIX,
        ));
    }
    for name in ["attention_dropout", "mlp_dropout"] {
        let probability = fields.dropout(name, 0.0)?;
        if probability > 0.0 {
            return Err((
                format!(
                    "`{name}` is {probability}: this dropout inside of blocks is not supported"
                ),
                "set it to 0, as published checkpoints have it",
            ));
        }
    }
    if fields.object("rope_scaling")?.is_some() {
        return Err((
            "`rope_scaling` is not supported for this family".into(),
            "use a checkpoint without it, or `rope_parameters` of each kind of attention",
        ));
    }
    blocks.causal = false;
    blocks.first_norm = false;
    blocks.norm = match fields.flag("norm_bias", false)? {
        true => NormKind::Layer,
        false => NormKind::LayerWithoutBias,
    };
    blocks.norm_eps = fields.positive("norm_eps", 1e-5)?;
    blocks.qkv = QkvLayout::Fused;
    blocks.feed_forward = FeedForwardLayout::GatedFused;
    blocks.qkv_bias = fields.flag("attention_bias", false)?;
    blocks.output_bias = blocks.qkv_bias;
    blocks.feed_forward_bias = fields.flag("mlp_bias", false)?;
    let gelu = kernels::Activation::Gelu(GeluKind::Erf);
    blocks.activation = activation(fields, &["hidden_activation"], gelu)?;
    let window = fields.size(&["local_attention"])?.unwrap_or(128) / 2 + 1;
    let every = fields.size(&["global_attn_every_n_layers"])?.unwrap_or(3);
    if every == 0 {
        return Err(("`global_attn_every_n_layers` is 0".into(), FIX));
    }
    slide(&mut blocks, fields, Some(window), |layer| {
        !layer.is_multiple_of(every)
    })?;
    let parameters = fields.object("rope_parameters")?;
    for (kind, old, theta) in THETAS {
        let own = parameters
            .map(|all| all.object(kind))
            .transpose()?
            .flatten();
        let theta = fields.number(old)?.unwrap_or(theta);
        let (width, most) = (blocks.head_width, blocks.max_positions);
        let rope = RopeConfig::read(ConfigFields(&Map::new()), own, width, theta, most)?;
        blocks.ropes.push(rope);
    }
    blocks.rope_of = blocks
        .windows
        .iter()
        .map(|window| Some(usize::from(window.is_some())))
        .collect();
    let blocks = blocks.checked()?;
    Ok(EncoderConfig {
        family: Family::ModernBert,
        model_type: blocks.model_type.clone(),
        vocab_size: blocks.vocab_size,
        embedding_size: blocks.hidden_size,
        hidden_size: blocks.hidden_size,
        layers: blocks.layers,
        distinct_layers: blocks.layers,
        heads: blocks.heads,
        intermediate_size: blocks.intermediate_size,
        max_positions: blocks.max_positions,
        first_position: 0,
        learned_positions: false,
        relative: None,
        type_vocab_size: 0,
        layer_norm_eps: blocks.norm_eps,
        activation: Activation::Gelu,
        hidden_dropout: fields.dropout("embedding_dropout", 0.0)?,
        attention_dropout: 0.0,
        pooler_dropout: 0.0,
        head_dropout: fields.dropout("classifier_dropout", 0.0)?,
        head_activation: Activation::named(
            fields.text(&["classifier_activation"])?.unwrap_or("gelu"),
        )?,
        head_bias: fields.flag("classifier_bias", false)?,
        pooling: match fields.text(&["classifier_pooling"])? {
            None | Some("cls") => Pooling::First,
            Some("mean") => Pooling::Mean,
            Some(other) => {
                let other = peft_format::shorten(other);
                return Err((
                    format!("`classifier_pooling` is `{other}`"),
                    "supported are cls and mean",
                ));
            }
        },
        initializer_range: blocks.initializer_range,
        labels: named(map)?,
        blocks: Some(Box::new(blocks)),
    })
}
