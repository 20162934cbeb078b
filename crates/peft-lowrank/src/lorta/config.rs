use peft_core::{AdapterError, own_settings, settings_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::LortaMethod;

/// The settings of LoRTA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LortaConfig {
    /// Rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Attention heads into which the outputs are divided.
    pub num_heads: usize,
    /// Factor on the update.
    pub scaling: f64,
    /// Spread of the vectors of heads, layers and matrices at the start: uniform with a = √5 times this.
    pub init_scale: f64,
    /// Dropout of an adapter's input.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "adapter-dropout", "x-value" = "P")))]
    pub dropout: f64,
}

impl Default for LortaConfig {
    fn default() -> Self {
        Self {
            r: 4,
            num_heads: 12,
            scaling: 1.0,
            init_scale: 1.0,
            dropout: 0.0,
        }
    }
}

impl LortaConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] =
        &["r", "num_heads", "scaling", "init_scale", "dropout"];

    /// Read the method's keys out of a configuration; absent keys take the defaults.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(LortaMethod::NAME, map, Self::KEYS)?;
        config.check()?;
        Ok(config)
    }

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    pub(super) fn check(&self) -> Result<(), AdapterError> {
        if self.r == 0 || self.num_heads == 0 {
            return Err(fault("the rank or num_heads is 0", "use 1 or more"));
        }
        if !self.scaling.is_finite() || self.scaling == 0.0 {
            let problem = format!("scaling = {} would leave no effect", self.scaling);
            return Err(fault(problem, "use a finite number other than 0"));
        }
        if !self.init_scale.is_finite() || self.init_scale < 0.0 {
            let problem = format!("init_scale = {} is no spread", self.init_scale);
            return Err(fault(problem, "use 0 or more"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let problem = format!("dropout = {} is not in [0, 1)", self.dropout);
            return Err(fault(problem, "use a probability below 1"));
        }
        Ok(())
    }
}

pub(super) fn fault(problem: impl ToString, fix: &str) -> AdapterError {
    AdapterError::Config {
        method: LortaMethod::NAME.into(),
        problem: problem.to_string(),
        fix: fix.into(),
    }
}
