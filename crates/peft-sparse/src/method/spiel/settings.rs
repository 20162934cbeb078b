use peft_core::AdapterError;
use serde::{Deserialize, Serialize};

use super::super::common::{check_density, fault};

/// What decides where SpIEL's entries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SpielGrowth {
    /// What rows and columns have seen of the gradients of trained entries (SpIEL-MA).
    #[default]
    MovingAverage,
    /// The gradients of all entries, summed over a few batches (SpIEL-AG).
    AccumulatedGradient,
}

/// The settings of SpIEL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SpielConfig {
    /// Share of a weight's entries that is trained.
    pub density: f64,
    /// Steps between two changes of the support.
    pub select_every: usize,
    /// Share of the support that the first change but one replaces; it falls to nothing with the run.
    /// The first change replaces all.
    pub replace: f64,
    /// What decides where entries go.
    pub growth: SpielGrowth,
    /// Batches over which the gradients of all entries are summed, for `accumulated_gradient`.
    pub select_batches: usize,
}

impl Default for SpielConfig {
    fn default() -> Self {
        Self {
            density: 0.01,
            select_every: 20,
            replace: 0.2,
            growth: SpielGrowth::MovingAverage,
            select_batches: 5,
        }
    }
}

impl SpielConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "density",
        "select_every",
        "replace",
        "growth",
        "select_batches",
    ];

    pub(super) fn check(&self, method: &str) -> Result<(), AdapterError> {
        check_density(method, self.density)?;
        if self.select_every == 0 || self.select_batches == 0 {
            let problem = "select_every or select_batches is 0";
            return Err(fault(method, problem, "use 1 or more"));
        }
        if !(0.0..=1.0).contains(&self.replace) {
            let problem = format!("replace = {} is no share", self.replace);
            return Err(fault(method, problem, "use 0 to 1"));
        }
        Ok(())
    }
}
