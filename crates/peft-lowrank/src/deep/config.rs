use indexmap::IndexMap;
use peft_core::{AdapterError, own_settings, settings_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::DeepLoraMethod;

/// The settings of Deep LoRA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DeepLoraConfig {
    /// Rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Rank of some modules, by name or regular expression.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "PATTERN=N")))]
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub rank_pattern: IndexMap<String, usize>,
    /// Start ε of the factors.
    pub epsilon: f64,
    /// Learning rate of the two outer factors, as a share of the adapter's; 0 freezes them.
    pub outer_rate: f64,
    /// Batches over which the gradient is summed whose subspaces the adapter starts from.
    pub gradient_batches: usize,
    /// Train in the subspaces only; false trains three factors of full width, for comparison.
    pub compressed: bool,
    /// Width of the factors that are not compressed.
    #[cfg_attr(feature = "schema", schemars(extend("x-default" = "the weight's larger one")))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
}

impl Default for DeepLoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            rank_pattern: IndexMap::new(),
            epsilon: 0.3,
            outer_rate: 1.0,
            gradient_batches: 8,
            compressed: true,
            width: None,
        }
    }
}

impl DeepLoraConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "r",
        "rank_pattern",
        "epsilon",
        "outer_rate",
        "gradient_batches",
        "compressed",
        "width",
    ];

    /// Read the method's keys out of a configuration; absent keys take the defaults.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(DeepLoraMethod::NAME, map, Self::KEYS)?;
        config.check()?;
        Ok(config)
    }

    /// The settings as a file holds them: those that bear on the form that is trained.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = settings_json(self);
        let idle: &[&str] = match self.compressed {
            true => &["width"],
            false => &["r", "rank_pattern", "outer_rate", "gradient_batches"],
        };
        map.retain(|key, _| !idle.contains(&key.as_str()));
        map
    }

    pub(super) fn check(&self) -> Result<(), AdapterError> {
        let sizes = self.rank_pattern.values().chain([&self.r]);
        if sizes.chain(&self.width).any(|size| *size == 0) {
            return Err(fault("a rank or the width is 0", "use 1 or more"));
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            let problem = format!("epsilon = {} would leave nothing to train", self.epsilon);
            return Err(fault(problem, "use a small number above 0"));
        }
        if !(self.outer_rate.is_finite() && self.outer_rate >= 0.0) {
            let problem = format!("outer_rate = {} is no share", self.outer_rate);
            return Err(fault(problem, "use 0 or more"));
        }
        if self.compressed && self.gradient_batches == 0 {
            let problem = "gradient_batches = 0 leaves no gradient to start from";
            return Err(fault(problem, "use 1 or more"));
        }
        Ok(())
    }
}

pub(super) fn fault(problem: impl ToString, fix: &str) -> AdapterError {
    AdapterError::Config {
        method: DeepLoraMethod::NAME.into(),
        problem: problem.to_string(),
        fix: fix.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_sense_are_refused() {
        for (key, value) in [
            ("r", 0.into()),
            ("width", 0.into()),
            ("epsilon", Value::from(0.0)),
            ("epsilon", Value::from(-1e-3)),
            ("outer_rate", Value::from(-1.0)),
            ("gradient_batches", 0.into()),
        ] {
            let map = Map::from_iter([(key.to_owned(), value)]);
            let error = DeepLoraConfig::from_json(&map).unwrap_err().to_string();
            assert!(error.starts_with(DeepLoraMethod::NAME), "{error}");
        }
    }

    #[test]
    fn a_file_holds_what_bears_on_its_form() {
        let compressed = DeepLoraConfig::default().to_json();
        assert!(compressed.contains_key("r") && !compressed.contains_key("width"));
        let full = DeepLoraConfig {
            compressed: false,
            width: Some(5),
            ..DeepLoraConfig::default()
        };
        let map = full.to_json();
        assert!(!map.contains_key("r") && map["width"] == 5);
        assert_eq!(DeepLoraConfig::from_json(&map).unwrap(), full);
    }
}
