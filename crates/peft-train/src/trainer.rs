//! One optimiser step, for any Burn model with adapters.

mod between;
mod look;
mod state;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use burn::{Tensor, module::Module};
use peft_core::{
    AdapterContext, AfterStep, Fields, Methods, Owner, ParamPath, Values, learning_rate_factors,
    mean_penalty,
};
use serde::{Deserialize, Serialize};

use crate::{
    AdamW, AdamWConfig, BadTensor, GradientSet, ParameterStep, Schedule, TrainError, gradients,
    gradients::owner,
    parameters::{adapter_parameters, first_not_finite, lone_biases},
    tied::Ties,
};

use between::Owners;
use look::Due;
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
    /// Biases that are trained though the rest of their modules is not.
    biases: Option<BTreeSet<String>>,
    /// Whose the adapters' fields are; known from the first step on.
    owners: Option<Owners>,
    /// Which parameters adapters share; known from the first step on.
    ties: Option<Ties>,
    /// Whether adapters penalise their own parameters; known once none did.
    penalised: Option<bool>,
    /// What methods want to look at before the next step.
    due: Vec<Due>,
    /// What the method remembers of each adapter, by the Burn path of its module.
    memory: BTreeMap<String, Fields<Values>>,
    /// Of adapters with names, the steps in which any row chose them.
    chosen: BTreeMap<String, u64>,
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
            biases: None,
            owners: None,
            ties: None,
            penalised: None,
            due: Vec::new(),
            memory: BTreeMap::new(),
            chosen: BTreeMap::new(),
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
    /// `methods` is the adapters' [`Method`](peft_core::Method), a [`MethodList`](peft_core::MethodList)
    /// where several made parts of one adapter, or [`NamedMethods`](peft_core::NamedMethods) where adapters
    /// with names are trained together. Each adapter with a name is then clipped by itself, its head included, so that it takes the step that it
    /// would take alone; one that no row chooses stays as it is.
    ///
    /// `loss(model, part, context)` gives the mean loss of a part and its share of the batch; the
    /// shares of a batch sum to 1. Every part has its own dropout.
    ///
    /// # Errors
    /// [`TrainError::NoAutodiff`] if the model is on a device without autodiff; those of `loss`; if the loss or a gradient is not finite; if on the first step every gradient
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
            if !scaled.device().is_autodiff() {
                return Err(TrainError::NoAutodiff);
            }
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
        if !self.due.is_empty() {
            return Err(TrainError::LookDue { step: self.step });
        }
        let factor = self.schedule.factor(self.step);
        let learning_rate = self.config.learning_rate * factor;
        let mut total = GradientSet::default();
        let mut mean_loss = 0.0;
        for part in 0..parts {
            let context = self.context(part);
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
        let owners = self.owners.take().unwrap_or_else(|| Owners::of(&model));
        self.expect_methods(methods, &owners, &total)?;
        self.step += 1;
        let named = owners.iter().any(|owner| owner.adapter.is_some());
        let scale = match named {
            false => self.shrink(norm),
            true => {
                let limited = |norms: &[f64]| self.shrink(euclidean(norms));
                total.rescale_by_owner(limited);
                1.0
            }
        };
        let factors = self
            .factors
            .get_or_insert_with(|| learning_rate_factors(&model));
        let biases = self.biases.get_or_insert_with(|| lone_biases(&model));
        let (done, total_steps) = (self.step - 1, self.schedule.total());
        let rate = |path: &ParamPath| match path.adapter_place() {
            Some(place) => {
                let text = path.text();
                let owner = Owner {
                    adapter: place.adapter.as_deref(),
                    method: owners.method(&text),
                };
                let own = factors.get(&text).copied().unwrap_or(1.0);
                let method = methods.of(owner)?;
                match method.learning_rate_factor(&place.field, done, total_steps) {
                    0.0 => None,
                    turn => Some(learning_rate * methods.rate(owner) * own * turn),
                }
            }
            // Biases that are trained beside adapters are of their kind, not of a head's.
            None if biases.contains(&path.text()) => Some(learning_rate),
            None => Some(self.config.head_learning_rate * factor),
        };
        let how = |path: &ParamPath| {
            let decays = path.decays();
            rate(path).map(|rate| ParameterStep { rate, decays })
        };
        let mut model = self.optimizer.step(model, &total, scale, &how);
        let names: BTreeSet<&str> = owners.iter().filter_map(|owner| owner.adapter).collect();
        for name in names {
            if total.has_owner(Some(name)) {
                *self.chosen.entry(name.to_owned()).or_default() += 1;
            }
        }
        for owner in owners.iter() {
            let Some(method) = methods.of(owner) else {
                continue;
            };
            // Of an adapter that no row has chosen there is nothing to be seen.
            let seen = owner.adapter.is_none() || total.has_owner(owner.adapter);
            if !seen || !method.acts_after(self.step, total_steps) {
                continue;
            }
            let mut now = AfterStep {
                step: self.step,
                own_steps: (owner.adapter).map_or(self.step, |name| self.chosen[name]),
                total: total_steps,
                learning_rate: learning_rate * methods.rate(owner),
                optimizer: self.config.optimizer,
                adapters: self.adapters(&model, owner, &owners, &total, scale),
            };
            method.after_step(&mut now)?;
            model = self.take_over(model, owner.adapter, now.adapters);
        }
        model = ties.spread(model);
        self.ties = Some(ties);
        self.due = self.looks_due(methods, &owners, total_steps)?;
        self.owners = Some(owners);
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
        owners: &Owners,
        total: &GradientSet,
    ) -> Result<(), TrainError> {
        let trained = |owner: &Owner| owner.adapter.is_none() || total.has_owner(owner.adapter);
        let unknown = |owner: &Owner| methods.of(*owner).is_none();
        let Some(owner) = owners.iter().find(|one| trained(one) && unknown(one)) else {
            return Ok(());
        };
        let (what, fix) = match (owner.adapter, owner.method) {
            (Some(name), _) => (format!("adapter `{name}`"), "give one in NamedMethods"),
            (None, method) => (
                format!("the adapter of method `{}`", method.unwrap_or("?")),
                "give it in a MethodList",
            ),
        };
        let problem = "it is to be trained, but no method is given for it";
        Err(TrainError::setting(what, problem, fix))
    }

    /// What the parts of the next step compute in: its dropout, most of all.
    pub fn context(&self, part: usize) -> AdapterContext {
        AdapterContext::training(self.config.seed, self.step).in_part(part as u64)
    }

    /// Add the gradients of the penalties that adapters put on their own parameters; their mean. An adapter that
    /// no row chose stays as it is.
    ///
    /// A backward pass of its own, so that nothing of it lives through those of the batch.
    fn penalise<M: Module>(&mut self, model: &M, total: &mut GradientSet) -> f64 {
        if self.penalised == Some(false) {
            return 0.0;
        }
        let all = Cell::new(true);
        let penalty = mean_penalty(model, |name| {
            let chosen = total.has_owner(Some(name));
            all.set(all.get() && chosen);
            chosen
        });
        let Some(penalty) = penalty else {
            // What the others have is not known.
            self.penalised = all.get().then_some(false);
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
