//! `config.json` of the first implementation, `mamba_ssm`, which names no type.

use serde_json::{Map, Value};

use super::{Fault, MambaConfig, StateSpace, step_limit, step_rank};
use crate::config::fields::ConfigFields;

/// Whether these are its fields.
pub fn is(map: &Map<String, Value>) -> bool {
    ["d_model", "n_layer", "vocab_size"]
        .iter()
        .all(|key| map.contains_key(*key))
        && ["ssm_cfg", "rms_norm", "pad_vocab_size_multiple"]
            .iter()
            .any(|key| map.contains_key(*key))
}

/// A field and the value that the models here have; another one makes another model.
const FIXED: [(&str, bool); 3] = [
    ("rmsnorm", true),
    ("norm_before_gate", false),
    ("D_has_hdim", false),
];

fn unfit<T>(problem: String) -> Result<T, Fault> {
    Err((
        problem,
        "use a checkpoint whose blocks are Mamba or Mamba-2 and nothing else",
    ))
}

/// The model of these fields. The table of tokens is padded to a multiple, which the fields do not count in.
pub fn read(fields: ConfigFields) -> Result<MambaConfig, Fault> {
    let hidden_size = fields.needed(&["d_model"])?;
    if !fields.flag("rms_norm", true)? {
        return unfit("`rms_norm` is false: norms with means are not supported".into());
    }
    if fields
        .list("attn_layer_idx")?
        .is_some_and(|all| !all.is_empty())
    {
        return unfit("`attn_layer_idx` names blocks of attention".into());
    }
    if fields.size(&["d_intermediate"])?.unwrap_or(0) > 0 {
        return unfit("`d_intermediate` asks for feed-forward parts".into());
    }
    let empty = Map::new();
    let own = fields.object("ssm_cfg")?.unwrap_or(ConfigFields(&empty));
    for (name, value) in FIXED {
        if own.flag(name, value)? != value {
            return unfit(format!("`ssm_cfg` has `{name}` = {}", !value));
        }
    }
    if own.0.get("d_ssm").is_some_and(|value| !value.is_null()) {
        return unfit("`ssm_cfg` has `d_ssm`, a gated part beside the state space".into());
    }
    let dual = match own.text(&["layer"])? {
        None | Some("Mamba1") => false,
        Some("Mamba2") => true,
        Some(other) => {
            let other = peft_format::shorten(other);
            return unfit(format!("`ssm_cfg` has `layer` = `{other}`"));
        }
    };
    let channels = own
        .size(&["expand"])?
        .unwrap_or(2)
        .saturating_mul(hidden_size);
    let space = match dual {
        true => {
            let width = own.size(&["headdim"])?.unwrap_or(64);
            if width == 0 || !channels.is_multiple_of(width) {
                return unfit(format!(
                    "heads of {width} do not divide {channels} channels"
                ));
            }
            StateSpace::Dual {
                heads: channels / width,
                groups: own.size(&["ngroups"])?.unwrap_or(1),
                step_limit: step_limit(own, "dt_limit")?,
            }
        }
        false => StateSpace::Selective {
            step_rank: step_rank(own, "dt_rank", hidden_size)?,
            norms: None,
        },
    };
    let multiple = fields
        .size(&["pad_vocab_size_multiple"])?
        .unwrap_or(8)
        .max(1);
    let vocabulary = fields.needed(&["vocab_size"])?;
    Ok(MambaConfig {
        vocab_size: vocabulary.div_ceil(multiple).saturating_mul(multiple),
        hidden_size,
        channels,
        states: own
            .size(&["d_state"])?
            .unwrap_or(if dual { 128 } else { 16 }),
        kernel: own.size(&["d_conv"])?.unwrap_or(4),
        space,
        layers: fields.needed(&["n_layer"])?,
        norm_eps: 1e-5,
        bias: own.flag("bias", false)?,
        conv_bias: own.flag("conv_bias", true)?,
        tied: fields.flag("tie_embeddings", true)?,
        initializer_range: 0.02,
    })
}
