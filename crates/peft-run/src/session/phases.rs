//! What a run does before it trains its own adapters.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
};
use peft_core::{
    HostTensor, HostTensorExt, Method, NameMap, ParamPath, PhaseLength, PhaseSpec, SiteKind,
    WarmUpChoice, Warmed, kernels::decoded, sites,
};
use peft_data::Cursor;
use peft_format::AdapterConfig;
use peft_models::Model;
use peft_train::{
    HostTensors, Schedule, Trainer, adapter_parameters, restore_parameters, trained_modules,
    trained_parameters,
};

use super::{Session, adapt::Choice, guards, length::steps_of, probe::Probe};
use crate::{RunConfig, RunError, checkpoint::PhaseState, event::Event, release_freed_memory};

/// Batches whose gradients a method looks at before its adapters are made.
pub fn probe_batches(phases: &[PhaseSpec]) -> usize {
    let of = |phase: &PhaseSpec| match phase {
        PhaseSpec::Probe { batches } => *batches,
        _ => 0,
    };
    phases.iter().map(of).max().unwrap_or(0)
}

/// The first phase in which anything is trained before the run's own adapters are.
pub fn first_warm_up(phases: &[PhaseSpec]) -> Option<usize> {
    let is = |phase: &PhaseSpec| matches!(phase, PhaseSpec::WarmUp { .. });
    phases.iter().position(is)
}

/// Refuse phases that make no run.
pub fn expect_sound(method: &dyn Method, phases: &[PhaseSpec]) -> Result<(), RunError> {
    let is_train = |phase: &PhaseSpec| matches!(phase, PhaseSpec::Train);
    let mut warmed = false;
    let mut problem = match phases.last() {
        Some(PhaseSpec::Train) if phases.iter().filter(|one| is_train(one)).count() == 1 => None,
        _ => Some("a run trains the method's own adapters once, at its end"),
    };
    for phase in phases {
        match phase {
            PhaseSpec::WarmUp { length, .. } => {
                let nothing = match length {
                    PhaseLength::Steps(steps) => *steps == 0,
                    PhaseLength::Epochs(epochs) => !epochs.is_finite() || *epochs <= 0.0,
                };
                if nothing {
                    problem = Some("a warm-up of no length");
                }
                warmed = true;
            }
            PhaseSpec::Choose | PhaseSpec::Reset if !warmed => {
                problem = Some("without a warm-up there is nothing to choose by or to reset");
            }
            _ => {}
        }
    }
    match problem {
        None => Ok(()),
        Some(problem) => Err(RunError::setting(
            format!("the phases of {}", method.name()),
            problem,
            "correct Method::phases",
        )),
    }
}

/// The phases before the last of a run that has some, and what they need.
pub struct Before {
    /// The base, without any adapter.
    pub model: Model,
    pub choice: Choice,
    /// What the modules trained in full hold after the phases so far.
    pub carried: HostTensors,
}

/// What is trained in a phase.
pub struct Stage {
    pub model: Model,
    pub method: Box<dyn Method>,
    pub adapter_config: AdapterConfig,
    pub trainer: Trainer,
    /// Optimiser steps of the phase.
    pub steps: u64,
    /// Values trained in adapters.
    pub parameters: usize,
}

impl Before {
    /// What is trained in the warm-up that is phase `index` of the run.
    pub fn warm_up(
        &self,
        index: usize,
        names: &NameMap,
        probe: Probe,
        rate: f64,
    ) -> Result<Stage, RunError> {
        let spec = self.choice.method.phases().into_iter().nth(index);
        let Some(PhaseSpec::WarmUp { method, length }) = spec else {
            return Err(RunError::setting(
                format!("the phases of {}", self.choice.method.name()),
                "they are not those that the run was begun with",
                "start the run afresh",
            ));
        };
        let model = self.model.clone();
        let (model, adapter_config, report) =
            self.choice.adapt(method.as_ref(), model, names, probe)?;
        let config = probe.config;
        let steps = steps_of(length, config, probe.fit.len());
        let schedule = Schedule::new(config.schedule, config.warmup, steps);
        let mut settings = config.trainer(rate);
        settings.seed = seed_of_warm_up(config);
        Ok(Stage {
            model: carry(model, &self.carried)?,
            method,
            adapter_config,
            trainer: Trainer::new(settings, schedule),
            steps,
            parameters: report.adapter_parameters,
        })
    }

