use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    Target,
    kernels::{key_of, uniform_within},
    own_settings, settings_json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ProDial, adapter::cost};

const A: &str = "lora_A.weight";
const B: &str = "lora_B.weight";
const BLOCKS: &str = "prodial_blocks";
const SCALE: &str = "prodial_scale";

/// The settings of ProDiaL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ProDialConfig {
    /// Rank of the update beside the transform.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "rank")))]
    pub r: usize,
    /// Scale of that update, times its rank.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "alpha")))]
    pub lora_alpha: f64,
    /// Probability with which inputs of that update are dropped in training.
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "adapter-dropout", "x-value" = "P")))]
    pub lora_dropout: f64,
    /// Width of the blocks of the transform of the inputs; with 1 it is diagonal.
    pub block_width: usize,
}

impl Default for ProDialConfig {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 16.0,
            lora_dropout: 0.0,
            block_width: 1,
        }
    }
}

impl ProDialConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["r", "lora_alpha", "lora_dropout", "block_width"];

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }
}

/// ProDiaL as a [`Method`]: see [`ProDial`]. Its targets are the projections into and out of a state-space block where none
/// are named; it merges exactly.
#[derive(Debug, Clone)]
pub struct ProDialMethod {
    config: ProDialConfig,
}

impl ProDialMethod {
    /// The name of the method.
    pub const NAME: &'static str = "prodial";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "PRODIAL";

    /// The method with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: ProDialConfig = own_settings(Self::NAME, map, ProDialConfig::KEYS)?;
        let sizes = [config.r, config.block_width];
        let sound = sizes.iter().all(|size| (1..=1 << 16).contains(size));
        if !sound || !config.lora_alpha.is_finite() || !(0.0..1.0).contains(&config.lora_dropout) {
            return Err(AdapterError::Config {
                method: Self::NAME.into(),
                problem: format!(
                    "r = {}, block_width = {}, lora_alpha = {} and lora_dropout = {}",
                    config.r, config.block_width, config.lora_alpha, config.lora_dropout
                ),
                fix: "use sizes from 1, a finite alpha, and a probability below 1".into(),
            });
        }
        Ok(Self { config })
    }

    /// Blocks along the inputs of a target, and their width.
    fn blocks(&self, target: &Target) -> Result<[usize; 3], AdapterError> {
        let width = self.config.block_width;
        if !target.in_features.is_multiple_of(width) {
            return Err(AdapterError::Config {
                method: Self::NAME.into(),
                problem: format!(
                    "block_width = {width} does not divide the {} inputs of `{}`",
                    target.in_features, target.path
                ),
                fix: "use a divisor of the inputs of all targets, such as 1".into(),
            });
        }
        Ok([target.in_features / width, width, width])
    }

    fn adapter(
        &self,
        target: &Target,
        [blocks, scale, a, b]: [TensorData; 4],
        device: &Device,
    ) -> DynAdapter {
        let options = (device, target.dtype.into());
        let matrix = |data| Param::from_tensor(Tensor::<2>::from_data(data, options));
        DynAdapter::new(ProDial {
            blocks: Param::from_tensor(Tensor::<3>::from_data(blocks, options)),
            scale: matrix(scale),
            a: matrix(a),
            b: matrix(b),
            gamma: self.config.lora_alpha / self.config.r as f64,
            dropout: (self.config.lora_dropout, key_of(0, &target.path, 0)),
        })
    }
}

impl Method for ProDialMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(&["in_proj", "out_proj"])
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let (inputs, outputs, rank) = (target.in_features, target.out_features, self.config.r);
        let bound = 1.0 / (inputs as f32).sqrt();
        let values = uniform_within(key_of(start.seed, &target.path, 0), inputs * rank, bound);
        let fields = [
            TensorData::zeros::<f32, _>(self.blocks(target)?),
            TensorData::ones::<f32, _>([1, outputs]),
            TensorData::new(values, [inputs, rank]),
            TensorData::zeros::<f32, _>([rank, outputs]),
        ];
        Ok(self.adapter(target, fields, &start.weight.device()))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let (inputs, outputs, rank) = (target.in_features, target.out_features, self.config.r);
        let blocks = self.blocks(target)?;
        let shapes: [(&str, &[usize]); 4] = [
            (BLOCKS, &blocks),
            (SCALE, &[1, outputs]),
            (A, &[rank, inputs]),
            (B, &[outputs, rank]),
        ];
        let tensors = shapes.map(|(suffix, shape)| (suffix.to_owned(), target.values_info(shape)));
        let dropout = self.config.lora_dropout;
        Ok(AdapterSpec {
            cost: cost([inputs, outputs], self.config.block_width, rank, dropout),
            keeps_input: true,
            tensors: Fields::from(tensors),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[BLOCKS, SCALE, A, B]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let (inputs, outputs, rank) = (target.in_features, target.out_features, self.config.r);
        let fields = [
            target.values(tensors, BLOCKS, &self.blocks(target)?)?,
            target.values(tensors, SCALE, &[1, outputs])?,
            target.values_transposed(tensors, A, [rank, inputs])?,
            target.values_transposed(tensors, B, [outputs, rank])?,
        ];
        Ok(self.adapter(target, fields, device))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        for (field, suffix, transposed) in [
            ("blocks", BLOCKS, false),
            ("scale", SCALE, false),
            ("a", A, true),
            ("b", B, true),
        ] {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            let tensor = match transposed {
                true => tensor.transposed(),
                false => tensor,
            };
            stored.insert(suffix.to_owned(), tensor);
        }
        Ok(stored)
    }
}
