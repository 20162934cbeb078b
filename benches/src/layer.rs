//! One encoder layer of BERT-base size on a full batch.

use anyhow::Result;
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use peft_run::{
    core::{
        AdapterContext, Slot, format::TargetModules, kernels::normal, nn::Linear,
        trainable_parameters,
    },
    models::{Activation, EncoderConfig, Family, Layer, LayerNorm, PackedBatch, Pooling},
};

use crate::{
    Case,
    adapter::{adapted, named},
    protocol::{Measured, Setup},
};

pub const HIDDEN: usize = 768;
const INTERMEDIATE: usize = 3072;

pub struct LayerCase {
    layer: Layer,
    config: EncoderConfig,
    input: Tensor<2>,
    probe: Tensor<2>,
    batch: PackedBatch,
    tokens: usize,
    train: bool,
    trained: usize,
    full: bool,
}

impl LayerCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let train = setup.trains();
        let device = if train {
            device.clone().autodiff()
        } else {
            device.clone()
        };
        let layer = random_layer(&device);
        let (layer, full) = match setup.adapter.as_str() {
            "none" => (layer.no_grad(), false),
            "full" => (layer, true),
            "all-linear" => (adapted(layer, setup, TargetModules::AllLinear)?, false),
            _ => (adapted(layer, setup, named(&["query", "value"]))?, false),
        };
        let tokens = setup.batch * setup.seq;
        let starts: Vec<usize> = (0..=setup.batch).map(|row| row * setup.seq).collect();
        let config = config();
        let batch = PackedBatch::new(&config, &vec![0; tokens], &[], &starts, &device)?;
        let trained = if train {
            trainable_parameters(&layer).iter().map(|p| p.len()).sum()
        } else {
            0
        };
        Ok(Self {
            layer,
            config,
            input: random(1, [tokens, HIDDEN], 1.0, &device),
            probe: random(2, [tokens, HIDDEN], 1.0, &device),
            batch,
            tokens,
            train,
            trained,
            full,
        })
    }
}

impl Case for LayerCase {
    fn trainable_parameters(&self) -> usize {
        self.trained
    }

    fn run(&mut self) -> Result<Measured> {
        let tokens = self.tokens;
        if !self.train {
            let context = AdapterContext::inference();
            let output = self.layer.forward(
                self.input.clone(),
                &self.batch,
                None,
                &self.config,
                0,
                &context,
            );
            // A device that computes lazily must finish inside of the time.
            output.device().sync()?;
            return Ok(Measured::whole(tokens, None));
        }
        // As in the middle of a stack: the input needs its gradient, too.
        let input = self.input.clone().detach().require_grad();
        let context = AdapterContext::training(0, 0);
        let output =
            self.layer
                .forward(input.clone(), &self.batch, None, &self.config, 0, &context);
        let loss = (output * self.probe.clone()).mean();
        let grads = loss.backward();
        if self.full || self.trained > 0 {
            anyhow::ensure!(input.grad(&grads).is_some(), "the input got no gradient");
        }
        Ok(Measured::whole(tokens, Some(loss.into_scalar::<f64>())))
    }
}

pub fn random<const D: usize>(key: u64, shape: [usize; D], std: f32, device: &Device) -> Tensor<D> {
    // In place: a hole of the same size would be reused at some steps and not at others, and stand in
    // the peak as if the step needed it.
    let mut values: Vec<f32> = normal(key, shape.iter().product());
    values.iter_mut().for_each(|value| *value *= std);
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub fn linear(key: u64, inputs: usize, outputs: usize, device: &Device) -> Linear {
    // As a checkpoint's: `[out, in]`, seen transposed.
    let weight = random(key, [outputs, inputs], 0.02, device).transpose();
    Linear::new(weight, Some(Tensor::zeros([outputs], device)))
}

pub fn norm(device: &Device) -> LayerNorm {
    LayerNorm {
        weight: Param::from_tensor(Tensor::ones([HIDDEN], device)),
        bias: Some(Param::from_tensor(Tensor::zeros([HIDDEN], device))),
        eps: 1e-12,
    }
}

pub fn random_layer(device: &Device) -> Layer {
    let linear = |key, inputs, outputs| linear(key, inputs, outputs, device);
    let norm = || norm(device);
    Layer {
        query: linear(11, HIDDEN, HIDDEN),
        key: linear(12, HIDDEN, HIDDEN),
        value: linear(13, HIDDEN, HIDDEN),
        output: linear(14, HIDDEN, HIDDEN),
        attention_norm: norm(),
        up: linear(15, HIDDEN, INTERMEDIATE),
        down: linear(16, INTERMEDIATE, HIDDEN),
        norm: norm(),
        before_attention: Slot::new([HIDDEN]),
        keys_values: Slot::new([HIDDEN]),
        after_attention: Slot::new([HIDDEN]),
        before_feed_forward: Slot::new([HIDDEN]),
        beside_feed_forward: Slot::new([HIDDEN]),
        after_feed_forward: Slot::new([HIDDEN]),
    }
}

pub fn config() -> EncoderConfig {
    EncoderConfig {
        family: Family::Bert,
        model_type: "bert".into(),
        vocab_size: 30522,
        embedding_size: HIDDEN,
        hidden_size: HIDDEN,
        layers: 1,
        distinct_layers: 1,
        heads: 12,
        intermediate_size: INTERMEDIATE,
        max_positions: 512,
        first_position: 0,
        learned_positions: true,
        relative: None,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        activation: Activation::Gelu,
        hidden_dropout: 0.0,
        attention_dropout: 0.0,
        pooler_dropout: 0.0,
        head_dropout: 0.0,
        head_activation: Activation::Tanh,
        head_bias: true,
        pooling: Pooling::First,
        initializer_range: 0.02,
        labels: Vec::new(),
        blocks: None,
    }
}
