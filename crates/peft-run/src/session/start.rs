//! Everything before the first step.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use peft_core::{Method, PhaseSpec, WarmUpChoice, learning_rate_factors};
use peft_format::atomic::{AtomicDir, remove_leftovers};
use peft_models::{Model, Network};
use peft_train::{HostTensors, Selector, trains_undecayed};

use super::{
    Session,
    adapt::{Choice, resolve, resolve_targets},
    guards,
    output::{Claim, Start},
    phases::{self, Before, Stage},
    probe::Probe,
    select::LAST,
};
use crate::{
    ComputeType, Computing, Event, Plan, Prepared, Progress, RunConfig, RunError, RunFolder,
    RunReport,
    checkpoint::{
        self, CHECKPOINT, CheckpointFolder, Ending, FIRST, PhaseState, Resolved, RunState, TIES,
    },
    config::{recomputed, record},
    event::Recorder,
    objective::trained_objective,
    plan::machine,
    release_freed_memory, report,
    run::head_rate,
};

/// What a run trains, or what that depends on.
#[expect(clippy::large_enum_variant, reason = "one is made a run")]
enum Made {
    /// Its adapters are made.
    Now(Stage),
    /// They are made after its first phases.
    Later(Before),
}

/// A run that is about to go, or one that has been to its end before.
pub enum Started<'a> {
    Ready(Box<Session<'a>>),
    Finished(RunReport),
}

