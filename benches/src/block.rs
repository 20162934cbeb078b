//! One block of a Mamba of 130 million values on a full batch.

use anyhow::{Result, ensure};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use peft_run::{
    core::{AdapterContext, Slot, nn::Linear, trainable_parameters},
    models::{Conv1d, MambaBlock, MambaConfig, PackedBatch, RmsNorm, StateSpace},
};

use crate::{
    Case,
    adapter::{adapted, named},
    layer::random,
    protocol::{Measured, Setup},
};

const HIDDEN: usize = 768;
const CHANNELS: usize = 2 * HIDDEN;
const STATES: usize = 16;
const KERNEL: usize = 4;
const STEP_RANK: usize = HIDDEN / 16;

pub struct BlockCase {
    block: MambaBlock,
    config: MambaConfig,
    input: Tensor<2>,
    probe: Tensor<2>,
    batch: PackedBatch,
    trained: usize,
}

impl BlockCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        ensure!(setup.trains(), "mamba_block knows the mode train");
        let device = device.clone().autodiff();
        let block = random_block(&device).no_grad();
        let block = match setup.adapter.as_str() {
            "none" => block,
            _ => adapted(block, setup, named(&setup.targets))?,
        };
        let tokens = setup.batch * setup.seq;
        let starts: Vec<usize> = (0..=setup.batch).map(|row| row * setup.seq).collect();
        let config = config();
        Ok(Self {
            trained: trainable_parameters(&block).iter().map(|p| p.len()).sum(),
            block,
            input: random(1, [tokens, HIDDEN], 1.0, &device),
            probe: random(2, [tokens, HIDDEN], 1.0, &device),
            batch: PackedBatch::new(&config, &vec![0; tokens], &[], &starts, &device)?,
            config,
        })
    }
}

impl Case for BlockCase {
    fn trainable_parameters(&self) -> usize {
        self.trained
    }

    /// Forward and backward, in the middle of a stack: the input needs its gradient, too.
    fn run(&mut self) -> Result<Measured> {
        let input = self.input.clone().detach().require_grad();
        let context = AdapterContext::training(0, 0);
        let output = (self.block).forward(input.clone(), &self.batch, &self.config, 0, &context);
        let tokens = output.dims()[0];
        let loss = (output * self.probe.clone()).mean();
        let grads = loss.backward();
        ensure!(input.grad(&grads).is_some(), "the input got no gradient");
        Ok(Measured::whole(tokens, Some(loss.into_scalar::<f64>())))
    }
}

fn config() -> MambaConfig {
    MambaConfig {
        vocab_size: 1,
        hidden_size: HIDDEN,
        channels: CHANNELS,
        states: STATES,
        kernel: KERNEL,
        space: StateSpace::Selective {
            step_rank: STEP_RANK,
            norms: None,
        },
        layers: 1,
        norm_eps: 1e-5,
        bias: false,
        conv_bias: true,
        tied: true,
        initializer_range: 0.1,
    }
}

fn random_block(device: &Device) -> MambaBlock {
    let linear = |key, inputs: usize, outputs| {
        let std = 1.0 / (inputs as f32).sqrt();
        Linear::new(
            random(key, [outputs, inputs], std, device).transpose(),
            None,
        )
    };
    let mut dt_proj = linear(13, STEP_RANK, CHANNELS);
    // Behind the softplus, steps of about 0.01.
    let bias = Tensor::full([CHANNELS], -4.6, device);
    dt_proj.bias = Some(Param::from_tensor(bias));
    MambaBlock {
        norm: Some(RmsNorm {
            weight: Param::from_tensor(Tensor::ones([HIDDEN], device)),
            eps: 1e-5,
            plus_one: false,
        }),
        in_proj: linear(11, HIDDEN, 2 * CHANNELS),
        conv: Conv1d {
            weight: Param::from_tensor(random(14, [CHANNELS, 1, KERNEL], 0.5, device)),
            bias: Some(Param::from_tensor(Tensor::zeros([CHANNELS], device))),
        },
        x_proj: linear(12, CHANNELS, STEP_RANK + 2 * STATES),
        step_norm: None,
        b_norm: None,
        c_norm: None,
        dt_proj,
        a_log: Param::from_tensor(
            Tensor::arange(1..STATES as i64 + 1, device)
                .float()
                .log()
                .unsqueeze::<2>()
                .repeat(&[CHANNELS, 1]),
        ),
        d: Param::from_tensor(Tensor::ones([CHANNELS], device)),
        out_proj: linear(15, CHANNELS, HIDDEN),
        before_state: Slot::new([HIDDEN]),
        state_start: Slot::new([CHANNELS, STATES]),
        conv_start: Slot::new([KERNEL - 1, CHANNELS]),
        affix: Slot::new([CHANNELS]),
        more_states: Slot::new([CHANNELS, STATES]),
        state_readout: Slot::new([CHANNELS, STATES]),
        state_output: Slot::new([CHANNELS]),
        after_state: Slot::new([HIDDEN]),
    }
}