    /// The run's own adapters, by what was chosen for them.
    pub fn train(
        self,
        chosen: &WarmUpChoice,
        names: &NameMap,
        probe: Probe,
        rate: f64,
        steps: u64,
    ) -> Result<Stage, RunError> {
        let Self {
            model,
            choice,
            carried,
        } = self;
        let chosen = choice.method.with_choice(chosen)?;
        let method = chosen.as_deref().unwrap_or(choice.method.as_ref());
        let (model, mut adapter_config, report) = choice.adapt(method, model, names, probe)?;
        for (key, value) in method.config_of_run(steps)? {
            adapter_config.set(&key, value)?;
        }
        let config = probe.config;
        let schedule = Schedule::new(config.schedule, config.warmup, steps);
        Ok(Stage {
            model: carry(model, &carried)?,
            method: chosen.unwrap_or(choice.method),
            adapter_config,
            trainer: Trainer::new(config.trainer(rate), schedule),
            steps,
            parameters: report.adapter_parameters,
        })
    }
}

/// Another seed for data and dropout than that of the training that follows.
fn seed_of_warm_up(config: &RunConfig) -> u64 {
    !config.seed
}

/// Give modules trained in full what they held after an earlier phase.
fn carry(model: Model, carried: &HostTensors) -> Result<Model, RunError> {
    if carried.is_empty() {
        return Ok(model);
    }
    let mut all = trained_parameters(&model)?;
    for (path, tensor) in carried {
        if let Some(own) = all.get_mut(path) {
            *own = tensor.clone();
        }
    }
    Ok(restore_parameters(model, &all)?)
}

impl Session<'_> {
    /// Go through the phases before the last, from where the run stands.
    pub fn phases(&mut self) -> Result<(), RunError> {
        while self.before.is_some() {
            let index = self.state.phase.as_ref().map_or(0, |phase| phase.index);
            let Some(before) = &mut self.before else {
                break;
            };
            let phases = before.choice.method.phases();
            match phases.get(index) {
                Some(PhaseSpec::WarmUp { .. }) => self.warm_up()?,
                Some(PhaseSpec::Choose) => {
                    let memory = self.trainer.remembered()?;
                    let warmed = warmed(&self.model, &before.model, &self.names, &memory)?;
                    self.chosen = before.choice.method.choose(&warmed)?;
                }
                Some(PhaseSpec::Reset) => before.carried.clear(),
                Some(PhaseSpec::Train) => {
                    self.begin_training()?;
                    break;
                }
                // What it finds is used where the adapters are made.
                _ => {}
            }
            self.next_phase(index + 1)?;
        }
        Ok(())
    }

    /// Enter a phase.
    fn next_phase(&mut self, index: usize) -> Result<(), RunError> {
        let Some(before) = &self.before else {
            return Ok(());
        };
        let name = before.choice.method.phases();
        let name = name.get(index).map_or("train", PhaseSpec::name);
        self.state.phase = Some(PhaseState::new(index, name));
        if name == "warm-up" {
            let probe = Probe {
                config: &self.config,
                objective: self.objective.as_ref(),
                fit: &self.fit,
                device: &self.device,
            };
            let stage = before.warm_up(index, &self.names, probe, self.rate)?;
            self.take_stage(stage);
            self.save_checkpoint()?;
        }
        Ok(())
    }

    fn take_stage(&mut self, stage: Stage) {
        self.model = stage.model;
        self.method = stage.method;
        self.adapter_config = stage.adapter_config;
        self.trainer = stage.trainer;
        if let Some(phase) = &mut self.state.phase {
            phase.steps = stage.steps;
        }
    }

    /// Take the steps of a warm-up that are left.
    fn warm_up(&mut self) -> Result<(), RunError> {
        let seed = seed_of_warm_up(&self.config);
        while let Some(phase) = self.state.phase.clone().filter(|one| one.step < one.steps) {
            let Cursor { epoch, batch } = phase.cursor;
            let plan = self.fit.plan(self.config.batch_size, seed, epoch)?;
            let batches: Vec<&[usize]> = plan.iter_from(batch).collect();
            for parts in batches.chunks(self.config.grad_accumulation) {
                if self.recorder.progress.should_stop() {
                    return Err(self.interrupt());
                }
                let done = self.optimise(parts, epoch);
                let (report, _) = done.map_err(|error| self.named(self.traced(error, parts)))?;
                self.recorder.event(&Event::WarmUp {
                    step: report.step,
                    steps: phase.steps,
                    loss: report.loss,
                    learning_rate: report.learning_rate,
                    gradient_norm: report.gradient_norm,
                })?;
                let Some(now) = &mut self.state.phase else {
                    break;
                };
                now.step += 1;
                now.cursor.batch += parts.len();
                let done = now.step == now.steps;
                // What follows is done in one go, so nothing of the warm-up need be done twice.
                match done {
                    true => self.save_checkpoint()?,
                    false => self.save_if_due(report.step)?,
                }
                if done {
                    break;
                }
            }
            if let Some(now) = &mut self.state.phase {
                now.cursor = Cursor {
                    epoch: epoch + 1,
                    batch: 0,
                };
            }
        }
        if let Some(before) = &mut self.before {
            before.carried = trained_modules(&self.model)?;
        }
        Ok(())
    }

    /// Leave all phases before the last behind.
    fn begin_training(&mut self) -> Result<(), RunError> {
        let Some(before) = self.before.take() else {
            return Ok(());
        };
        let probe = Probe {
            config: &self.config,
            objective: self.objective.as_ref(),
            fit: &self.fit,
            device: &self.device,
        };
        let steps = self.state.total_steps;
        let stage = before.train(&self.chosen, &self.names, probe, self.rate, steps)?;
        self.take_stage(stage);
        // What was trained in the phases before, and the gradients looked at.
        release_freed_memory();
        self.state.initial = guards::digests(&self.model)?;
        self.save_checkpoint()
    }
}