impl<'a> Session<'a> {
    /// Start a run on what is prepared for it, in an output folder that was [claimed](Claim).
    pub fn start(
        config: &RunConfig,
        own: Option<Box<dyn Method>>,
        prepared: Prepared,
        claim: Claim,
        progress: &'a mut dyn Progress,
    ) -> Result<Started<'a>, RunError> {
        let computing = Computing::begin(config.compute);
        // Other products may depend on how many rows there are.
        let plain_products = config.compute == ComputeType::F32;
        let Claim { log, start } = claim;
        let Prepared {
            folder,
            base,
            data,
            model,
            created,
            device,
            choice,
            kind,
            reason,
            max_length,
            overruled,
            tokenizer,
            mut inputs,
            features,
            ..
        } = prepared;
        inputs.extend(checkpoint::adapter_inputs(config)?);
        for notice in data.notices(config) {
            progress.notice(&notice);
        }
        let mut resolved = match &own {
            None => resolve(config, &folder, peft_methods::by_name(&config.method)?),
            Some(method) => {
                let mut config = config.clone();
                resolve_targets(&mut config, &folder, method.as_ref());
                config
            }
        };
        let rate = match (config.learning_rate, &own) {
            (Some(rate), _) => rate,
            (None, None) => peft_methods::by_name(&config.method)?.learning_rate,
            (None, Some(method)) => {
                return Err(RunError::setting(
                    "`learning_rate`",
                    format!(
                        "{} is none of the known methods, which have one by default",
                        method.name()
                    ),
                    "give it",
                ));
            }
        };
        let rate_is_given = config.learning_rate.is_some();
        resolved.device = choice;
        resolved.max_length = max_length;
        resolved.learning_rate = Some(rate);
        let encoder = matches!(model, Model::Encoder(_));
        let head_rate = head_rate(config, data.task.labels.len(), &created, encoder);
        resolved.head_learning_rate = Some(config.head_learning_rate.unwrap_or(head_rate));
        let config = resolved;
        let (names, head) = (model.description().names(), data.task.head());
        let (objective, class_weights) = trained_objective(&config, &data.task, &data.fit)?;
        let selector = Selector::new(objective.as_ref(), config.select_metric.as_deref())?;
        let probe = Probe {
            config: &config,
            objective: objective.as_ref(),
            fit: &data.fit,
            device: &device,
        };
        let choice = match own {
            None => Choice::of(&config, &folder, head, &created)?,
            Some(method) => Choice::own(&config, method, &folder, head, &created)?,
        };
        let phases = choice.phases();
        phases::expect_sound(choice.method.as_ref(), &phases)?;
        let mut plan = Plan::of(&config, &folder, &choice, head, Some(&data))?;
        plan.expect_room(config.device)?;
        let total_steps = config.total_steps(data.fit.len());
        let before = Before {
            model,
            choice,
            carried: HostTensors::new(),
        };
        // What a run without a warm-up trains is made now, else when it is known.
        let first = phases::first_warm_up(&phases);
        let made = match first {
            Some(_) => Made::Later(before),
            None => {
                Made::Now(before.train(&WarmUpChoice::new(), &names, probe, rate, total_steps)?)
            }
        };
        // Gradients and spectra of the weights, which training has no use for.
        release_freed_memory();
        let (initial, known) = match &made {
            Made::Now(stage) => {
                // What a budget that is shared out over the model came to is known only now.
                let planned = plan.trainable_parameters;
                plan.trainable_parameters = stage.parameters;
                plan.total_parameters = plan.total_parameters - planned + stage.parameters;
                (guards::digests(&stage.model)?, stage.adapter_config.clone())
            }
            Made::Later(before) => (BTreeMap::new(), before.choice.configuration(probe)?),
        };
        let of_first = matches!(&start, Start::From(before) if before.version == FIRST);
        let resolved = Resolved {
            task: &data.task,
            adapter: &known,
            learning_rate: rate,
            total_steps,
            device: kind,
            overruled,
            class_weights: class_weights.as_deref(),
            select_metric: Some(selector.figure())
                .filter(|figure| *figure != objective.select_metric()),
            drops: folder.config().drops(),
            shares_layers: folder.config().shares_layers(),
            spares: match &made {
                Made::Now(stage) => trains_undecayed(&stage.model),
                Made::Later(_) => true,
            },
            absent_classes: data.lacks_classes(),
            recomputed: of_first && recomputed(&config.output),
        };
        let settings = checkpoint::settings(&config, &resolved);
        let mut begun = RunState::new(total_steps, initial, settings, inputs);
        begun.phase = first.map(|index| PhaseState::new(index, phases[index].name()));
        let output = config.output.clone();
        let files = CheckpointFolder::of(&output);
        let (resumed, state) = match start {
            Start::Afresh => (false, begun),
            Start::From(before) => {
                checkpoint::compare(&before, &begun, &config.output)?;
                if let Some(Ending::Finished(report)) = before.ending {
                    tidy(&config.output)?;
                    // It comes after the ending, and whoever killed the run may have been faster.
                    report::write(&RunFolder::parts(&config.output)?)?;
                    let output = config.output.display();
                    progress.notice(&format!(
                        "the run in {output} is finished: nothing is left to do"
                    ));
                    return Ok(Started::Finished(report));
                }
                let ending = None;
                (true, RunState { ending, ..*before })
            }
        };
        let mut chosen = WarmUpChoice::new();
        let (stage, before) = match made {
            Made::Now(stage) => (stage, None),
            Made::Later(before) => {
                let index = state.phase.as_ref().map(|phase| phase.index);
                match index.and_then(|index| Some((index, phases.get(index)?))) {
                    Some((_, PhaseSpec::Train)) => {
                        chosen = files.chosen(&state)?;
                        let stage = before.train(&chosen, &names, probe, rate, total_steps)?;
                        (stage, None)
                    }
                    Some((index, _)) => {
                        let stage = before.warm_up(index, &names, probe, rate)?;
                        (stage, Some(before))
                    }
                    None => {
                        return Err(RunError::Output {
                            folder: output,
                            problem: "its run has other phases than the method has now".into(),
                            fix: "start the run afresh in another folder".into(),
                        });
                    }
                }
            }
        };
        let mut state = state;
        if let (Some(phase), true) = (&mut state.phase, before.is_some()) {
            phase.steps = stage.steps;
        }
        let selector = match state.settings.contains_key(TIES) {
            true => selector,
            false => selector.keeping_the_earlier(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let plan = Event::Plan {
            plan: Box::new(plan),
            device: reason,
            machine: machine(),
            peft: env!("CARGO_PKG_VERSION"),
            commit: crate::commit(),
            unix_time: now.map_or(0, |time| time.as_secs()),
        };

        let mut session = Session {
            trainer: stage.trainer,
            rate,
            before,
            chosen,
            files,
            recorder: Recorder::open(log, &output, state.log_bytes, progress)?,
            config,
            device,
            model: stage.model,
            names,
            method: stage.method,
            adapter_config: stage.adapter_config,
            objective,
            selector,
            task: data.task,
            base,
            fit: data.fit,
            select: data.select,
            report: data.report,
            tokenizer,
            features: features.filter(|_| plain_products),
            drops: folder.config().drops(),
            state,
            saved: Instant::now(),
            save_took: Duration::ZERO,
            _computing: computing,
        };
        tidy(&output)?;
        if resumed {
            session.go_on(&plan)?;
        } else {
            let rates = scaled_rates(&session.config, &session.model);
            let recorded = record(&session.config, rates.as_deref());
            recorded.map_err(|error| session.failed(error))?;
            if let Some(rates) = rates.filter(|_| rate_is_given) {
                session.recorder.progress.notice(&rates);
            }
            session.recorder.event(&plan)?;
            // What cannot be saved should fail now, not after an hour.
            let saved = session.save_checkpoint();
            saved.map_err(|error| session.failed(error))?;
        }
        Ok(Started::Ready(Box::new(session)))
    }

    /// Put everything back to where the state says.
    fn go_on(&mut self, plan: &Event) -> Result<(), RunError> {
        let tensors = self.files.tensors(&self.state)?;
        self.model = self.trainer.restore(self.model.clone(), &tensors)?;
        if self.state.best.is_some() {
            self.files.restore_best()?;
        }
        let (step, total) = (self.state.step, self.state.total_steps);
        let progress = &mut self.recorder.progress;
        let text = match &self.state.phase {
            Some(phase) if self.before.is_some() => format!(
                "going on in the {} after step {} of {}",
                phase.name, phase.step, phase.steps
            ),
            _ => format!("going on after step {step} of {total}"),
        };
        progress.notice(&text);
        // It is in the log already.
        progress.event(plan);
        Ok(())
    }
}

/// What becomes of the learning rate where the method scales it, in a sentence.
fn scaled_rates(config: &RunConfig, model: &Model) -> Option<String> {
    let entry = peft_methods::by_name(&config.method).ok()?;
    if !entry.scales_by_itself() {
        return None;
    }
    let factors = learning_rate_factors(model);
    let least = factors.values().copied().reduce(f64::min)?;
    let most = factors.values().copied().reduce(f64::max)?;
    let shown = |factor: f64| match factor {
        1e-3..1e4 => format!("{factor:.3}"),
        _ => format!("{factor:.2e}"),
    };
    let times = match most / least < 1.001 {
        true => shown(least),
        false => format!("{} to {}", shown(least), shown(most)),
    };
    Some(format!(
        "the learning rate is that of coefficients of an orthonormal transform; those of {} are trained at \
         {times} times it, or without the setting `scale_rate` at the rate itself, as in Hugging Face PEFT",
        entry.name
    ))
}

/// Remove what a run that was killed may have left half done.
fn tidy(output: &Path) -> Result<(), RunError> {
    AtomicDir::settle(&output.join(CHECKPOINT))?;
    AtomicDir::settle(&output.join(LAST))?;
    remove_leftovers(output)?;
    remove_leftovers(&output.join(LAST))?;
    Ok(())
}
