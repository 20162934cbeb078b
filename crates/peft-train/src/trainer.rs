//! One optimiser step, for any Burn model with adapters.

mod between;
mod look;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use burn::{Tensor, module::Module};
use peft_core::{
    AdapterContext, AdapterRoster, AfterStep, Fields, Methods, ParamPath, Values,
    learning_rate_factors, mean_penalty,
};
use serde::{Deserialize, Serialize};

use crate::{
    AdamW, AdamWConfig, BadTensor, GradientSet, Schedule, TrainError, gradients,
    gradients::owner,
    parameters::{adapter_parameters, first_not_finite},
    tied::Ties,
};

pub use state::TrainerState;

/// After this many steps every adapter must have seen a gradient: factors that start at zero hold
/// others back for a step or two, never all of a module.
const SILENT_STEPS: u64 = 10;

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
    /// What adapters put on the rates of their fields; known from the first step on.
    factors: Option<BTreeMap<String, f64>>,
    /// The names of adapters, where they have names; known from the first step on.
    named: Option<Vec<String>>,
    /// Which parameters adapters share; known from the first step on.
    ties: Option<Ties>,
    /// Whether adapters penalise their own parameters; known from the first step on.
    penalised: Option<bool>,
    /// Batches whose gradients the method wants to look at before the next step.
    due: usize,
    /// What the method remembers of each adapter, by the Burn path of its module.
    memory: BTreeMap<String, Fields<Values>>,
}

impl Trainer {
    /// A trainer at step 0.
    pub fn new(config: TrainerConfig, schedule: Schedule) -> Self {
        Self {
            config,
            schedule,
            optimizer: AdamW::new(config.optimizer),
            step: 0,
            factors: None,
            named: None,
            ties: None,
            penalised: None,
            due: 0,
            memory: BTreeMap::new(),
        }
    }

    /// The settings.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Bytes that the steps so far have left to remember: the optimiser's moments and the method's
    /// memory.
    pub fn state_bytes(&self) -> usize {
        let memory = self.memory.values().flat_map(Fields::values);
        self.optimizer.state_bytes() + memory.map(Values::bytes).sum::<usize>()
    }

