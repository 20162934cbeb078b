//! One optimiser step, for any Burn model with adapters.

use burn::{Tensor, module::Module};
use peft_core::{AdapterContext, Method, ParamPath};
use serde::{Deserialize, Serialize};

use crate::{AdamW, AdamWConfig, GradientSet, Schedule, TrainError, gradients};

/// Settings of a [`Trainer`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainerConfig {
    /// Learning rate of adapters.
    pub learning_rate: f64,
    /// Learning rate of all else that is trained: the head.
    pub head_learning_rate: f64,
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    pub clip_norm: Option<f64>,
    /// The optimiser.
    pub optimizer: AdamWConfig,
    /// Seed of everything random.
    pub seed: u64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Mean loss of the batch before the step.
    pub loss: f64,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
    /// Learning rate of adapters in this step.
    pub learning_rate: f64,
}

/// Takes optimiser steps: forward, backward, clipping, schedule, AdamW.
///
/// Works on any Burn module whose trained parameters are those that
/// [`attach`](peft_core::attach()) left trainable.
#[derive(Debug)]
pub struct Trainer {
    config: TrainerConfig,
    schedule: Schedule,
    optimizer: AdamW,
    step: u64,
}

impl Trainer {
    /// A trainer at step 0.
    pub fn new(config: TrainerConfig, schedule: Schedule) -> Self {
        Self {
            config,
            schedule,
            optimizer: AdamW::new(config.optimizer),
            step: 0,
        }
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Take a step on a batch that comes in `parts`, whose loss Burn differentiates.
    ///
    /// `loss(model, part, context)` gives the mean loss of a part and its share of the batch; the
    /// shares of a batch sum to 1. Every part has its own dropout.
    ///
    /// # Errors
    /// Those of `loss`; if the loss or a gradient is not finite; if on the first step every gradient
    /// is zero.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        method: &dyn Method,
        parts: usize,
        mut loss: impl FnMut(&M, usize, &AdapterContext) -> Result<(Tensor<1>, f64), TrainError>,
    ) -> Result<(M, StepReport), TrainError> {
        self.step_with(model, method, parts, |model, part, context| {
            let (value, share) = loss(model, part, context)?;
            let scaled = if parts == 1 {
                value
            } else {
                value.mul_scalar(share)
            };
            let mut grads = scaled.backward();
            Ok((scaled, gradients(model, &mut grads)))
        })
    }

    /// Take a step on a batch that comes in `parts`, with gradients from elsewhere.
    ///
    /// `differentiate(model, part, context)` gives a part's share of the mean loss, and its gradients.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    pub fn step_with<M: Module>(
        &mut self,
        model: M,
        method: &dyn Method,
        parts: usize,
        mut differentiate: impl FnMut(
            &M,
            usize,
            &AdapterContext,
        ) -> Result<(Tensor<1>, GradientSet), TrainError>,
    ) -> Result<(M, StepReport), TrainError> {
        let factor = self.schedule.factor(self.step);
        let learning_rate = self.config.learning_rate * factor;
        let mut total = GradientSet::default();
        let mut mean_loss = 0.0;
        for part in 0..parts {
            let place = self.step * parts as u64 + part as u64;
            let context = AdapterContext::training(self.config.seed, place);
            let (value, gradients) = differentiate(&model, part, &context)?;
            total.add(gradients);
            mean_loss += value.into_scalar::<f64>();
        }
        self.step += 1;
        let norm = self.check(&total, mean_loss, learning_rate)?;
        // PyTorch's ε, so that runs can be compared number by number.
        let shrink = |limit: f64| (limit / (norm + 1e-6)).min(1.0);
        let scale = self.config.clip_norm.map_or(1.0, shrink);
        let rate = |path: &ParamPath| match path.adapter_field() {
            Some((_, field)) => learning_rate * method.learning_rate_factor(&field),
            None => self.config.head_learning_rate * factor,
        };
        let model = self.optimizer.step(model, &total, scale, &rate);
        let report = StepReport {
            step: self.step,
            loss: mean_loss,
            gradient_norm: norm,
            learning_rate,
        };
        Ok((model, report))
    }

    /// The norm of all gradients, if they make sense.
    fn check(&self, total: &GradientSet, loss: f64, learning_rate: f64) -> Result<f64, TrainError> {
        let broken = |what: String| TrainError::NotFinite {
            step: self.step,
            what,
            learning_rate,
        };
        if !loss.is_finite() {
            return Err(broken("the loss".into()));
        }
        let norms = total.norms();
        if let Some((path, _)) = total
            .paths()
            .zip(&norms)
            .find(|(_, norm)| !norm.is_finite())
        {
            return Err(broken(format!("the gradient of `{path}`")));
        }
        if self.step == 1 && norms.iter().all(|norm| *norm == 0.0) {
            let first = total.paths().next().unwrap_or("nothing").to_owned();
            return Err(TrainError::NoGradient { first });
        }
        Ok(norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt())
    }
}
