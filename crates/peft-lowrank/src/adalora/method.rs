use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Param, ParamId},
    tensor::{Device, Int, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, AfterStep, DynAdapter, Fields, HostTensor, InitContext, Method,
    Target,
    kernels::{key_of, normal},
};
use serde_json::{Map, Value};

use super::{
    AdaLora, AdaLoraConfig,
    adapter::cost,
    files::{self, A, B, E},
    score,
};
use crate::lora::LowRank;

/// Standard deviation of fresh directions.
const DEVIATION: f32 = 0.02;

/// AdaLoRA as a [`Method`] ([2303.10512](https://arxiv.org/abs/2303.10512)).
#[derive(Debug, Clone)]
pub struct AdaLoraMethod {
    config: AdaLoraConfig,
}

impl AdaLoraMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "adalora";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "ADALORA";

    /// AdaLoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config = AdaLoraConfig::from_json(map)?;
        Ok(Self { config })
    }

    /// The settings.
    pub fn settings(&self) -> &AdaLoraConfig {
        &self.config
    }

    /// Which triplets of a module are kept, as far as the settings tell.
    fn kept(&self, module: &str) -> Vec<bool> {
        let pattern = &self.config.rank_pattern;
        let kept = pattern.get(&files::pattern_key(module));
        kept.cloned()
            .unwrap_or_else(|| vec![true; self.config.init_r])
    }

    fn held(&self, module: &str) -> usize {
        let kept = self.kept(module);
        kept.into_iter().filter(|kept| *kept).count()
    }

    /// The adapter of such factors; where no triplet is held they are one of zeros, which is not
    /// trained.
    fn adapter(
        &self,
        target: &Target,
        (a, e, b): (Tensor<2>, Tensor<1>, Tensor<2>),
        held: usize,
    ) -> DynAdapter {
        let config = &self.config;
        let kept: Vec<i64> = self.kept(&target.path).into_iter().map(i64::from).collect();
        let kept = TensorData::new(kept, [config.init_r]);
        let kept = Tensor::<1, Int>::from_data(kept, &a.device());
        let rank = config.init_r as f64;
        // PEFT takes the rank itself for an α of 0 or less.
        let alpha = if config.lora_alpha > 0.0 {
            config.lora_alpha
        } else {
            rank
        };
        DynAdapter::new(AdaLora {
            a: Param::from_tensor(a).set_require_grad(held > 0),
            e: Param::from_tensor(e).set_require_grad(held > 0),
            b: Param::from_tensor(b).set_require_grad(held > 0),
            kept: Param::initialized(ParamId::new(), kept),
            rules: LowRank {
                scale: alpha / (rank + 1e-5),
                dropout: config.lora_dropout,
                dropout_key: key_of(0, &target.path, 0),
                rate_of_b: 1.0,
            },
            orthogonality: if held > 0 {
                config.orth_reg_weight
            } else {
                0.0
            },
            held,
        })
    }
}

impl Method for AdaLoraMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn config_of_run(&self, steps: u64) -> Result<Map<String, Value>, AdapterError> {
        let budget = self.config.budget(steps)?;
        Ok(Map::from_iter([
            ("tinit".to_owned(), budget.start.into()),
            ("tfinal".to_owned(), (budget.total - budget.end).into()),
            ("total_step".to_owned(), budget.total.into()),
        ]))
    }

    fn config_of_adapters(
        &self,
        modules: &BTreeMap<String, Fields<TensorData>>,
    ) -> Map<String, Value> {
        files::pattern(modules)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let rank = self.config.init_r;
        let (inputs, outputs) = (target.in_features, target.out_features);
        let draw = |stream: u64, count: usize| -> Vec<f32> {
            let numbers = normal(key_of(start.seed, &target.path, stream), count);
            numbers.iter().map(|z| z * DEVIATION).collect()
        };
        let options = (&start.weight.device(), target.dtype.into());
        let a = TensorData::new(draw(0, inputs * rank), [inputs, rank]);
        let b = TensorData::new(draw(1, rank * outputs), [rank, outputs]);
        let factors = (
            Tensor::from_data(a, options),
            Tensor::zeros([rank], options),
            Tensor::from_data(b, options),
        );
        Ok(self.adapter(target, factors, rank))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let held = self.held(&target.path);
        let (inputs, outputs) = (target.in_features, target.out_features);
        let dropout = self.config.lora_dropout;
        let tensor = |shape: [usize; 2]| target.values_info(&shape);
        Ok(AdapterSpec {
            cost: cost(held, dropout, inputs, outputs),
            // With dropout, what was left of the input is kept in its place.
            keeps_input: dropout == 0.0,
            tensors: Fields::from([
                (A.to_owned(), tensor([held, inputs])),
                (B.to_owned(), tensor([outputs, held])),
                (E.to_owned(), tensor([held, 1])),
            ]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[A, B, E]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let held = self.held(&target.path);
        let (inputs, outputs) = (target.in_features, target.out_features);
        let load = |suffix, shape| target.values_transposed(tensors, suffix, shape);
        let (a, b) = (load(A, [held, inputs])?, load(B, [outputs, held])?);
        let e = load(E, [held, 1])?;
        let options = (device, target.dtype.into());
        let factors = match held {
            0 => (
                Tensor::zeros([inputs, 1], options),
                Tensor::zeros([1], options),
                Tensor::zeros([1, outputs], options),
            ),
            held => (
                Tensor::from_data(a, options),
                Tensor::<2>::from_data(e, options).reshape([held]),
                Tensor::from_data(b, options),
            ),
        };
        Ok(self.adapter(target, factors, held))
    }

    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        files::export(target, fields)
    }

    fn acts_after(&self, _: u64, _: u64) -> bool {
        self.config.rank_pattern.is_empty()
    }

    fn after_step(&self, now: &mut AfterStep) -> Result<(), AdapterError> {
        let budget = self.config.budget(now.total)?;
        score::after_step(&self.config, &budget, now);
        Ok(())
    }
}
