use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use indexmap::IndexMap;
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    kernels::{key_of, normal, uniform_within},
    own_settings, settings_json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{Counts, coefficients_tensor, fault, unfit};
use crate::{Circulant, SpectralError};

const KERNEL: &str = "c3a_kernel";

/// How the kernels start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum C3aInit {
    /// At zero: the adapted layer computes what the base does. The default here.
    #[default]
    Zeros,
    /// Standard normal.
    Gaussian,
    /// Uniform on `±√(6 / (in + out))`, PEFT's default.
    XavierUniform,
    /// Uniform on `±√(1 / in)`.
    KaimingUniform,
}

/// The settings of C3A, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct C3aConfig {
    /// Side `b` of the circulant blocks; it must divide both widths of every module. PEFT's own default
    /// is 256, which does not divide widths of 384.
    pub block_size: usize,
    /// Block sizes of single modules, by name or regular expression.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub block_size_pattern: IndexMap<String, usize>,
    /// `true` for zeros, `false` or `"xavier_uniform"`, `"gaussian"`, `"kaiming_uniform"`.
    pub init_weights: Value,
    /// Whether the learning rate is one for coefficients of an orthonormal transform, and every module's own
    /// follows from its numbers; false takes it as PEFT does, for the coefficients as they are. Concerns training
    /// only.
    #[serde(skip_serializing)]
    pub scale_rate: bool,
}

impl Default for C3aConfig {
    fn default() -> Self {
        Self {
            block_size: 128,
            block_size_pattern: IndexMap::new(),
            init_weights: Value::Bool(true),
            scale_rate: true,
        }
    }
}

impl C3aConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "block_size",
        "block_size_pattern",
        "init_weights",
        "scale_rate",
    ];
    /// Those that concern training only, and are in no adapter's file.
    pub const TRAINING_KEYS: &'static [&'static str] = &["scale_rate"];

    /// How the kernels start.
    ///
    /// # Errors
    /// If that is not known.
    pub fn init(&self) -> Result<C3aInit, AdapterError> {
        match &self.init_weights {
            Value::Bool(true) => Ok(C3aInit::Zeros),
            Value::Bool(false) => Ok(C3aInit::XavierUniform),
            Value::String(name) if name == "xavier_uniform" => Ok(C3aInit::XavierUniform),
            Value::String(name) if name == "gaussian" => Ok(C3aInit::Gaussian),
            Value::String(name) if name == "kaiming_uniform" => Ok(C3aInit::KaimingUniform),
            other => Err(fault(
                C3aMethod::NAME,
                format!("init_weights = {other} is not known"),
                "use true (zeros), \"xavier_uniform\", \"gaussian\" or \"kaiming_uniform\"",
            )),
        }
    }

    /// The fewest keys that reproduce these settings in any PEFT version that knows them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }
}

/// C3A (2407.19342): an update of circulant blocks.
#[derive(Debug, Clone)]
pub struct C3aMethod {
    config: C3aConfig,
    init: C3aInit,
    blocks: Counts,
}

impl C3aMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "c3a";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "C3A";

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        C3aConfig::default().to_json()
    }

    /// C3A with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: C3aConfig) -> Result<Self, AdapterError> {
        let init = config.init()?;
        let pattern = &config.block_size_pattern;
        let blocks = Counts::new(Self::NAME, "block_size_pattern", config.block_size, pattern)?;
        Ok(Self {
            config,
            init,
            blocks,
        })
    }

    /// C3A with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut map = map.clone();
        // PEFT's own defaults, which differ from those this crate recommends.
        map.entry("init_weights").or_insert(Value::Bool(false));
        map.entry("block_size").or_insert_with(|| 256.into());
        Self::new(own_settings(Self::NAME, &map, C3aConfig::KEYS)?)
    }

    fn adapter(&self, kernel: Tensor<3>) -> DynAdapter {
        let adapter = Circulant::new(kernel);
        DynAdapter::new(match self.config.scale_rate {
            true => adapter,
            false => adapter.with_plain_rate(),
        })
    }

    fn shape(&self, target: &Target) -> Result<[usize; 3], AdapterError> {
        let block = self.blocks.of(target)?;
        let (out_features, in_features) = (target.out_features, target.in_features);
        if !out_features.is_multiple_of(block) || !in_features.is_multiple_of(block) {
            let error = SpectralError::Block {
                block,
                out_features,
                in_features,
            };
            return Err(unfit(Self::NAME, target, &error));
        }
        Ok([out_features / block, in_features / block, block])
    }
}

impl Method for C3aMethod {
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
        let shape = self.shape(target)?;
        let count = shape.iter().product();
        let key = key_of(start.seed, &target.path, 0);
        let within = |bound: f64| uniform_within(key, count, bound as f32);
        let (inner, out) = (target.in_features as f64, target.out_features as f64);
        let values = match self.init {
            C3aInit::Zeros => vec![0.0; count],
            C3aInit::Gaussian => normal(key, count),
            C3aInit::XavierUniform => within((6.0 / (inner + out)).sqrt()),
            C3aInit::KaimingUniform => within((1.0 / inner).sqrt()),
        };
        let options = (&start.weight.device(), target.dtype.into());
        let kernel = Tensor::from_data(TensorData::new(values, shape), options);
        Ok(self.adapter(kernel))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let shape @ [p, q, block] = self.shape(target)?;
        Ok(AdapterSpec {
            cost: Circulant::cost_of(shape),
            keeps_input: true,
            tensors: coefficients_tensor(target, KERNEL, &[p, q, block]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[KERNEL]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let kernel = target.values(tensors, KERNEL, &self.shape(target)?)?;
        let kernel = Tensor::from_data(kernel, (device, target.dtype.into()));
        Ok(self.adapter(kernel))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let tensor = target.to_store(&mut fields, "kernel", KERNEL)?;
        Ok(Fields::from([(KERNEL.to_owned(), tensor)]))
    }
}