/// What the adapters of a model change of its base, and what their method remembers.
fn warmed(
    model: &Model,
    base: &Model,
    names: &NameMap,
    memory: &HostTensors,
) -> Result<Warmed, RunError> {
    let modules: Vec<String> = adapter_parameters(model).into_keys().collect();
    let after = weights(&model.clone().materialize(), &modules);
    let mut before = weights(base, &modules);
    let parameters: BTreeSet<String> = (sites(base).into_iter())
        .filter(|site| site.kind == SiteKind::Parameter)
        .map(|site| site.path)
        .collect();
    let mut warmed = Warmed::default();
    for (module, (after, shape)) in after {
        let name = names.to_hf(&module);
        if let Some((before, _)) = before.remove(&module) {
            let host = |values: Tensor<1>| -> Result<HostTensor, RunError> {
                let values = HostTensor::from_data(&name, values.into_data())?;
                let shape = shape.clone();
                Ok(HostTensor { shape, ..values })
            };
            let change = host(after - before.clone())?;
            if parameters.contains(&module) {
                warmed.before.insert(name.clone(), host(before)?);
            }
            warmed.changes.insert(name.clone(), change);
        }
    }
    for (path, tensor) in memory {
        let (module, name) = path.rsplit_once('.').unwrap_or(("", path));
        let fields = warmed.memory.entry(names.to_hf(module)).or_default();
        fields.insert(name.to_owned(), tensor.clone());
    }
    Ok(warmed)
}

/// Flat values and shapes of weights, by the paths of their modules.
fn weights(model: &Model, modules: &[String]) -> BTreeMap<String, (Tensor<1>, Vec<usize>)> {
    struct Visitor<'a> {
        path: ParamPath,
        modules: &'a [String],
        found: BTreeMap<String, (Tensor<1>, Vec<usize>)>,
    }
    impl ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.text();
            let of = |module: &&String| {
                path == **module || path.strip_suffix(".weight") == Some(module.as_str())
            };
            if let Some(module) = self.modules.iter().find(of) {
                let value = decoded(param.base()).inner();
                let shape = value.dims();
                let flat = value.reshape([shape.iter().product::<usize>()]);
                self.found.insert(module.clone(), (flat, shape.to_vec()));
            }
        }
    }
    let mut visitor = Visitor {
        path: ParamPath::default(),
        modules,
        found: BTreeMap::new(),
    };
    model.visit(&mut visitor);
    visitor.found
}
