//! Everything before the first step.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use peft_format::atomic::{AtomicDir, remove_leftovers};
use peft_train::{Schedule, Trainer};

use super::{
    Session,
    adapt::{Choice, resolve},
    guards,
    output::{Claim, Start},
    probe::Probe,
    select::LAST,
};
use crate::{
    Event, Plan, Prepared, Progress, RunConfig, RunError, RunReport,
    checkpoint::{self, CHECKPOINT, CheckpointFolder, Ending, Resolved, RunState},
    config::record,
    event::Recorder,
    release_freed_memory,
};

/// A run that is about to go, or one that has been to its end before.
pub enum Started<'a> {
    Ready(Box<Session<'a>>),
    Finished(RunReport),
}

impl<'a> Session<'a> {
    /// Start a run on what is prepared for it, in an output folder that was [claimed](Claim).
    pub fn start(
        config: &RunConfig,
        prepared: Prepared,
        claim: Claim,
        progress: &'a mut dyn Progress,
    ) -> Result<Started<'a>, RunError> {
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
            mut inputs,
            ..
        } = prepared;
        inputs.extend(checkpoint::adapter_inputs(config)?);
        let entry = peft_methods::by_name(&config.method)?;
        let rate = config.learning_rate.unwrap_or(entry.learning_rate);
        let config = RunConfig {
            device: choice,
            max_length,
            learning_rate: Some(rate),
            ..resolve(config, &folder, entry)
        };
        let names = model.names();
        let objective = data.task.objective();
        let probe = Probe {
            config: &config,
            objective: objective.as_ref(),
            fit: &data.fit,
            device: &device,
        };
        let choice = Choice::of(&config, &folder, &created)?;
        let mut plan = Plan::of(&config, &folder, &choice, data.task.outputs(), Some(&data))?;
        let total_steps = config.total_steps(data.fit.len());
        let of_run = choice.method.config_of_run(total_steps)?;
        let (model, method, mut adapter_config, report) =
            choice.adapt(&config, model, &names, probe)?;
        // What a budget that is shared out over the model came to is known only now.
        let planned = plan.trainable_parameters;
        plan.trainable_parameters = report.adapter_parameters;
        plan.total_parameters = plan.total_parameters - planned + report.adapter_parameters;
        // Gradients and spectra of the weights, which training has no use for.
        release_freed_memory();
        for (key, value) in of_run {
            adapter_config.set(&key, value)?;
        }
        let schedule = Schedule::new(config.schedule, config.warmup, total_steps);
        let resolved = Resolved {
            task: &data.task,
            adapter: &adapter_config,
            learning_rate: rate,
            total_steps,
            device: kind,
        };
        let begun = RunState::new(
            total_steps,
            guards::digests(&model)?,
            checkpoint::settings(&config, &resolved),
            inputs,
        );
        let (resumed, state) = match start {
            Start::Afresh => (false, begun),
            Start::From(before) => {
                checkpoint::compare(&before, &begun, &config.output)?;
                if let Some(Ending::Finished(report)) = before.ending {
                    tidy(&config.output)?;
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
        let plan = Event::Plan {
            plan: Box::new(plan),
            device: reason,
        };

        let output = config.output.clone();
        let mut session = Session {
            trainer: Trainer::new(config.trainer(rate), schedule),
            files: CheckpointFolder::of(&output),
            recorder: Recorder::open(log, &output, state.log_bytes, progress)?,
            config,
            device,
            model,
            names,
            method,
            adapter_config,
            objective,
            task: data.task,
            base,
            fit: data.fit,
            select: data.select,
            report: data.report,
            state,
            saved: Instant::now(),
            save_took: Duration::ZERO,
        };
        tidy(&output)?;
        if resumed {
            session.go_on(&plan)?;
        } else {
            record(&session.config).map_err(|error| session.failed(error))?;
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
        progress.notice(&format!("going on after step {step} of {total}"));
        // It is in the log already.
        progress.event(plan);
        Ok(())
    }
}

/// Remove what a run that was killed may have left half done.
fn tidy(output: &Path) -> Result<(), RunError> {
    AtomicDir::settle(&output.join(CHECKPOINT))?;
    AtomicDir::settle(&output.join(LAST))?;
    remove_leftovers(output)?;
    remove_leftovers(&output.join(LAST))?;
    Ok(())
}
