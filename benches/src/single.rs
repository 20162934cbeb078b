//! One linear layer, trained through or merged.

use anyhow::{Context, Result};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use peft_run::core::{
    AdapterContext, DynAdapter, Method, NameMap, WeightGradients, nn::Linear, train_weights,
    trainable_parameters,
};
use peft_train::Trainer;

use crate::{
    Case,
    adapter::{adapted_by, method, named},
    layer::{linear, random},
    protocol::{Measured, Setup},
    training::trainer,
};

/// A module for the adapter's method to find the layer in.
#[derive(Module, Debug)]
struct Holder {
    linear: Linear,
}

impl Holder {
    fn frozen(setup: &Setup, device: &Device) -> Self {
        let outputs = setup.outputs.unwrap_or(setup.features);
        Self {
            linear: linear(11, setup.features, outputs, device),
        }
        .no_grad()
    }

    fn weight_trained(self) -> Self {
        train_weights(self, &NameMap::identity(), &["linear".to_owned()].into())
    }

    /// The loss of rows, and the gradient of the inputs taken, as in the middle of a stack.
    fn loss(&self, input: &Tensor<2>, probe: &Tensor<2>, context: &AdapterContext) -> Tensor<1> {
        let output = self.linear.forward(input.clone(), context);
        (output * probe.clone()).mean()
    }
}

/// Rows of inputs, and what the outputs are multiplied by: every use of a key is another draw.
fn rows(setup: &Setup, key: u64, device: &Device) -> [Tensor<2>; 2] {
    let count = setup.batch * setup.seq;
    let outputs = setup.outputs.unwrap_or(setup.features);
    [
        random(2 * key + 1, [count, setup.features], 1.0, device),
        random(2 * key + 2, [count, outputs], 1.0, device),
    ]
}

/// A layer with the adapter that the setup asks for.
fn adapted_holder(setup: &Setup, method: &dyn Method, device: &Device) -> Result<Holder> {
    let holder = Holder::frozen(setup, device);
    let mut gradients = WeightGradients::new();
    let plain = holder.clone().weight_trained();
    for batch in 0..method.gradients().batches {
        let [input, probe] = rows(setup, 1 + batch as u64, device);
        let loss = plain.loss(&input, &probe, &AdapterContext::inference());
        let found = plain.linear.weight.val().grad(&loss.backward());
        let found = found.context("the weight got no gradient")?;
        gradients.add([("linear".to_owned(), found)], method);
    }
    let known = (method.gradients().batches > 0).then_some(&gradients);
    adapted_by(holder, method, named(&["linear"]), known)
}

/// Forward and backward of a layer in the middle of a stack, with the optimiser's step where the setup
/// says so.
pub struct LinearCase {
    holder: Option<Holder>,
    input: Tensor<2>,
    probe: Tensor<2>,
    trained: usize,
    step: Option<(Trainer, Box<dyn Method>)>,
}

impl LinearCase {
    pub fn new(setup: &Setup, device: &Device) -> Result<Self> {
        let device = device.clone().autodiff();
        let [input, probe] = rows(setup, 0, &device);
        let (holder, method) = match setup.adapter.as_str() {
            "none" => (Holder::frozen(setup, &device), None),
            "full" => {
                let method = peft_run::methods::by_name("head")?;
                let method = (method.build)(&(method.defaults)())?;
                (
                    Holder::frozen(setup, &device).weight_trained(),
                    Some(method),
                )
            }
            _ => {
                let method = method(setup)?;
                let holder = adapted_holder(setup, method.as_ref(), &device)?;
                (holder, Some(method))
            }
        };
        Ok(Self {
            trained: trainable_parameters(&holder).iter().map(|p| p.len()).sum(),
            holder: Some(holder),
            input,
            probe,
            step: method
                .filter(|_| setup.optimizer)
                .map(|method| (trainer(setup.seed), method)),
        })
    }
}

impl Case for LinearCase {
    fn trainable_parameters(&self) -> usize {
        self.trained
    }

    fn run(&mut self) -> Result<Measured> {
        let input = self.input.clone().detach().require_grad();
        let tokens = input.dims()[0];
        let holder = self.holder.take().context("an earlier step failed")?;
        let (holder, loss) = match &mut self.step {
            None => {
                let loss = holder.loss(&input, &self.probe, &AdapterContext::training(0, 0));
                let grads = loss.backward();
                input.grad(&grads).context("the input got no gradient")?;
                (holder, loss.into_scalar::<f64>())
            }
            Some((trainer, method)) => {
                let probe = &self.probe;
                let (holder, report) =
                    trainer.step(holder, method.as_ref(), 1, |holder: &Holder, _, context| {
                        Ok((holder.loss(&input, probe, context), 1.0))
                    })?;
                (holder, report.loss)
            }
        };
        self.holder = Some(holder);
        Ok(Measured::whole(tokens, Some(loss)))
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
        let holder = adapted_holder(setup, method(setup)?.as_ref(), device)?;
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
        Ok(Measured::whole(rows, None))
    }
}
