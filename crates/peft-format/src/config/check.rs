//! Refusing options that would change the result and that the reader does not know.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::AdapterConfig;
use crate::error::{FormatError, Result, shorten};
use crate::{TargetModules, near};

/// Keys that every reader understands through [`AdapterConfig`] or may ignore: they say where the
/// adapter comes from, where it goes, or how PEFT should run.
pub const COMMON_KEYS: [&str; 14] = [
    "peft_type",
    "task_type",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "peft_version",
    "auto_mapping",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
    "bias",
    "runtime_config",
];

/// Where the start of training is chosen: mostly without a trace in how a saved adapter is applied.
const INIT: &str = "init_lora_weights";
/// How those begin by which PEFT changes the base weights when it loads the adapter, too.
const INITS_OF_THE_BASE: [&str; 4] = ["pissa", "olora", "corda", "loftq"];
/// Keys that only refine another key, which is refused by itself when it is on, and one that says how the
/// base stores its weights, which its kind tells: PEFT sets it by itself for GPT-2.
const DEPENDENT_KEYS: [&str; 5] = [
    "eva_config",
    "lora_ga_config",
    "qalora_group_size",
    "megatron_core",
    "fan_in_fan_out",
];

/// Keys by which PEFT describes the base of a trained prompt or prefix.
const PROMPT_KEYS: [&str; 4] = [
    "token_dim",
    "num_layers",
    "num_attention_heads",
    "num_transformer_submodules",
];

/// Each PEFT type's defaults other than null, false and empty, from PEFT 0.21.2 by
/// `tools/dump_peft_defaults.py`.
const DEFAULTS: &str = include_str!("peft_defaults.json");

impl AdapterConfig {
    /// Fails if the configuration sets an option that is not in `known`, not common, and neither
    /// null, false, empty nor PEFT's own default for this adapter type.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] naming the first such key in file order.
    pub fn reject_unsupported(&self, known: &[&str]) -> Result<()> {
        for (key, value) in self.fields() {
            let key = key.as_str();
            let told = known.contains(&key) || COMMON_KEYS.contains(&key);
            if told || self.is_of_a_prompt(key) || self.is_neutral(key, value) {
                continue;
            }
            let candidates = known.iter().chain(&COMMON_KEYS).copied();
            return Err(FormatError::Unsupported {
                path: self.path().to_owned(),
                key: shorten(key),
                value: short_value(value),
                peft_type: shorten(self.peft_type()),
                near: near::did_you_mean(&near::nearest(key, candidates, 1)),
            });
        }
        Ok(())
    }

    /// The keys without the option of how training started, where it has no trace in how the adapter is
    /// applied: the method of such keys is that of the saved adapter.
    pub fn fields_as_saved(&self) -> Map<String, Value> {
        let mut fields = self.fields().clone();
        if fields.get(INIT).is_some_and(concerns_the_start) {
            fields.shift_remove(INIT);
        }
        fields
    }

    /// Whether a key of a trained prompt or prefix says what its tensor tells, or how it was made, of which files hold the
    /// outcome.
    fn is_of_a_prompt(&self, key: &str) -> bool {
        let own: &[&str] = match self.peft_type() {
            "PREFIX_TUNING" => &[],
            "PROMPT_TUNING" => &[
                "prompt_tuning_init_text",
                "tokenizer_name_or_path",
                "tokenizer_kwargs",
            ],
            "P_TUNING" => &[
                "encoder_reparameterization_type",
                "encoder_num_layers",
                "encoder_dropout",
            ],
            _ => return false,
        };
        PROMPT_KEYS.contains(&key) || own.contains(&key)
    }

    fn is_neutral(&self, key: &str, value: &Value) -> bool {
        let is_default = || {
            let default = defaults().get(self.peft_type()).and_then(|d| d.get(key));
            default.is_some_and(|default| same(default, value))
        };
        let harmless_init = || key == INIT && concerns_the_start(value);
        // A false switch may itself be an unusual choice, but `init_weights: false` and the like
        // concern the start of training only, and the saved tensors replace it.
        is_idle(value) || DEPENDENT_KEYS.contains(&key) || harmless_init() || is_default()
    }
}

/// Whether PEFT has a setting for an adapter type, or does not know the type at all. Known are settings with a
/// default other than null, false and empty.
pub fn peft_knows(peft_type: &str, key: &str) -> bool {
    defaults()
        .get(peft_type)
        .is_none_or(|known| known.get(key).is_some())
}

/// Whether PEFT has an adapter type, so that it can load what is saved as one.
pub fn peft_has(peft_type: &str) -> bool {
    defaults().contains_key(peft_type)
}

/// Model types whose fused kernels would pass by adapters on some layers, so that PEFT refuses them there.
const MAMBAS: [&str; 5] = ["mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"];

impl AdapterConfig {
    /// The layer on which PEFT 0.21 refuses this adapter on a model of a `model_type`: LoRA and its kind on `out_proj`
    /// or `conv1d` of a Mamba. `None` where it is not refused for that.
    pub fn refused_by_peft(&self, model_type: &str) -> Option<&'static str> {
        let of_kind = ["LORA", "ADALORA", "XLORA", "RANDLORA"].contains(&self.peft_type());
        if !of_kind || !MAMBAS.contains(&model_type) {
            return None;
        }
        let matcher = self.target().compile().ok()?;
        let answers = |name: &&str| match &self.target().modules {
            // Of any layer.
            TargetModules::List(names) => names.iter().any(|one| one.ends_with(name)),
            _ => matcher
                .matches(&format!("backbone.layers.0.mixer.{name}"))
                .unwrap_or(false),
        };
        ["out_proj", "conv1d"].into_iter().find(answers)
    }
}

/// Whether a choice of the start concerns nothing but the start.
fn concerns_the_start(init: &Value) -> bool {
    let of_the_base = |name: &str| {
        INITS_OF_THE_BASE
            .iter()
            .any(|begin| name.starts_with(begin))
    };
    init.is_boolean() || init.as_str().is_some_and(|name| !of_the_base(name))
}

fn defaults() -> &'static Map<String, Value> {
    static PARSED: OnceLock<Map<String, Value>> = OnceLock::new();
    // A test parses the text; were it broken, nothing would count as a default: the safe side.
    PARSED.get_or_init(|| serde_json::from_str(DEFAULTS).unwrap_or_default())
}

/// Null, false or empty: what a switch that is off looks like.
pub(super) fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Equality in which `150` is `150.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A value for a message.
pub(super) fn short_value(value: &Value) -> String {
    shorten(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_parse() {
        assert_eq!(defaults()["LORA"]["r"], 8);
        assert!(defaults().len() > 30);
        assert!(peft_knows("LORA", "bias") && peft_knows("SDCTFT", "bias"));
        assert!(!peft_knows("SHIRA", "bias"));
        assert!(peft_has("LORA") && peft_has("LN_TUNING") && !peft_has("SDCTFT"));
    }
}
