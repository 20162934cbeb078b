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
    Counts, adapter, check_factor, coefficients_tensor, described, export_coefficients, fault,
    normals, pattern_value, stored_coefficients, unfit, zeros,
};
use crate::{Basis, Evaluation, SpectralParts, support::waveft_support, transform::Wavelet};

const NAME: &str = "waveft";
const SPECTRUM: &str = "waveft_spectrum";

/// The settings of WaveFT, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    pub n_frequency_pattern: IndexMap<String, usize>,
    /// Start at zero; else at normal values of deviation 0.01.
    pub init_weights: bool,
    /// Give large modules more coefficients. Not supported: name the numbers in
    /// `n_frequency_pattern`.
    pub proportional_parameters: bool,
    /// How updates are applied; not part of PEFT's files.
    #[serde(skip_serializing)]
    pub evaluation: Evaluation,
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
            evaluation: Evaluation::Auto,
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
    ];

    /// The fewest keys that reproduce these settings in any PEFT version that knows them.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("n_frequency".into(), self.n_frequency.into());
        map.insert("scaling".into(), self.scaling.into());
        map.insert("wavelet_family".into(), self.wavelet_family.clone().into());
        map.insert("use_idwt".into(), self.use_idwt.into());
        map.insert("random_loc_seed".into(), self.random_loc_seed.into());
        if !self.n_frequency_pattern.is_empty() {
            let pattern = pattern_value(&self.n_frequency_pattern);
            map.insert("n_frequency_pattern".into(), pattern);
        }
        map.insert("init_weights".into(), self.init_weights.into());
        map
    }
}

/// WaveFT (2505.12532): `ΔW = λ · IDWT2(S)`, `n` coefficients of one wavelet level at places drawn
/// from a seed.
#[derive(Debug, Clone)]
pub struct WaveFtMethod {
    config: WaveFtConfig,
    wavelet: Option<Wavelet>,
    counts: Counts,
}

impl WaveFtMethod {
    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        WaveFtConfig::default().to_json()
    }

    /// WaveFT with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense or is not supported.
    pub fn new(config: WaveFtConfig) -> Result<Self, AdapterError> {
        check_factor(NAME, "scaling", config.scaling)?;
        if config.proportional_parameters {
            let problem = "proportional_parameters = true depends on all modules together";
            let fix = "name the modules' numbers in n_frequency_pattern";
            return Err(fault(NAME, problem, fix));
        }
        let wavelet = match config.use_idwt {
            true => Some(
                Wavelet::named(&config.wavelet_family)
                    .map_err(|error| fault(NAME, error, "choose one of them"))?,
            ),
            false => None,
        };
        let pattern = &config.n_frequency_pattern;
        let counts = Counts::new(NAME, "n_frequency_pattern", config.n_frequency, pattern)?;
        Ok(Self {
            config,
            wavelet,
            counts,
        })
    }

    /// WaveFT with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type, makes no sense or is not supported.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(NAME, map, WaveFtConfig::KEYS)?)
    }

    fn adapter(
        &self,
        target: &Target,
        count: usize,
        coefficients: TensorData,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let (out, inner) = (target.out_features, target.in_features);
        let seed = self.config.random_loc_seed;
        let support = waveft_support(out, inner, count, seed, self.wavelet)
            .map_err(|error| unfit(NAME, target, &error))?;
        let parts = SpectralParts {
            basis: self.wavelet.map_or(Basis::Identity, Basis::Wavelet),
            shape: [out, inner],
            support,
            coefficients,
            gamma: self.config.scaling,
            rate: 1.0 / self.config.scaling.abs(),
            evaluation: self.config.evaluation,
        };
        adapter(NAME, target, parts, device)
    }
}

impl Method for WaveFtMethod {
    fn name(&self) -> &'static str {
        NAME
    }

    fn peft_type(&self) -> &'static str {
        "WAVEFT"
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.of(target)?;
        let coefficients = if self.config.init_weights {
            zeros(target, count)
        } else {
            normals(target, start.seed, count, 0.01)
        };
        self.adapter(target, count, coefficients, &start.weight.device())
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let count = self.counts.of(target)?;
        let basis = self.wavelet.map_or(Basis::Identity, Basis::Wavelet);
        let tensors = coefficients_tensor(target, SPECTRUM, &[count]);
        Ok(described(basis, target, count, tensors))
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
