use burn::tensor::{Device, TensorData};
use indexmap::IndexMap;
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    own_settings,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{
    Counts, adapter, check_factor, coefficients_tensor, described, export_coefficients, normals,
    pattern_value, stored_coefficients, unfit, zeros,
};
use crate::{Basis, Evaluation, SpectralParts, gain::Convention, support::fourierft_support};

const NAME: &str = "fourierft";
const SPECTRUM: &str = "fourierft_spectrum";

/// The settings of FourierFT, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FourierFtConfig {
    /// Coefficients of each module.
    pub n_frequency: usize,
    /// Factor `α` on PEFT's transform, which divides by `out · in`.
    pub scaling: f64,
    /// Seed of the places, the same for all modules.
    pub random_loc_seed: u64,
    /// Numbers of coefficients of single modules, by name or regular expression.
    pub n_frequency_pattern: IndexMap<String, usize>,
    /// Start at zero; else at normal values, which change the model before the first step.
    pub init_weights: bool,
    /// How updates are applied; not part of PEFT's files.
    #[serde(skip_serializing)]
    pub evaluation: Evaluation,
}

impl Default for FourierFtConfig {
    fn default() -> Self {
        Self {
            n_frequency: 1000,
            scaling: 150.0,
            random_loc_seed: 777,
            n_frequency_pattern: IndexMap::new(),
            init_weights: true,
            evaluation: Evaluation::Auto,
        }
    }
}

impl FourierFtConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "n_frequency",
        "scaling",
        "random_loc_seed",
        "n_frequency_pattern",
        "init_weights",
        "evaluation",
    ];

    /// The fewest keys that reproduce these settings in any PEFT version that knows them.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("n_frequency".into(), self.n_frequency.into());
        map.insert("scaling".into(), self.scaling.into());
        map.insert("random_loc_seed".into(), self.random_loc_seed.into());
        if !self.n_frequency_pattern.is_empty() {
            let pattern = pattern_value(&self.n_frequency_pattern);
            map.insert("n_frequency_pattern".into(), pattern);
        }
        map.insert("init_weights".into(), self.init_weights.into());
        map
    }
}

/// FourierFT (2405.03003): `ΔW = α · Re(ifft2(S))`, `n` real coefficients at places drawn from a seed.
#[derive(Debug, Clone)]
pub struct FourierFtMethod {
    config: FourierFtConfig,
    counts: Counts,
}

impl FourierFtMethod {
    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        FourierFtConfig::default().to_json()
    }

    /// FourierFT with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: FourierFtConfig) -> Result<Self, AdapterError> {
        check_factor(NAME, "scaling", config.scaling)?;
        let pattern = &config.n_frequency_pattern;
        let counts = Counts::new(NAME, "n_frequency_pattern", config.n_frequency, pattern)?;
        Ok(Self { config, counts })
    }

    /// FourierFT with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut map = map.clone();
        // PEFT's own default, which differs from the one this crate recommends.
        map.entry("init_weights").or_insert(Value::Bool(false));
        Self::new(own_settings(NAME, &map, FourierFtConfig::KEYS)?)
    }

    fn adapter(
        &self,
        target: &Target,
        count: usize,
        coefficients: TensorData,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let (out, inner) = (target.out_features, target.in_features);
        let support = fourierft_support(out, inner, count, self.config.random_loc_seed)
            .map_err(|error| unfit(NAME, target, &error))?;
        let convention = Convention::FourierFt;
        let parts = SpectralParts {
            basis: Basis::Fourier,
            shape: [out, inner],
            support,
            coefficients,
            gamma: convention.gamma(self.config.scaling, out, inner),
            // Of a usual place: two, at most, of the grid are their own conjugates.
            rate: 1.0
                / convention
                    .gain(self.config.scaling, out, inner, [1, 0])
                    .abs(),
            evaluation: self.config.evaluation,
        };
        adapter(NAME, target, parts, device)
    }
}

impl Method for FourierFtMethod {
    fn name(&self) -> &'static str {
        NAME
    }

    fn peft_type(&self) -> &'static str {
        "FOURIERFT"
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.of(target)?;
        let coefficients = if self.config.init_weights {
            zeros(target, count)
        } else {
            normals(target, start.seed, count, 1.0)
        };
        self.adapter(target, count, coefficients, &start.weight.device())
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let count = self.counts.of(target)?;
        let tensors = coefficients_tensor(target, SPECTRUM, &[count]);
        Ok(described(Basis::Fourier, target, count, tensors))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[SPECTRUM]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.of(target)?;
        let coefficients = stored_coefficients(target, tensors, SPECTRUM, count)?;
        self.adapter(target, count, coefficients, device)
    }

    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        export_coefficients(target, fields, SPECTRUM)
    }
}
