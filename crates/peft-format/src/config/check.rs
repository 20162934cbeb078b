//! Refusing options that would change the result and that the reader does not know.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::AdapterConfig;
use crate::error::{FormatError, Result, shorten};
use crate::near;

/// Keys that every reader understands through [`AdapterConfig`] or may ignore: they say where the
/// adapter comes from, where it goes, or how PEFT should run.
pub const COMMON_KEYS: [&str; 13] = [
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
    "runtime_config",
];

/// Options of how training starts, without a trace in how a saved adapter is applied. Not so
/// `pissa`, `olora`, `corda` and `loftq`: they change the base weights.
const HARMLESS_INITS: [&str; 3] = ["gaussian", "orthogonal", "eva"];
/// Keys that only refine another key, which is refused by itself when it is on.
const DEPENDENT_KEYS: [&str; 3] = ["eva_config", "qalora_group_size", "megatron_core"];

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
            if known.contains(&key) || COMMON_KEYS.contains(&key) || self.is_neutral(key, value) {
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

    fn is_neutral(&self, key: &str, value: &Value) -> bool {
        let is_default = || {
            let default = defaults().get(self.peft_type()).and_then(|d| d.get(key));
            default.is_some_and(|default| same(default, value))
        };
        let harmless_init = || {
            key == "init_lora_weights"
                && value
                    .as_str()
                    .is_some_and(|init| HARMLESS_INITS.contains(&init))
        };
        // A false switch may itself be an unusual choice, but `init_weights: false` and the like
        // concern the start of training only, and the saved tensors replace it.
        is_idle(value) || DEPENDENT_KEYS.contains(&key) || harmless_init() || is_default()
    }
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
    }
}
