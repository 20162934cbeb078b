//! The keys of a configuration that choose modules.

use serde_json::Value;

use super::AdapterConfig;
use crate::error::Result;
use crate::targets::{Bias, Exclude, TargetModules, TargetSpec};

pub(super) fn read(config: &AdapterConfig) -> Result<TargetSpec> {
    let modules = match config.fields().get("target_modules") {
        None | Some(Value::Null) => TargetModules::Unspecified,
        Some(Value::String(text)) => TargetModules::from_config_str(text),
        Some(_) => TargetModules::List(
            config
                .opt_strings_field("target_modules")?
                .unwrap_or_default(),
        ),
    };
    let exclude = match config.fields().get("exclude_modules") {
        Some(Value::String(text)) => Some(Exclude::Regex(text.clone())),
        _ => config
            .opt_strings_field("exclude_modules")?
            .map(Exclude::List),
    };
    // PEFT takes the empty string for "no pattern".
    let layers_pattern = config
        .opt_strings_field("layers_pattern")?
        .map(|list| list.into_iter().filter(|p| !p.is_empty()).collect());
    Ok(TargetSpec {
        modules,
        exclude,
        layers_to_transform: config.opt_usizes_field("layers_to_transform")?,
        layers_pattern,
        modules_to_save: config
            .opt_strings_field("modules_to_save")?
            .unwrap_or_default(),
        bias: match config.opt_string_field("bias")? {
            None => Bias::None,
            Some(word) => (word.parse()).map_err(|_| {
                config.field_error("bias", "none, all, or a word such as lora_only")
            })?,
        },
    })
}