    /// Take a step on a batch that comes in `parts`, whose loss Burn differentiates.
    ///
    /// `methods` is the adapters' [`Method`](peft_core::Method), or
    /// [`NamedMethods`](peft_core::NamedMethods) where adapters of several are trained together. Each
    /// adapter with a name is then clipped by itself, its head included, so that it takes the step that it
    /// would take alone; one that no row chooses stays as it is.
    ///
    /// `loss(model, part, context)` gives the mean loss of a part and its share of the batch; the
    /// shares of a batch sum to 1. Every part has its own dropout.
    ///
    /// # Errors
    /// Those of `loss`; if the loss or a gradient is not finite; if on the first step every gradient
    /// is zero; if within the first ten an adapter has had none, other than one with a name that no row has
    /// chosen; if there is no method for an adapter that has a gradient; those of
    /// [`Method::after_step`](peft_core::Method::after_step). The trainer stands where it stood, except in the last two cases.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        methods: &(impl Methods + ?Sized),
        parts: usize,
        mut loss: impl FnMut(&M, usize, &AdapterContext) -> Result<(Tensor<1>, f64), TrainError>,
    ) -> Result<(M, StepReport), TrainError> {
        self.step_with(model, methods, parts, |model, part, context| {
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
        methods: &(impl Methods + ?Sized),
        parts: usize,
        mut differentiate: impl FnMut(
            &M,
            usize,
            &AdapterContext,
        ) -> Result<(Tensor<1>, GradientSet), TrainError>,
    ) -> Result<(M, StepReport), TrainError> {
        if self.due > 0 {
            return Err(TrainError::LookDue { step: self.step });
        }
        let factor = self.schedule.factor(self.step);
        let learning_rate = self.config.learning_rate * factor;
        let mut total = GradientSet::default();
        let mut mean_loss = 0.0;
        for part in 0..parts {
            let context = self.context(part, parts);
            let (value, gradients) = differentiate(&model, part, &context)?;
            total.add(gradients);
            mean_loss += value.into_scalar::<f64>();
        }
        if self.step == 0 && mean_loss.is_finite() {
            expect_any(&total)?;
        }
        mean_loss += self.penalise(&model, &mut total);
        let ties = self.ties.take().unwrap_or_else(|| Ties::of(&model));
        ties.gather(&mut total);
        let norm = self.check(&model, &total, mean_loss, learning_rate)?;
        let fresh = || AdapterRoster::of(&model).names().to_vec();
        let named = self.named.take().unwrap_or_else(fresh);
        self.expect_methods(methods, &named, &total)?;
        self.step += 1;
        let scale = match named.is_empty() {
            true => self.shrink(norm),
            false => {
                let limited = |norms: &[f64]| self.shrink(euclidean(norms));
                total.rescale_by_owner(limited);
                1.0
            }
        };
        let factors = self
            .factors
            .get_or_insert_with(|| learning_rate_factors(&model));
        let (done, total_steps) = (self.step - 1, self.schedule.total());
        let rate = |path: &ParamPath| match path.adapter_place() {
            Some(place) => {
                let name = place.adapter.as_deref();
                let own = factors.get(&path.text()).copied().unwrap_or(1.0);
                let method = methods.of(name)?;
                match method.learning_rate_factor(&place.field, done, total_steps) {
                    0.0 => None,
                    turn => Some(learning_rate * methods.rate(name) * own * turn),
                }
            }
            None => Some(self.config.head_learning_rate * factor),
        };
        let mut model = self.optimizer.step(model, &total, scale, &rate);
        let adapters: Vec<Option<&str>> = match named.is_empty() {
            true => vec![None],
            false => named.iter().map(|name| Some(name.as_str())).collect(),
        };
        for name in adapters {
            let Some(method) = methods.of(name) else {
                continue;
            };
            // Of an adapter that no row has chosen there is nothing to be seen.
            let seen = name.is_none() || total.has_owner(name);
            if !seen || !method.acts_after(self.step, total_steps) {
                continue;
            }
            let mut now = AfterStep {
                step: self.step,
                total: total_steps,
                learning_rate: learning_rate * methods.rate(name),
                optimizer: self.config.optimizer,
                adapters: self.adapters(&model, name, &total, scale),
            };
            method.after_step(&mut now)?;
            model = self.take_over(model, name, now.adapters);
        }
        model = ties.spread(model);
        self.ties = Some(ties);
        self.due = self.looks_due(methods, &named, total_steps)?;
        self.named = Some(named);
        if self.step == SILENT_STEPS.min(self.schedule.total()) {
            self.expect_gradients(&model)?;
        }
        let report = StepReport {
            step: self.step,
            loss: mean_loss,
            gradient_norm: norm,
            learning_rate,
        };
        Ok((model, report))
    }

    /// What clipping leaves of gradients of a norm. PyTorch's ε, so that runs can be compared number by
    /// number.
    fn shrink(&self, norm: f64) -> f64 {
        let limited = |limit: f64| (limit / (norm + 1e-6)).min(1.0);
        self.config.clip_norm.map_or(1.0, limited)
    }

    /// Refuse to train adapters whose method nobody tells.
    fn expect_methods(
        &self,
        methods: &(impl Methods + ?Sized),
        names: &[String],
        total: &GradientSet,
    ) -> Result<(), TrainError> {
        let unknown = |name: &&String| methods.of(Some(name)).is_none();
        let mut unknown = names.iter().filter(unknown);
        match unknown.find(|name| total.has_owner(Some(name))) {
            None => Ok(()),
            Some(name) => Err(TrainError::setting(
                format!("adapter `{name}`"),
                "it is to be trained, but no method is given for it",
                "give one in NamedMethods",
            )),
        }
    }

    /// What the parts of the next step compute in: its dropout, most of all.
    pub fn context(&self, part: usize, parts: usize) -> AdapterContext {
        let place = self.step * parts as u64 + part as u64;
        AdapterContext::training(self.config.seed, place)
    }

    /// Add the gradients of the penalties that adapters put on their own parameters; their mean.
    ///
    /// A backward pass of its own, so that nothing of it lives through those of the batch.
    fn penalise<M: Module>(&mut self, model: &M, total: &mut GradientSet) -> f64 {
        if self.penalised == Some(false) {
            return 0.0;
        }
        let penalty = mean_penalty(model);
        self.penalised = Some(penalty.is_some());
        let Some(penalty) = penalty else {
            return 0.0;
        };
        total.add(gradients(model, &mut penalty.backward()));
        penalty.into_scalar::<f64>()
    }

    /// The norm of all gradients, if they make sense.
    fn check<M: Module>(
        &self,
        model: &M,
        total: &GradientSet,
        loss: f64,
        learning_rate: f64,
    ) -> Result<f64, TrainError> {
        let step = self.step + 1;
        let broken = |what: BadTensor| TrainError::NotFinite {
            step,
            what,
            learning_rate,
        };
        if !loss.is_finite() {
            let parameter = first_not_finite(model).map(BadTensor::Parameter);
            return Err(broken(parameter.unwrap_or(BadTensor::Loss)));
        }
        let norms = total.norms();
        if let Some((path, _)) = total
            .paths()
            .zip(&norms)
            .find(|(_, norm)| !norm.is_finite())
        {
            return Err(broken(BadTensor::Gradient(path.to_owned())));
        }
        Ok(euclidean(&norms))
    }

    /// The path of the parameter that is trained for the one at `path`.
    fn first<'a>(&'a self, path: &'a String) -> &'a String {
        self.ties.as_ref().map_or(path, |ties| ties.first(path))
    }

    /// Refuse adapters of which no tensor has had a gradient in any step so far.
    fn expect_gradients<M: Module>(&self, model: &M) -> Result<(), TrainError> {
        let adapters = adapter_parameters(model);
        let firsts = adapters.values().flatten().map(|path| self.first(path));
        let moved = self.optimizer.moved(firsts);
        // An adapter with a name may not have been chosen by any row so far.
        let chosen: BTreeSet<Option<&str>> = moved.iter().map(|path| owner(path)).collect();
        let modules: Vec<String> = adapters
            .iter()
            .filter(|(module, paths)| {
                let still = |path| !moved.contains(&self.first(path));
                let name = paths.first().and_then(|path| owner(path));
                let waits = name.is_some() && !chosen.contains(&name);
                paths.iter().all(still) && !self.remembers(module) && !waits
            })
            .map(|(module, _)| module.clone())
            .collect();
        if modules.is_empty() {
            return Ok(());
        }
        let step = self.step;
        Err(TrainError::SilentAdapters { step, modules })
    }
}

/// The norm of tensors together, from those of each.
fn euclidean(norms: &[f64]) -> f64 {
    norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt()
}

/// Refuse to begin where nothing that is trained has a gradient.
fn expect_any(total: &GradientSet) -> Result<(), TrainError> {
    if total.norms().iter().any(|norm| *norm != 0.0) {
        return Ok(());
    }
    let first = total.paths().next().unwrap_or("nothing").to_owned();
    Err(TrainError::NoGradient { first })
}
