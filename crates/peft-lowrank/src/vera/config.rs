use peft_core::{AdapterError, own_settings, settings_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::VeraMethod;

/// The settings of VeRA, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct VeraConfig {
    /// Rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Dropout of an adapter's input.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "adapter-dropout", "x-value" = "P")))]
    pub vera_dropout: f64,
    /// Where the inner vector starts, in all its values.
    pub d_initial: f64,
    /// Seed of the shared projections, as PyTorch draws them.
    pub projection_prng_key: u64,
    /// Keep the shared projections in the adapter's file, too.
    pub save_projection: bool,
}

impl Default for VeraConfig {
    fn default() -> Self {
        Self {
            r: 256,
            vera_dropout: 0.0,
            d_initial: 0.1,
            projection_prng_key: 0,
            save_projection: true,
        }
    }
}

impl VeraConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "r",
        "vera_dropout",
        "d_initial",
        "projection_prng_key",
        "save_projection",
    ];

    /// Read the method's keys out of a configuration; absent keys take PEFT's defaults.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(VeraMethod::NAME, map, Self::KEYS)?;
        config.check()?;
        Ok(config)
    }

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    pub(super) fn check(&self) -> Result<(), AdapterError> {
        if self.r == 0 {
            return Err(fault("the rank is 0", "use 1 or more"));
        }
        if !(0.0..1.0).contains(&self.vera_dropout) {
            let problem = format!("vera_dropout = {} is not in [0, 1)", self.vera_dropout);
            return Err(fault(problem, "use a probability below 1"));
        }
        if !self.d_initial.is_finite() || self.d_initial == 0.0 {
            let problem = format!("d_initial = {} lets no gradient through", self.d_initial);
            return Err(fault(
                problem,
                "use a finite number other than 0, such as 0.1",
            ));
        }
        Ok(())
    }
}

pub(super) fn fault(problem: impl ToString, fix: &str) -> AdapterError {
    AdapterError::Config {
        method: VeraMethod::NAME.into(),
        problem: problem.to_string(),
        fix: fix.into(),
    }
}
