use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use indexmap::IndexMap;
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, HostTensorExt, InitContext, Method,
    Target,
    format::{Dtype, TensorInfo},
    kernels::{key_of, uniform},
    own_settings, settings_json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{
    Counts, check_factor, coefficients_tensor, described, fault, is_default, zeros,
};
use crate::{
    Basis, Loca, Route, Support,
    adapter::{entries_of, places, shares},
    plan::Extent,
};

const COEFFICIENTS: &str = "loca_coef";
const PLACES: &str = "loca_idx";

/// The settings of LoCA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LocaConfig {
    /// Coefficients `n` of each module.
    pub n_frequency: usize,
    /// Numbers of coefficients of single modules, by name or regular expression.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub n_frequency_pattern: IndexMap<String, usize>,
    /// The factor `γ` on the orthonormal transform.
    pub gamma: f64,
    /// Share of the steps, from the first on, in which places are trained.
    pub location_share: f64,
    /// Steps that train coefficients before places are trained in their place.
    pub coefficient_steps: u64,
    /// Steps that train places before coefficients are trained in their place.
    pub location_steps: u64,
    /// Learning rate of the places, as a share of that of the coefficients.
    pub location_rate: f64,
    /// How updates are applied.
    #[serde(skip_serializing_if = "is_default")]
    pub evaluation: Route,
}

impl Default for LocaConfig {
    fn default() -> Self {
        Self {
            n_frequency: 1000,
            n_frequency_pattern: IndexMap::new(),
            gamma: 1.0,
            location_share: 0.1,
            coefficient_steps: 10,
            location_steps: 20,
            location_rate: 0.02,
            evaluation: Route::Auto,
        }
    }
}

impl LocaConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "n_frequency",
        "n_frequency_pattern",
        "gamma",
        "location_share",
        "coefficient_steps",
        "location_steps",
        "location_rate",
        "evaluation",
    ];

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    fn check(&self) -> Result<(), AdapterError> {
        check_factor(LocaMethod::NAME, "gamma", self.gamma)?;
        check_factor(LocaMethod::NAME, "location_rate", self.location_rate)?;
        if !(0.0..=1.0).contains(&self.location_share) {
            let problem = format!("location_share = {} is no share", self.location_share);
            return Err(fault(LocaMethod::NAME, problem, "use 0 to 1"));
        }
        if self.coefficient_steps == 0 || self.location_steps == 0 {
            let problem = "coefficient_steps or location_steps is 0";
            let fix = "use 1 or more, or location_share = 0 to keep the places";
            return Err(fault(LocaMethod::NAME, problem, fix));
        }
        Ok(())
    }
}

/// LoCA (2502.06820): `ΔW = γ · C_outᵀ S C_in` with the orthonormal DCT-II, its coefficients' places
/// drawn at random and trained for the first steps, in turns with the coefficients.
#[derive(Debug, Clone)]
pub struct LocaMethod {
    config: LocaConfig,
    counts: Counts,
}

impl LocaMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "loca";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "LOCA";

    /// LoCA with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: LocaConfig) -> Result<Self, AdapterError> {
        config.check()?;
        let pattern = &config.n_frequency_pattern;
        let counts = Counts::new(
            Self::NAME,
            "n_frequency_pattern",
            config.n_frequency,
            pattern,
        )?;
        Ok(Self { config, counts })
    }

    /// LoCA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, LocaConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        LocaConfig::default().to_json()
    }

    fn adapter(
        &self,
        target: &Target,
        [coefficients, locations]: [TensorData; 2],
        device: &Device,
        train_locations: bool,
    ) -> DynAdapter {
        let options = || (device, target.dtype.into());
        DynAdapter::new(Loca::new(
            Tensor::from_data(coefficients, options()),
            Tensor::from_data(locations, options()),
            [target.out_features, target.in_features],
            self.config.gamma,
            self.config.evaluation,
            train_locations,
        ))
    }

    /// Entries of the spectrum that `count` coefficients take part in: trained places bring four beside
    /// each.
    fn entries(&self, count: usize) -> usize {
        match self.config.location_share > 0.0 {
            true => 5 * count,
            false => count,
        }
    }
}

impl Method for LocaMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.coefficients(Self::NAME, target)?;
        let shares: Vec<f32> = uniform(key_of(start.seed, &target.path, 0), 2 * count);
        let locations = TensorData::new(shares, [2, count]).convert_dtype(target.dtype.into());
        let parts = [zeros(target, count), locations];
        let learn = self.config.location_share > 0.0;
        Ok(self.adapter(target, parts, &start.weight.device(), learn))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let count = self.counts.coefficients(Self::NAME, target)?;
        let learn = self.config.location_share > 0.0;
        let mut tensors = coefficients_tensor(target, COEFFICIENTS, &[count]);
        let places = TensorInfo {
            dtype: Dtype::I32,
            shape: vec![2, count],
        };
        tensors.insert(PLACES.to_owned(), places);
        let mut spec = described(Basis::Dct, target, self.entries(count), tensors);
        spec.cost.parameters = if learn { 3 * count } else { count };
        Ok(spec)
    }

    fn evaluation(&self, target: &Target) -> Result<Option<String>, AdapterError> {
        let count = self.entries(self.counts.coefficients(Self::NAME, target)?);
        let shape = [target.out_features, target.in_features];
        let extent = Extent::scattered(Basis::Dct, shape, count);
        Ok(Some(self.config.evaluation.described(&extent)))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[COEFFICIENTS, PLACES]
    }

    /// The places of a file are kept as they are.
    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.coefficients(Self::NAME, target)?;
        let coefficients = target.values(tensors, COEFFICIENTS, &[count])?;
        let name = target.tensor_name(PLACES);
        let stored = target
            .stored(tensors, PLACES)?
            .expect_shape(&name, &[2, count])?
            .to_ints(&name)?;
        let entries = entries_of(&stored);
        let shape = [target.out_features, target.in_features];
        Support::with_repeats(shape[0], shape[1], entries.clone()).map_err(|error| {
            let problem = error.to_string();
            AdapterError::Places { name, problem }
        })?;
        let locations = shares(&entries, shape).convert_dtype(target.dtype.into());
        Ok(self.adapter(target, [coefficients, locations], device, false))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        if let Some(data) = fields.remove("locations") {
            let values: Vec<f64> = data.iter::<f64>().collect();
            let shape = [target.out_features, target.in_features];
            let entries = places(&values, shape);
            let side = |axis: usize| entries.iter().map(move |entry| entry[axis] as i32);
            let ints: Vec<i32> = side(0).chain(side(1)).collect();
            fields.insert("places".into(), TensorData::new(ints, [2, entries.len()]));
        }
        let mut out = Fields::new();
        for (field, suffix) in [("coefficients", COEFFICIENTS), ("places", PLACES)] {
            out.insert(
                suffix.to_owned(),
                target.to_store(&mut fields, field, suffix)?,
            );
        }
        Ok(out)
    }

    fn learning_rate_factor(&self, field: &str, step: u64, total: u64) -> f64 {
        let learning = (step as f64) < self.config.location_share * total as f64;
        let cycle = self.config.coefficient_steps + self.config.location_steps;
        let places_turn = learning && step % cycle >= self.config.coefficient_steps;
        match (field, places_turn) {
            ("locations", true) => self.config.location_rate,
            ("coefficients", false) => 1.0,
            _ => 0.0,
        }
    }
}
