use indexmap::IndexMap;
use peft_core::{AdapterError, own_settings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SineLoraMethod;
use crate::config::number;

/// The settings of Sine-LoRA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SineLoraConfig {
    /// Rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Numerator of the scale.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "alpha")))]
    pub lora_alpha: f64,
    /// What the product of the factors is multiplied by inside of the sine.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "sine-frequency", "x-value" = "F")))]
    pub frequency: f64,
    /// What the scale is divided by beside the rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "sine-divisor", "x-value" = "F", "x-default" = "the root of the inputs")))]
    pub divisor: Option<f64>,
    /// Rank of some modules, by name or regular expression.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "PATTERN=N")))]
    pub rank_pattern: IndexMap<String, usize>,
}

impl Default for SineLoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 16.0,
            frequency: 200.0,
            divisor: None,
            rank_pattern: IndexMap::new(),
        }
    }
}

impl SineLoraConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] =
        &["r", "lora_alpha", "frequency", "divisor", "rank_pattern"];

    /// Read the method's keys out of a configuration.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(SineLoraMethod::NAME, map, Self::KEYS)?;
        config.validate()?;
        Ok(config)
    }

    /// The keys that reproduce these settings.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut set = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
        set("r", self.r.into());
        set("lora_alpha", number(self.lora_alpha));
        set("frequency", number(self.frequency));
        if let Some(divisor) = self.divisor {
            set("divisor", number(divisor));
        }
        if !self.rank_pattern.is_empty() {
            let ranks = self.rank_pattern.iter();
            let ranks = ranks.map(|(name, rank)| (name.clone(), Value::from(*rank)));
            set("rank_pattern", Value::Object(ranks.collect()));
        }
        map
    }

    fn validate(&self) -> Result<(), AdapterError> {
        let fault = |problem: String, fix: &str| {
            Err(AdapterError::Config {
                method: SineLoraMethod::NAME.into(),
                problem,
                fix: fix.into(),
            })
        };
        if self.r == 0 || self.rank_pattern.values().any(|rank| *rank == 0) {
            return fault("the rank is 0".into(), "use a rank of 1 or more");
        }
        for (name, value) in [
            ("lora_alpha", self.lora_alpha),
            ("frequency", self.frequency),
            ("divisor", self.divisor.unwrap_or(1.0)),
        ] {
            if !value.is_finite() || value == 0.0 {
                let problem = format!("{name} = {value} leaves no update");
                return fault(problem, "use a finite number other than 0");
            }
        }
        Ok(())
    }
}
