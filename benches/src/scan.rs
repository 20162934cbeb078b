//! The selective scan of one sequence, by itself.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use peft_run::core::kernels::{RowLayout, SelectiveScan, selective_scan};

use crate::{
    Case,
    layer::random,
    protocol::{Measured, Setup},
};

/// `seq` rows of `features` channels, all inputs random, in `batch` sequences.
pub struct ScanCase {
    inputs: SelectiveScan,
    probe: Tensor<2>,
    rows: RowLayout,
    train: bool,
}

impl ScanCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let (length, channels, states) = (setup.seq, setup.features, setup.states);
        ensure!(
            setup.batch > 0 && length > 0 && channels > 0 && states > 0,
            "scan needs rows, features and states"
        );
        let train = setup.trains();
        let device = match train {
            true => device.clone().autodiff(),
            false => device.clone(),
        };
        let total = setup.batch * length;
        let draw = |key, width| random(key, [total, width], 1.0, &device);
        let starts = (0..=setup.batch).map(|row| row * length).collect();
        Ok(Self {
            inputs: SelectiveScan {
                u: draw(1, channels),
                delta: draw(2, channels),
                // As Mamba begins: every channel has the decay rates 1, 2, 3, …
                a_log: Tensor::arange(1..states as i64 + 1, &device)
                    .float()
                    .log()
                    .unsqueeze::<2>()
                    .repeat(&[channels, 1]),
                b: draw(3, states),
                c: draw(4, states),
                skip: random(5, [channels], 1.0, &device),
                gate: Some(draw(6, channels)),
                delta_bias: Some(random(7, [channels], 1.0, &device)),
                initial: None,
            },
            probe: draw(8, channels),
            rows: RowLayout::new(starts, &device),
            train,
        })
    }
}

impl Case for ScanCase {
    fn trainable_parameters(&self) -> usize {
        0
    }

    /// Forward, or forward and the gradients of all inputs.
    fn run(&mut self) -> Result<Measured> {
        let tokens = self.rows.rows();
        let mut inputs = self.inputs.clone();
        if !self.train {
            std::hint::black_box(selective_scan(inputs, &self.rows));
            return Ok(Measured::whole(tokens, None));
        }
        let leaf = |x: Tensor<2>| x.detach().require_grad();
        inputs.u = leaf(inputs.u);
        inputs.delta = leaf(inputs.delta);
        inputs.a_log = leaf(inputs.a_log);
        inputs.b = leaf(inputs.b);
        inputs.c = leaf(inputs.c);
        inputs.gate = inputs.gate.map(leaf);
        inputs.skip = inputs.skip.detach().require_grad();
        inputs.delta_bias = inputs.delta_bias.map(|bias| bias.detach().require_grad());
        let u = inputs.u.clone();
        let (y, _) = selective_scan(inputs, &self.rows);
        let loss = (y * self.probe.clone()).sum();
        let grads = loss.backward();
        ensure!(u.grad(&grads).is_some(), "the input got no gradient");
        Ok(Measured::whole(tokens, Some(loss.into_scalar::<f64>())))
    }
}
