use burn::module::Module;
use peft_core::{AfterStep, Method, Methods, WeightGradients};

use super::Trainer;
use crate::{GradientSet, TrainError};

impl Trainer {
    /// Show the method of the model's only adapter the gradients of the adapted weights, where it wants to
    /// [look](Method::look) at them before the next step; else nothing is done.
    ///
    /// `gradients(model, batches)` gives those of the loss to the effective weights, over so many batches,
    /// by the Burn paths of their modules.
    ///
    /// # Errors
    /// Those of `gradients` and of [`Method::look`].
    pub fn look<M: Module>(
        &mut self,
        model: M,
        method: &dyn Method,
        gradients: impl FnOnce(&M, usize) -> Result<WeightGradients, TrainError>,
    ) -> Result<M, TrainError> {
        if self.due == 0 {
            return Ok(model);
        }
        let gradients = gradients(&model, self.due)?;
        let mut now = AfterStep {
            step: self.step,
            total: self.schedule.total(),
            learning_rate: self.config.learning_rate * self.schedule.factor(self.step - 1),
            optimizer: self.config.optimizer,
            adapters: self.adapters(&model, None, &GradientSet::default(), 1.0),
        };
        method.look(&mut now, &gradients)?;
        self.due = 0;
        Ok(self.take_over(model, None, now.adapters))
    }

    /// Batches whose gradients are to be [shown](Self::look) before the next step.
    pub(super) fn looks_due(
        &self,
        methods: &(impl Methods + ?Sized),
        names: &[String],
        total_steps: u64,
    ) -> Result<usize, TrainError> {
        let due = |name| {
            methods
                .of(name)
                .map_or(0, |one| one.looks_after(self.step, total_steps))
        };
        match names.iter().find(|name| due(Some(name)) > 0) {
            // A gradient of a weight is of the rows of all its adapters.
            Some(name) => Err(TrainError::setting(
                format!("adapter `{name}`"),
                "its method looks at the gradients of weights, which other adapters share",
                "train it alone",
            )),
            None if names.is_empty() => Ok(due(None)),
            None => Ok(0),
        }
    }
}
