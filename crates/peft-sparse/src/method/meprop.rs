use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    kernels::{TopGradient, has_fast_body},
    own_settings, settings_json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{fault, shape_of};
use crate::{MeProp, adapter::dense_cost};

const DELTA: &str = "meprop_delta";

/// The settings of meProp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MePropConfig {
    /// Values of the output's gradient that are kept.
    pub k: usize,
    /// The same outputs for all rows of a batch, those whose gradients are largest together; else every
    /// row's own.
    pub unified: bool,
}

impl Default for MePropConfig {
    fn default() -> Self {
        Self {
            k: 32,
            unified: true,
        }
    }
}

impl MePropConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["k", "unified"];
}

/// meProp ([1706.06197](https://arxiv.org/abs/1706.06197)): training of all entries of the weights with
/// the largest gradients of the outputs only. See [`MeProp`].
#[derive(Debug, Clone)]
pub struct MePropMethod {
    config: MePropConfig,
}

impl MePropMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "meprop";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "MEPROP";

    /// meProp with these settings.
    ///
    /// # Errors
    /// If nothing of the gradient would be kept.
    pub fn new(config: MePropConfig) -> Result<Self, AdapterError> {
        match config.k {
            0 => Err(fault(Self::NAME, "k is 0", "use 1 or more")),
            _ => Ok(Self { config }),
        }
    }

    /// meProp with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, MePropConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        settings_json(&MePropConfig::default())
    }

    fn adapter(&self, delta: Tensor<2>) -> DynAdapter {
        let rule = TopGradient {
            keep: self.config.k,
            unified: self.config.unified,
        };
        DynAdapter::new(MeProp::new(delta, rule))
    }
}

impl Method for MePropMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        settings_json(&self.config)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let [out, inner] = shape_of(target);
        let options = (&start.weight.device(), target.dtype.into());
        let zeros = Tensor::zeros([inner, out], options);
        if !has_fast_body(&zeros) {
            let problem = "gradients can be cut on the CPU only";
            return Err(fault(Self::NAME, problem, "train on the CPU"));
        }
        Ok(self.adapter(zeros))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let shape = shape_of(target);
        Ok(AdapterSpec {
            cost: dense_cost(shape),
            keeps_input: true,
            tensors: Fields::from([(DELTA.to_owned(), target.values_info(&shape))]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[DELTA]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let delta = target.values_transposed(tensors, DELTA, shape_of(target))?;
        let delta = Tensor::<2>::from_data(delta, (device, target.dtype.into()));
        Ok(self.adapter(delta))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let delta = target.to_store(&mut fields, "delta", DELTA)?;
        Ok(Fields::from([(DELTA.to_owned(), delta.transposed())]))
    }
}
