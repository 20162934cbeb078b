use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
    format::targets::PatternMap,
};
use serde_json::{Map, Value};

use super::{SineLora, SineLoraConfig, adapter::cost};
use crate::{
    LoraInit,
    init::{self, Start},
};

const A: &str = "lora_A.weight";
const B: &str = "lora_B.weight";

/// Sine-LoRA as a [`Method`] ([2403.19243](https://arxiv.org/abs/2403.19243)). Its files have no
/// counterpart in PEFT.
#[derive(Debug, Clone)]
pub struct SineLoraMethod {
    config: SineLoraConfig,
    ranks: PatternMap<usize>,
}

impl SineLoraMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "sine_lora";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SINE_LORA";

    /// Sine-LoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config = SineLoraConfig::from_json(map)?;
        let ranks = config.rank_pattern.iter();
        let ranks = ranks.map(|(name, rank)| (name.clone(), *rank));
        let ranks = PatternMap::new("rank_pattern", ranks)?;
        Ok(Self { config, ranks })
    }

    /// The settings.
    pub fn settings(&self) -> &SineLoraConfig {
        &self.config
    }

    fn rank_of(&self, module: &str) -> Result<usize, AdapterError> {
        Ok(self.ranks.get(module)?.copied().unwrap_or(self.config.r))
    }

    fn adapter(
        &self,
        target: &Target,
        a: Tensor<2>,
        b: Tensor<2>,
    ) -> Result<DynAdapter, AdapterError> {
        let rank = self.rank_of(&target.path)? as f64;
        let root = || (target.in_features as f64).sqrt();
        let divisor = self.config.divisor.unwrap_or_else(root);
        Ok(DynAdapter::new(SineLora {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            frequency: self.config.frequency,
            scale: self.config.lora_alpha / (rank * divisor),
        }))
    }
}

impl Method for SineLoraMethod {
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
        let rank = self.rank_of(&target.path)?;
        let options = (&start.weight.device(), target.dtype.into());
        let Start { a, .. } = init::start(LoraInit::Kaiming, target, start, (rank, 1.0))?;
        let a = Tensor::from_data(a, options);
        let b = Tensor::zeros([rank, target.out_features], options);
        self.adapter(target, a, b)
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let rank = self.rank_of(&target.path)?;
        let (inputs, outputs) = (target.in_features, target.out_features);
        let tensor = |shape: [usize; 2]| target.values_info(&shape);
        Ok(AdapterSpec {
            cost: cost(rank, inputs, outputs),
            keeps_input: true,
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
            let data = target.values_transposed(tensors, suffix, shape)?;
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
        let mut take = |field: &str, suffix: &str| -> Result<HostTensor, AdapterError> {
            Ok(target.to_store(&mut fields, field, suffix)?.transposed())
        };
        let (a, b) = (take("a", A)?, take("b", B)?);
        Ok(Fields::from([(A.to_owned(), a), (B.to_owned(), b)]))
    }
}
