//! One module, whatever method it belongs to: how it starts, and what files hold of it.

use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, Fields, HostTensor, InitContext, Target,
    format::TensorInfo,
    kernels::{key_of, normal, uniform_within},
};

use super::{Bottleneck, BottleneckInit, BottleneckInput, NonLinearity};
use crate::fields::{param, restored};

/// The tensors of a file, weights as PyTorch holds them, `[out, in]`.
pub const TENSORS: [&str; 4] = [
    "adapter_down.weight",
    "adapter_down.bias",
    "adapter_up.weight",
    "adapter_up.bias",
];
/// The fields that they hold.
const FIELDS: [&str; 4] = ["down", "down_bias", "up", "up_bias"];

/// Standard deviation of [`BottleneckInit::Bert`].
const BERT_STD: f32 = 0.02;

/// What a module is made by.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Width of the bottleneck.
    pub size: usize,
    pub non_linearity: NonLinearity,
    pub reads: BottleneckInput,
    pub scaling: f64,
    pub init: BottleneckInit,
    /// What comes before its tensors in a file, and before its fields in an adapter: nothing, or the name of a part.
    pub part: Option<&'static str>,
    /// The first of the streams of random numbers that it draws from.
    pub stream: u64,
}

impl Form {
    /// The name of a tensor or a field of this module.
    fn named(&self, name: &str) -> String {
        match self.part {
            None => name.to_owned(),
            Some(part) => format!("{part}.{name}"),
        }
    }

    /// A fresh module.
    pub fn fresh(&self, target: &Target, start: &InitContext) -> Bottleneck {
        let (width, size) = (target.in_features, self.size);
        let device = start.weight.device();
        let key = |part: u64| key_of(start.seed, &target.path, self.stream + part);
        // A linear layer of PyTorch draws weights and biases from ±1/√inputs.
        let bound = 1.0 / (width as f32).sqrt();
        let spread = |key: u64, count: usize| uniform_within(key, count, bound);
        let bert = |key: u64, count: usize| -> Vec<f32> {
            let draws = normal(key, count).into_iter();
            draws.map(|z| z * BERT_STD).collect()
        };
        let zeros = |count: usize| vec![0.0; count];
        let (down, down_bias, up) = match self.init {
            BottleneckInit::Zero => (
                spread(key(0), width * size),
                spread(key(1), size),
                zeros(size * width),
            ),
            BottleneckInit::Mam => (
                spread(key(0), width * size),
                zeros(size),
                zeros(size * width),
            ),
            BottleneckInit::Bert => (
                bert(key(0), width * size),
                zeros(size),
                bert(key(2), size * width),
            ),
        };
        let matrix =
            |values, shape: [usize; 2]| param(TensorData::new(values, shape), target, &device);
        let vector = |values: Vec<f32>| {
            let shape = [values.len()];
            param(TensorData::new(values, shape), target, &device)
        };
        Bottleneck {
            down: matrix(down, [width, size]),
            down_bias: vector(down_bias),
            up: matrix(up, [size, width]),
            up_bias: vector(zeros(width)),
            non_linearity: self.non_linearity,
            reads: self.reads,
            scaling: self.scaling,
        }
    }

    /// Its tensors in a file.
    pub fn tensors(&self, target: &Target) -> Fields<TensorInfo> {
        let (width, size) = (target.in_features, self.size);
        let shapes: [&[usize]; 4] = [&[size, width], &[size], &[width, size], &[width]];
        let tensors = TENSORS.iter().zip(shapes);
        tensors
            .map(|(name, shape)| (self.named(name), target.values_info(shape)))
            .collect()
    }

    /// The module of a file.
    ///
    /// # Errors
    /// If tensors are missing, of the wrong shape, or not finite.
    pub fn restored(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<Bottleneck, AdapterError> {
        let (width, size) = (target.in_features, self.size);
        let matrix = |name: &str, shape: [usize; 2]| {
            let data = target.values_transposed(tensors, &self.named(name), shape)?;
            let data = TensorData::new(data.iter::<f64>().collect(), [shape[1], shape[0]]);
            Ok::<_, AdapterError>(param(data, target, device))
        };
        let vector =
            |name: &str, length| restored(target, tensors, &self.named(name), [length], device);
        Ok(Bottleneck {
            down: matrix(TENSORS[0], [size, width])?,
            down_bias: vector(TENSORS[1], size)?,
            up: matrix(TENSORS[2], [width, size])?,
            up_bias: vector(TENSORS[3], width)?,
            non_linearity: self.non_linearity,
            reads: self.reads,
            scaling: self.scaling,
        })
    }

    /// Put its tensors into those of a file.
    ///
    /// # Errors
    /// If a field is missing.
    pub fn export(
        &self,
        target: &Target,
        fields: &mut Fields<TensorData>,
        stored: &mut Fields<HostTensor>,
    ) -> Result<(), AdapterError> {
        for (field, suffix) in FIELDS.iter().zip(TENSORS) {
            let (field, suffix) = (self.named(field), self.named(suffix));
            let tensor = target.to_store(fields, &field, &suffix)?;
            stored.insert(suffix, tensor.transposed());
        }
        Ok(())
    }
}
