use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    SiteKind, Target,
    kernels::{key_of, normal, uniform},
};
use serde_json::{Map, Value};

use super::{Bottleneck, BottleneckConfig, BottleneckInit, adapter::cost};
use crate::fields::{param, restored};

/// The tensors of a file and the fields that they hold, weights as PyTorch holds them, `[out, in]`.
const TENSORS: [&str; 4] = [
    "adapter_down.weight",
    "adapter_down.bias",
    "adapter_up.weight",
    "adapter_up.bias",
];

/// Standard deviation of [`BottleneckInit::Bert`].
const BERT_STD: f32 = 0.02;

/// Bottleneck adapters ([1902.00751](https://arxiv.org/abs/1902.00751),
/// [2005.00247](https://arxiv.org/abs/2005.00247)): see [`Bottleneck`].
///
/// Targets are slots; where none are named, the one after the feed-forward part of every block (Pfeiffer's
/// place). Houlsby's places are that and `after_attention`, with [`reads`](BottleneckConfig::reads) `plain`.
#[derive(Debug, Clone)]
pub struct BottleneckMethod {
    config: BottleneckConfig,
}

impl BottleneckMethod {
    /// The name of the method.
    pub const NAME: &'static str = "bottleneck";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "BOTTLENECK";

    /// Bottleneck adapters with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: BottleneckConfig) -> Result<Self, AdapterError> {
        config.check()?;
        Ok(Self { config })
    }

    /// Bottleneck adapters with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(BottleneckConfig::from_json(map)?)
    }

    /// Width of the block and of the bottleneck.
    fn sizes(&self, target: &Target) -> [usize; 2] {
        let width = target.in_features;
        [width, self.config.size(width)]
    }

    fn of(
        &self,
        fields: [burn::module::Param<burn::Tensor<2>>; 2],
        biases: [burn::module::Param<burn::Tensor<1>>; 2],
    ) -> DynAdapter {
        let [down, up] = fields;
        let [down_bias, up_bias] = biases;
        DynAdapter::of_slot(Bottleneck {
            down,
            down_bias,
            up,
            up_bias,
            non_linearity: self.config.non_linearity,
            reads: self.config.reads,
            scaling: self.config.scaling,
        })
    }
}

impl Method for BottleneckMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[SiteKind::Slot]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(&["after_feed_forward"])
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let [width, size] = self.sizes(target);
        let device = start.weight.device();
        let key = |part: u64| key_of(start.seed, &target.path, part);
        // A linear layer of PyTorch draws weights and biases from ±1/√inputs.
        let bound = 1.0 / (width as f32).sqrt();
        let spread = |key: u64, count: usize| -> Vec<f32> {
            let draws = uniform(key, count).into_iter();
            draws.map(|u| (2.0 * u - 1.0) * bound).collect()
        };
        let bert = |key: u64, count: usize| -> Vec<f32> {
            normal(key, count)
                .into_iter()
                .map(|z| z * BERT_STD)
                .collect()
        };
        let (down, down_bias, up) = match self.config.init_weights {
            BottleneckInit::Zero => (
                spread(key(0), width * size),
                spread(key(1), size),
                vec![0.0; size * width],
            ),
            BottleneckInit::Bert => (
                bert(key(0), width * size),
                vec![0.0; size],
                bert(key(2), size * width),
            ),
        };
        let matrix =
            |values, shape: [usize; 2]| param(TensorData::new(values, shape), target, &device);
        let vector = |values: Vec<f32>| {
            let shape = [values.len()];
            param(TensorData::new(values, shape), target, &device)
        };
        Ok(self.of(
            [matrix(down, [width, size]), matrix(up, [size, width])],
            [vector(down_bias), vector(vec![0.0; width])],
        ))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let [width, size] = self.sizes(target);
        let shapes: [&[usize]; 4] = [&[size, width], &[size], &[width, size], &[width]];
        let tensors = TENSORS.iter().zip(shapes);
        Ok(AdapterSpec {
            cost: cost(width, size),
            keeps_input: true,
            tensors: tensors
                .map(|(name, shape)| ((*name).to_owned(), target.values_info(shape)))
                .collect(),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &TENSORS
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let [width, size] = self.sizes(target);
        let matrix = |suffix: &str, shape: [usize; 2]| {
            let data = target.values_transposed(tensors, suffix, shape)?;
            let data = TensorData::new(data.iter::<f64>().collect(), [shape[1], shape[0]]);
            Ok::<_, AdapterError>(param(data, target, device))
        };
        let vector = |suffix: &str, length| restored(target, tensors, suffix, [length], device);
        Ok(self.of(
            [
                matrix(TENSORS[0], [size, width])?,
                matrix(TENSORS[2], [width, size])?,
            ],
            [vector(TENSORS[1], size)?, vector(TENSORS[3], width)?],
        ))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        for (field, suffix) in ["down", "down_bias", "up", "up_bias"].iter().zip(TENSORS) {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            stored.insert(suffix.to_owned(), tensor.transposed());
        }
        Ok(stored)
    }
}
