//! AdamW over the trained parameters only.

mod state;

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
};
use peft_core::ParamPath;
use serde::{Deserialize, Serialize};

use crate::GradientSet;

pub use state::AdamWState;

/// Settings of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// Decoupled weight decay Adam ([1711.05101](https://arxiv.org/abs/1711.05101)):
///
/// ```text
/// m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
/// w ← w − η λ w − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
///
/// as PyTorch computes it. State is kept for parameters that get gradients, and for nothing else.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    step: u64,
    moments: BTreeMap<String, Moments>,
}

#[derive(Debug, Clone)]
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
}

impl AdamW {
    /// An optimiser without state.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            step: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Values of state held.
    pub fn state_len(&self) -> usize {
        self.moments
            .values()
            .map(|m| 2 * m.mean.shape().num_elements())
            .sum()
    }

    /// Update every parameter that has a gradient; `rate` is its learning rate.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: &GradientSet,
        rate: &dyn Fn(&ParamPath) -> f64,
    ) -> M {
        self.step += 1;
        model.map(&mut Update {
            path: ParamPath::default(),
            optimizer: self,
            gradients,
            rate,
        })
    }

    fn update(
        &mut self,
        path: String,
        value: Tensor<1>,
        gradient: &Tensor<1>,
        rate: f64,
    ) -> Tensor<1> {
        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
        } = self.config;
        let gradient = gradient.clone().cast(value.dtype());
        let square = gradient.clone().powi_scalar(2);
        let moments = match self.moments.remove(&path) {
            Some(old) => Moments {
                mean: old.mean.mul_scalar(beta1) + gradient.mul_scalar(1.0 - beta1),
                square: old.square.mul_scalar(beta2) + square.mul_scalar(1.0 - beta2),
            },
            None => Moments {
                mean: gradient.mul_scalar(1.0 - beta1),
                square: square.mul_scalar(1.0 - beta2),
            },
        };
        let age = self.step as i32;
        let (mean_bias, square_bias) = (1.0 - beta1.powi(age), 1.0 - beta2.powi(age));
        let denominator = moments
            .square
            .clone()
            .sqrt()
            .div_scalar(square_bias.sqrt())
            .add_scalar(eps);
        let change = moments
            .mean
            .clone()
            .div(denominator)
            .mul_scalar(rate / mean_bias);
        self.moments.insert(path, moments);
        match weight_decay {
            0.0 => value - change,
            decay => value.mul_scalar(1.0 - rate * decay) - change,
        }
    }
}

struct Update<'a> {
    path: ParamPath,
    optimizer: &'a mut AdamW,
    gradients: &'a GradientSet,
    rate: &'a dyn Fn(&ParamPath) -> f64,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.text();
        let Some(gradient) = self.gradients.get(&path) else {
            return param;
        };
        let rate = (self.rate)(&self.path);
        param.map(|value| {
            let shape = value.shape();
            let flat = value.inner().reshape([shape.num_elements()]);
            let new = self
                .optimizer
                .update(path, flat, gradient, rate)
                .reshape(shape);
            Tensor::from_inner(new).require_grad()
        })
    }
}
