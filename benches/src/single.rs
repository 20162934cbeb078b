//! One linear layer, trained through or merged.

use anyhow::{Context, Result};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use peft_train::core::{AdapterContext, DynAdapter, nn::Linear, trainable_parameters};

use crate::{
    Case,
    adapter::{adapted, named},
    layer::{linear, random},
    protocol::{Measured, Setup},
};

/// A module for the adapter's method to find the layer in.
#[derive(Module, Debug)]
struct Holder {
    linear: Linear,
}

fn holder(setup: &Setup, device: &Device) -> Result<Holder> {
    let [inputs, outputs] = [setup.features, setup.features];
    let holder = Holder {
        linear: linear(11, inputs, outputs, device),
    };
    match setup.adapter.as_str() {
        "none" => Ok(holder.no_grad()),
        _ => adapted(holder, setup, named(&["linear"])),
    }
}

/// Forward and backward of a layer in the middle of a stack.
pub struct LinearCase {
    holder: Holder,
    input: Tensor<2>,
    probe: Tensor<2>,
    trained: usize,
}

impl LinearCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let device = device.clone().autodiff();
        let holder = holder(setup, &device)?;
        let shape = [setup.batch * setup.seq, setup.features];
        Ok(Self {
            trained: trainable_parameters(&holder).iter().map(|p| p.len()).sum(),
            holder,
            input: random(1, shape, 1.0, &device),
            probe: random(2, shape, 1.0, &device),
        })
    }
}

impl Case for LinearCase {
    fn trainable_parameters(&self) -> usize {
        self.trained
    }

    fn run(&mut self) -> Result<Measured> {
        let input = self.input.clone().detach().require_grad();
        let context = AdapterContext::training(0, 0);
        let output = self.holder.linear.forward(input.clone(), &context);
        let loss = (output * self.probe.clone()).mean();
        let grads = loss.backward();
        input.grad(&grads).context("the input got no gradient")?;
        Ok(Measured {
            tokens: input.dims()[0],
            loss: Some(loss.into_scalar::<f64>()),
        })
    }
}

/// The adapted weight, formed as for a merged checkpoint.
pub struct MergeCase {
    weight: Tensor<2>,
    adapter: DynAdapter,
    trained: usize,
}

impl MergeCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let holder = holder(setup, device)?;
        let adapter = holder.linear.weight.reparameterization::<DynAdapter>();
        let adapter = adapter.context("the case merge needs an adapter")?.clone();
        Ok(Self {
            trained: trainable_parameters(&holder).iter().map(|p| p.len()).sum(),
            weight: holder.linear.weight.base(),
            adapter,
        })
    }
}

impl Case for MergeCase {
    fn trainable_parameters(&self) -> usize {
        self.trained
    }

    fn run(&mut self) -> Result<Measured> {
        let merged = self.adapter.effective(self.weight.clone());
        merged.device().sync()?;
        let [rows, _] = merged.dims();
        Ok(Measured {
            tokens: rows,
            loss: None,
        })
    }
}
