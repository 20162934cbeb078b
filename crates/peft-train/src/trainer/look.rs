use burn::module::Module;
use peft_core::{AfterStep, Methods, Owner, WeightGradients};

use super::{Trainer, between::Owners};
use crate::{GradientSet, TrainError};

/// What a method wants to look at.
#[derive(Debug)]
pub(super) struct Due {
    /// The name of the method, as the adapters tell it.
    method: Option<&'static str>,
    batches: usize,
}

impl Trainer {
    /// Show the methods of the model's only adapter the gradients of the adapted weights, where they want to
    /// [look](peft_core::Method::look) at them before the next step; else nothing is done.
    ///
    /// `gradients(model, batches)` gives those of the loss to the effective weights, over so many batches,
    /// by the Burn paths of their modules.
    ///
    /// # Errors
    /// Those of `gradients` and of [`Method::look`](peft_core::Method::look).
    pub fn look<M: Module>(
        &mut self,
        mut model: M,
        methods: &(impl Methods + ?Sized),
        mut gradients: impl FnMut(&M, usize) -> Result<WeightGradients, TrainError>,
    ) -> Result<M, TrainError> {
        if self.due.is_empty() {
            return Ok(model);
        }
        let owners = self.owners.take().unwrap_or_else(|| Owners::of(&model));
        for due in std::mem::take(&mut self.due) {
            let owner = Owner {
                adapter: None,
                method: due.method,
            };
            let Some(method) = methods.of(owner) else {
                continue;
            };
            let gradients = gradients(&model, due.batches)?;
            let rate = self.config.learning_rate * methods.rate(owner);
            let mut now = AfterStep {
                step: self.step,
                own_steps: self.step,
                total: self.schedule.total(),
                learning_rate: rate * self.schedule.factor(self.step - 1),
                optimizer: self.config.optimizer,
                adapters: self.adapters(&model, owner, &owners, &GradientSet::default(), 1.0),
            };
            method.look(&mut now, &gradients)?;
            model = self.take_over(model, None, now.adapters);
        }
        self.owners = Some(owners);
        Ok(model)
    }

    /// Whose gradients are to be [shown](Self::look) before the next step.
    pub(super) fn looks_due(
        &self,
        methods: &(impl Methods + ?Sized),
        owners: &Owners,
        total_steps: u64,
    ) -> Result<Vec<Due>, TrainError> {
        let mut all = Vec::new();
        for owner in owners.iter() {
            let method = methods.of(owner);
            let batches = method.map_or(0, |one| one.looks_after(self.step, total_steps));
            match owner.adapter {
                _ if batches == 0 => {}
                None => all.push(Due {
                    method: owner.method,
                    batches,
                }),
                // A gradient of a weight is of the rows of all its adapters.
                Some(name) => {
                    return Err(TrainError::setting(
                        format!("adapter `{name}`"),
                        "its method looks at the gradients of weights, which other adapters share",
                        "train it alone",
                    ));
                }
            }
        }
        Ok(all)
    }
}
