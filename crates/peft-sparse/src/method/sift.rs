use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, GradientWishes, HostTensor, InitContext, Method,
    Target, own_settings, settings_json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    coded::coded_files,
    common::{check_density, gradient, host, shape_of, unfit, zeros},
};
use crate::{SparseDelta, support::strongest};

const TENSORS: [&str; 2] = ["sift_values", "sift_indices"];

/// The settings of SIFT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SiftConfig {
    /// Share `ρ` of a weight's entries that is trained: `⌊ρ · entries⌋ + 1` of them.
    pub density: f64,
}

impl Default for SiftConfig {
    fn default() -> Self {
        Self { density: 0.008 }
    }
}

impl SiftConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["density"];
}

/// SIFT ([2312.11875](https://arxiv.org/abs/2312.11875)): the entries of largest gradient in the run's
/// first batch, for good.
///
/// That batch only chooses: it is looked at before training, and is part of it like any other. Steps
/// take effect at once, the last one too.
#[derive(Debug, Clone)]
pub struct SiftMethod {
    config: SiftConfig,
}

impl SiftMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "sift";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SIFT";

    /// SIFT with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: SiftConfig) -> Result<Self, AdapterError> {
        check_density(Self::NAME, config.density)?;
        Ok(Self { config })
    }

    /// SIFT with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, SiftConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        settings_json(&SiftConfig::default())
    }

    fn count(&self, target: &Target) -> usize {
        let [rows, cols] = shape_of(target);
        let count = (self.config.density * rows as f64 * cols as f64) as usize + 1;
        count.min(rows * cols)
    }
}

impl Method for SiftMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        settings_json(&self.config)
    }

    fn gradients(&self) -> GradientWishes {
        GradientWishes::sums(1)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let gradient = host(gradient(Self::NAME, target, start)?);
        let count = self.count(target);
        let support = strongest(shape_of(target), count, |place| gradient[place])
            .map_err(|error| unfit(Self::NAME, target, &error))?;
        let device = start.weight.device();
        let adapter = SparseDelta::new(support, zeros(target, count), target.dtype, &device);
        Ok(DynAdapter::new(adapter))
    }

    coded_files!(TENSORS, std::convert::identity);
}
