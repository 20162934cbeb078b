use indexmap::IndexMap;
use peft_core::AdapterError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::drawn::{Common, Drawn, DrawnMethod};
use crate::{Basis, Route, SpectralError, Support, gain::Convention, support::fourierft_support};

/// The settings of FourierFT, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FourierFtConfig {
    /// Coefficients of each module.
    pub n_frequency: usize,
    /// Factor `α` on PEFT's transform, which divides by `out · in`.
    pub scaling: f64,
    /// Seed of the places, the same for all modules.
    pub random_loc_seed: u64,
    /// Numbers of coefficients of single modules, by name or regular expression.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub n_frequency_pattern: IndexMap<String, usize>,
    /// Start at zero; else at normal values, which change the model before the first step.
    pub init_weights: bool,
    /// How updates are applied; not part of PEFT's files.
    #[serde(skip_serializing)]
    pub evaluation: Route,
    /// Whether the learning rate is one for coefficients of an orthonormal transform, and every module's own
    /// follows from its numbers; false takes it as PEFT does, for the coefficients as they are. Concerns training
    /// only.
    #[serde(skip_serializing)]
    pub scale_rate: bool,
}

impl Default for FourierFtConfig {
    fn default() -> Self {
        Self {
            n_frequency: 1000,
            scaling: 150.0,
            random_loc_seed: 777,
            n_frequency_pattern: IndexMap::new(),
            init_weights: true,
            evaluation: Route::Auto,
            scale_rate: true,
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
        "scale_rate",
    ];
    /// Those that concern training only, and are in no adapter's file.
    pub const TRAINING_KEYS: &'static [&'static str] = &["evaluation", "scale_rate"];
}

/// FourierFT (2405.03003): `ΔW = α · Re(ifft2(S))`, `n` real coefficients at places drawn from a seed.
pub type FourierFtMethod = DrawnMethod<FourierFtConfig>;

impl Drawn for FourierFtConfig {
    const NAME: &'static str = "fourierft";
    const PEFT_TYPE: &'static str = "FOURIERFT";
    const KEYS: &'static [&'static str] = Self::KEYS;
    const SUFFIX: &'static [&'static str; 1] = &["fourierft_spectrum"];
    const DEVIATION: f32 = 1.0;

    fn peft_defaults(fields: &mut Map<String, Value>) {
        fields.entry("init_weights").or_insert(false.into());
    }

    fn common(&self) -> Common<'_> {
        Common {
            n_frequency: self.n_frequency,
            n_frequency_pattern: &self.n_frequency_pattern,
            scaling: self.scaling,
            init_weights: self.init_weights,
            evaluation: self.evaluation,
            scale_rate: self.scale_rate,
        }
    }

    fn basis(&self) -> Result<Basis, AdapterError> {
        Ok(Basis::Fourier)
    }

    fn support(&self, [out, inner]: [usize; 2], count: usize) -> Result<Support, SpectralError> {
        fourierft_support(out, inner, count, self.random_loc_seed)
    }

    fn gamma_and_gain(&self, [out, inner]: [usize; 2]) -> (f64, f64) {
        let convention = Convention::FourierFt;
        // Of a usual place: four, at most, of the grid are their own conjugates.
        let gain = convention.gain(self.scaling, out, inner, [1, 0]);
        (convention.gamma(self.scaling, out, inner), gain)
    }
}
