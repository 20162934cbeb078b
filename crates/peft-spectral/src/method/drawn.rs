use std::fmt::Debug;

use burn::tensor::{Device, TensorData};
use indexmap::IndexMap;
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    own_settings, settings_json,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::common::{
    Counts, adapter, check_factor, coefficients_tensor, described, normals, unfit, zeros,
};
use crate::{Basis, Route, SpectralError, SpectralParts, Support, plan::Extent};

/// The settings of a method of PEFT's whose places are drawn from a seed, so that its files hold
/// nothing but coefficients.
pub trait Drawn:
    Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The name in settings and tables.
    const NAME: &'static str;
    /// `peft_type` in `adapter_config.json`.
    const PEFT_TYPE: &'static str;
    /// Keys of `adapter_config.json` that this configuration understands.
    const KEYS: &'static [&'static str];
    /// Suffix of the coefficients in a file.
    const SUFFIX: &'static [&'static str; 1];
    /// Deviation of coefficients that start at random.
    const DEVIATION: f32;

    /// Give absent keys PEFT's meaning where it is not the default recommended here.
    fn peft_defaults(_fields: &mut Map<String, Value>) {}

    /// What all of these methods have.
    fn common(&self) -> Common<'_>;

    /// The basis.
    ///
    /// # Errors
    /// If a setting makes no sense or is not supported.
    fn basis(&self) -> Result<Basis, AdapterError>;

    /// The places of `count` coefficients of a weight `[out, in]`.
    ///
    /// # Errors
    /// If they do not fit.
    fn support(&self, shape: [usize; 2], count: usize) -> Result<Support, SpectralError>;

    /// The factor `γ` for a weight `[out, in]`, and the norm of the update by a unit coefficient.
    fn gamma_and_gain(&self, shape: [usize; 2]) -> (f64, f64);
}

/// Settings that all drawn methods have.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// Coefficients of each module.
    pub n_frequency: usize,
    /// Numbers of coefficients of single modules.
    pub n_frequency_pattern: &'a IndexMap<String, usize>,
    /// Factor on the update, in the method's normalisation.
    pub scaling: f64,
    /// Start at zero.
    pub init_weights: bool,
    /// How updates are applied.
    pub evaluation: Route,
    /// Whether the learning rate is one for coefficients of an orthonormal transform.
    pub scale_rate: bool,
}

/// A method whose places are drawn from a seed.
#[derive(Debug, Clone)]
pub struct DrawnMethod<C> {
    config: C,
    basis: Basis,
    counts: Counts,
}

impl<C: Drawn> DrawnMethod<C> {
    /// The name in settings and tables.
    pub const NAME: &'static str = C::NAME;
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = C::PEFT_TYPE;

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        settings_json(&C::default())
    }

    /// The method with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense or is not supported.
    pub fn new(config: C) -> Result<Self, AdapterError> {
        let common = config.common();
        check_factor(C::NAME, "scaling", common.scaling)?;
        let pattern = common.n_frequency_pattern;
        let counts = Counts::new(C::NAME, "n_frequency_pattern", common.n_frequency, pattern)?;
        Ok(Self {
            basis: config.basis()?,
            counts,
            config,
        })
    }

    /// The method with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type, makes no sense or is not supported.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut map = map.clone();
        C::peft_defaults(&mut map);
        Self::new(own_settings(C::NAME, &map, C::KEYS)?)
    }

    fn adapter(
        &self,
        target: &Target,
        count: usize,
        coefficients: TensorData,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let shape = [target.out_features, target.in_features];
        let support = self.config.support(shape, count);
        let (gamma, gain) = self.config.gamma_and_gain(shape);
        let parts = SpectralParts {
            basis: self.basis,
            shape,
            support: support.map_err(|error| unfit(C::NAME, target, &error))?,
            coefficients,
            gamma,
            rate: match self.config.common().scale_rate {
                true => 1.0 / gain.abs(),
                false => 1.0,
            },
            evaluation: self.config.common().evaluation,
        };
        adapter(C::NAME, target, parts, device)
    }
}

impl<C: Drawn> Method for DrawnMethod<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn peft_type(&self) -> &'static str {
        C::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        settings_json(&self.config)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.coefficients(C::NAME, target)?;
        let coefficients = if self.config.common().init_weights {
            zeros(target, count)
        } else {
            normals(target, start.seed, count, C::DEVIATION)
        };
        self.adapter(target, count, coefficients, &start.weight.device())
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let count = self.counts.coefficients(C::NAME, target)?;
        let tensors = coefficients_tensor(target, C::SUFFIX[0], &[count]);
        Ok(described(self.basis, target, count, tensors))
    }

    fn evaluation(&self, target: &Target) -> Result<Option<String>, AdapterError> {
        let count = self.counts.coefficients(C::NAME, target)?;
        let shape = [target.out_features, target.in_features];
        let extent = Extent::scattered(self.basis, shape, count);
        Ok(Some(self.config.common().evaluation.described(&extent)))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        C::SUFFIX
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let count = self.counts.coefficients(C::NAME, target)?;
        let coefficients = target.values(tensors, C::SUFFIX[0], &[count])?;
        self.adapter(target, count, coefficients, device)
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let [suffix] = *C::SUFFIX;
        let tensor = target.to_store(&mut fields, "coefficients", suffix)?;
        Ok(Fields::from([(suffix.to_owned(), tensor)]))
    }
}
