use burn::{
    Tensor,
    module::Param,
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    format::{Dtype, TensorInfo, targets::PatternMap},
    kernels::{key_of, normal, uniform},
};
use serde_json::{Map, Value};

use crate::{Lora, LoraConfig, LoraInit, lora::cost};

const A: &str = "lora_A.weight";
const B: &str = "lora_B.weight";

/// LoRA as a [`Method`].
#[derive(Debug, Clone)]
pub struct LoraMethod {
    config: LoraConfig,
    init: LoraInit,
    ranks: PatternMap<usize>,
    alphas: PatternMap<f64>,
}

impl LoraMethod {
    /// LoRA with these settings.
    ///
    /// # Errors
    /// If the initialisation is one that is not known, or a pattern is no regular expression.
    pub fn new(config: LoraConfig) -> Result<Self, AdapterError> {
        let init = config.init()?;
        let ranks = config
            .rank_pattern
            .iter()
            .map(|(key, rank)| (key.clone(), *rank));
        let ranks = PatternMap::new("rank_pattern", ranks)?;
        let alphas = config
            .alpha_pattern
            .iter()
            .map(|(key, alpha)| (key.clone(), *alpha));
        let alphas = PatternMap::new("alpha_pattern", alphas)?;
        Ok(Self {
            config,
            init,
            ranks,
            alphas,
        })
    }

    /// LoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(LoraConfig::from_json(map)?)
    }

    /// The settings.
    pub fn settings(&self) -> &LoraConfig {
        &self.config
    }

    /// The rank of a module.
    ///
    /// # Errors
    /// If matching a pattern takes too long.
    pub fn rank_of(&self, module: &str) -> Result<usize, AdapterError> {
        Ok(self.ranks.get(module)?.copied().unwrap_or(self.config.r))
    }

    /// The factor `s` of a module: `α / r`, or `α / √r` when rank stabilised.
    ///
    /// # Errors
    /// If matching a pattern takes too long.
    pub fn scale_of(&self, module: &str) -> Result<f64, AdapterError> {
        let rank = self.rank_of(module)? as f64;
        let alpha = self
            .alphas
            .get(module)?
            .copied()
            .unwrap_or(self.config.lora_alpha);
        Ok(alpha
            / if self.config.use_rslora {
                rank.sqrt()
            } else {
                rank
            })
    }

    fn adapter(
        &self,
        target: &Target,
        a: Tensor<2>,
        b: Tensor<2>,
    ) -> Result<DynAdapter, AdapterError> {
        Ok(DynAdapter::new(Lora {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            scale: self.scale_of(&target.path)?,
            dropout: self.config.lora_dropout,
            place: key_of(0, &target.path, 0),
        }))
    }
}

impl Method for LoraMethod {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn peft_type(&self) -> &'static str {
        "LORA"
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let rank = self.rank_of(&target.path)?;
        let (inputs, outputs) = (target.in_features, target.out_features);
        let key = key_of(start.seed, &target.path, 0);
        let a: Vec<f32> = match self.init {
            LoraInit::Kaiming => {
                let bound = 1.0 / (inputs as f32).sqrt();
                uniform(key, inputs * rank)
                    .iter()
                    .map(|u| (2.0 * u - 1.0) * bound)
                    .collect()
            }
            LoraInit::Gaussian => normal(key, inputs * rank)
                .iter()
                .map(|z| z / rank as f32)
                .collect(),
        };
        let options = (&start.weight.device(), target.dtype.into());
        let a = Tensor::from_data(TensorData::new(a, [inputs, rank]), options);
        let b = Tensor::zeros([rank, outputs], options);
        self.adapter(target, a, b)
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let rank = self.rank_of(&target.path)?;
        let (inputs, outputs) = (target.in_features, target.out_features);
        let dropout = self.config.lora_dropout;
        let dtype = match target.dtype {
            FloatDType::F64 => Dtype::F64,
            _ => Dtype::F32,
        };
        let tensor = |shape: [usize; 2]| TensorInfo {
            dtype,
            shape: shape.to_vec(),
        };
        Ok(AdapterSpec {
            cost: cost(rank, dropout, inputs, outputs),
            // With dropout, what was left of the input is kept in its place.
            keeps_input: dropout == 0.0,
            tensors: Fields::from([
                (A.to_owned(), tensor([rank, inputs])),
                (B.to_owned(), tensor([outputs, rank])),
            ]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[A, B]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let rank = self.rank_of(&target.path)?;
        let load = |suffix: &str, shape: [usize; 2]| -> Result<Tensor<2>, AdapterError> {
            let tensor = target.stored(tensors, suffix)?;
            let name = target.tensor_name(suffix);
            let data = tensor.expect_shape(&name, &shape)?.transposed();
            let data = data.to_float(&name, target.dtype)?;
            Ok(Tensor::from_data(data, (device, target.dtype.into())))
        };
        let a = load(A, [rank, target.in_features])?;
        let b = load(B, [target.out_features, rank])?;
        self.adapter(target, a, b)
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut out = Fields::new();
        for (field, suffix) in [("a", A), ("b", B)] {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            out.insert(suffix.to_owned(), tensor.transposed());
        }
        Ok(out)
    }
}
