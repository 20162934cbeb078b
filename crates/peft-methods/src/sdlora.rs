//! SDLoRA: two methods of two crates as one.

use std::sync::Arc;

use peft_config::schema_of;
use peft_core::{AdapterError, Method};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_ssm::{SdLoraMethod, SdtConfig};
use serde_json::{Map, Value};

/// The keys of both.
pub const KEYS: &[&str] = &[
    "channels",
    "states",
    "state_size",
    "selector",
    "warm_up_steps",
    "budget",
    "zero_channels",
    "typical_step",
    "place_counts",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "init_lora_weights",
    "use_dora",
    "lora_bias",
    "dora_detach_norm",
    "loraplus_lr_ratio",
];

/// Settings of LoRA on tables, which sparse dimension tuning has no part in.
const OF_TABLES: [&str; 2] = ["trainable_token_indices", "ensure_weight_tying"];

/// The settings of both, with their documentation.
pub fn schema() -> Value {
    let mut schema = schema_of::<SdtConfig>();
    let other = schema_of::<LoraConfig>();
    for part in ["properties", "$defs"] {
        let Value::Object(more) = other[part].clone() else {
            continue;
        };
        match &mut schema[part] {
            Value::Object(own) => own.extend(more),
            empty => *empty = Value::Object(more),
        }
    }
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|key, _| !OF_TABLES.contains(&key.as_str()));
    }
    schema
}

/// The paper's: rank 8, and a scale of 1.
pub fn defaults() -> Map<String, Value> {
    let mut all = SdtConfig::default().to_json();
    all.extend(LoraConfig::new(8, 8.0).to_json());
    all
}

/// Sparse dimension tuning beside LoRA or DoRA.
pub fn build(map: &Map<String, Value>) -> Result<Box<dyn Method>, AdapterError> {
    let unset = |value: &Value| value.is_null() || value == &Value::Bool(false);
    if let Some(key) = OF_TABLES
        .into_iter()
        .find(|key| map.get(*key).is_some_and(|value| !unset(value)))
    {
        return Err(AdapterError::Config {
            method: SdLoraMethod::NAME.into(),
            problem: format!("`{key}` concerns tables, which it does not adapt"),
            fix: "leave it out, or train them with lora".into(),
        });
    }
    let lora = LoraMethod::from_json(map)?;
    Ok(Box::new(SdLoraMethod::from_json(map, Arc::new(lora))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_both_but_for_tables() {
        let mut both = [SdtConfig::KEYS, LoraConfig::KEYS].concat();
        both.retain(|key| !OF_TABLES.contains(key));
        assert_eq!(KEYS, both);
        for (key, value) in [
            ("trainable_token_indices", serde_json::json!([1])),
            ("ensure_weight_tying", true.into()),
        ] {
            let mut map = defaults();
            map.insert(key.into(), value);
            let Err(error) = build(&map) else {
                panic!("{key} is taken");
            };
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
