use indexmap::IndexMap;
use peft_core::AdapterError;
use serde::{Deserialize, Serialize};

use super::{
    common::fault,
    drawn::{Common, Drawn, DrawnMethod},
};
use crate::{Basis, Route, SpectralError, Support, support::waveft_support, transform::Wavelet};

/// The settings of WaveFT, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WaveFtConfig {
    /// Coefficients of each module.
    pub n_frequency: usize,
    /// Factor `λ` on the update.
    pub scaling: f64,
    /// The wavelet: `db1` to `db10`, `sym2` … as PEFT names them.
    pub wavelet_family: String,
    /// Without the inverse transform the coefficients are entries of the update themselves.
    pub use_idwt: bool,
    /// Seed of the places, the same for all modules.
    pub random_loc_seed: u64,
    /// Numbers of coefficients of single modules, by name or regular expression.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub n_frequency_pattern: IndexMap<String, usize>,
    /// Start at zero; else at normal values of deviation 0.01.
    pub init_weights: bool,
    /// Give large modules more coefficients. Not supported: name the numbers in
    /// `n_frequency_pattern`.
    #[serde(skip_serializing)]
    pub proportional_parameters: bool,
    /// How updates are applied; not part of PEFT's files.
    #[serde(skip_serializing)]
    pub evaluation: Route,
    /// Whether the learning rate is one for coefficients of an orthonormal transform, and every module's own
    /// follows from its numbers; false takes it as PEFT does, for the coefficients as they are. Concerns training
    /// only.
    #[serde(skip_serializing)]
    pub scale_rate: bool,
}

impl Default for WaveFtConfig {
    fn default() -> Self {
        Self {
            n_frequency: 2592,
            scaling: 25.0,
            wavelet_family: "db1".into(),
            use_idwt: true,
            random_loc_seed: 777,
            n_frequency_pattern: IndexMap::new(),
            init_weights: true,
            proportional_parameters: false,
            evaluation: Route::Auto,
            scale_rate: true,
        }
    }
}

impl WaveFtConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "n_frequency",
        "scaling",
        "wavelet_family",
        "use_idwt",
        "random_loc_seed",
        "n_frequency_pattern",
        "init_weights",
        "proportional_parameters",
        "evaluation",
        "scale_rate",
    ];
    /// Those that concern training only, and are in no adapter's file.
    pub const TRAINING_KEYS: &'static [&'static str] = &["evaluation", "scale_rate"];
}

/// WaveFT (2505.12532): `ΔW = λ · IDWT2(S)`, `n` coefficients of one wavelet level at places drawn
/// from a seed.
pub type WaveFtMethod = DrawnMethod<WaveFtConfig>;

impl WaveFtConfig {
    fn wavelet(&self) -> Result<Option<Wavelet>, SpectralError> {
        let named = || Wavelet::named(&self.wavelet_family);
        self.use_idwt.then(named).transpose()
    }
}

impl Drawn for WaveFtConfig {
    const NAME: &'static str = "waveft";
    const PEFT_TYPE: &'static str = "WAVEFT";
    const KEYS: &'static [&'static str] = Self::KEYS;
    const SUFFIX: &'static [&'static str; 1] = &["waveft_spectrum"];
    const DEVIATION: f32 = 0.01;

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
        if self.proportional_parameters {
            let problem = "proportional_parameters = true depends on all modules together";
            let fix = "name the modules' numbers in n_frequency_pattern";
            return Err(fault(Self::NAME, problem, fix));
        }
        let wavelet = self.wavelet();
        let wavelet = wavelet.map_err(|error| fault(Self::NAME, error, "choose one of them"))?;
        Ok(wavelet.map_or(Basis::Identity, Basis::Wavelet))
    }

    fn support(&self, [out, inner]: [usize; 2], count: usize) -> Result<Support, SpectralError> {
        waveft_support(out, inner, count, self.random_loc_seed, self.wavelet()?)
    }

    fn gamma_and_gain(&self, _: [usize; 2]) -> (f64, f64) {
        (self.scaling, self.scaling)
    }
}
