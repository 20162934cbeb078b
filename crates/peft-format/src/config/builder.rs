//! Minimal configurations.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::check::is_idle;
use super::{AdapterConfig, CONFIG_NAME};
use crate::error::Result;
use crate::targets::{Bias, Exclude, TargetModules, TargetSpec};

/// Builds a configuration with the fewest keys that reproduce the adapter.
///
/// Older PEFT versions fail on every key that they do not know, so nothing is written that is not
/// needed: no versions, no nulls, no empty lists. PEFT 0.5 knows all keys that this writes by
/// itself but `exclude_modules`, and takes `all-linear` for a plain pattern: write the resolved
/// list of modules instead of either where old versions matter. Keys are sorted, as PEFT sorts
/// them.
#[derive(Debug, Clone)]
pub struct AdapterConfigBuilder {
    fields: Map<String, Value>,
}

impl AdapterConfigBuilder {
    pub(super) fn new(peft_type: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("peft_type".into(), json!(peft_type));
        // As saved by PEFT: whoever loads the adapter gets it frozen unless asking otherwise.
        fields.insert("inference_mode".into(), json!(true));
        Self { fields }
    }

    /// `task_type`, such as `SEQ_CLS`.
    #[must_use]
    pub fn task_type(self, task: Option<&str>) -> Self {
        self.optional("task_type", task)
    }

    /// `base_model_name_or_path`.
    #[must_use]
    pub fn base_model(self, name: Option<&str>) -> Self {
        self.optional("base_model_name_or_path", name)
    }

    /// `target_modules` and what restricts it. A list is sorted and freed of repetitions: to PEFT it
    /// is a set.
    #[must_use]
    pub fn target(self, target: &TargetSpec) -> Self {
        let modules = match &target.modules {
            TargetModules::List(names) => json!(sorted(names)),
            TargetModules::Regex(regex) => json!(regex),
            TargetModules::AllLinear => json!("all-linear"),
            TargetModules::Unspecified => Value::Null,
        };
        let exclude = match &target.exclude {
            Some(Exclude::List(names)) => json!(sorted(names)),
            Some(Exclude::Regex(regex)) => json!(regex),
            None => Value::Null,
        };
        self.optional("target_modules", modules)
            .optional("exclude_modules", exclude)
            .optional(
                "layers_to_transform",
                target.layers_to_transform.as_deref().map(|l| json!(l)),
            )
            .optional(
                "layers_pattern",
                target.layers_pattern.as_deref().map(|l| json!(l)),
            )
            .optional("modules_to_save", json!(target.modules_to_save))
            .optional(
                "bias",
                match &target.bias {
                    Bias::None => Value::Null,
                    bias => json!(bias.as_str()),
                },
            )
    }

    /// A key of the method, written whatever its value.
    #[must_use]
    pub fn field(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// A key of the method, left out if null, false or empty.
    #[must_use]
    pub fn optional(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if is_idle(&value) {
            self.fields.remove(key);
            return self;
        }
        self.field(key, value)
    }

    /// The configuration, checked as one that was read.
    ///
    /// # Errors
    /// [`FormatError`](crate::FormatError) as [`AdapterConfig::from_fields`].
    pub fn build(self) -> Result<AdapterConfig> {
        let mut fields = self.fields;
        fields.sort_keys();
        AdapterConfig::from_fields(Path::new(CONFIG_NAME), fields)
    }
}

fn sorted(names: &[String]) -> Vec<&String> {
    let mut names: Vec<_> = names.iter().collect();
    names.sort();
    names.dedup();
    names
}
