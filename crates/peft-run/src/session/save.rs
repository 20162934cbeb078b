//! When a run is saved, and what is said when it cannot be.

use std::{
    error::Error,
    io,
    time::{Duration, Instant},
};

use burn::module::Module;
use peft_models::Network;
use peft_train::TrainError;

use super::{Session, select::LAST};
use crate::{
    RunError, RunFolder, RunReport,
    checkpoint::Ending,
    report,
    summary::{self, Summary},
};

/// Longest stretch of a run that a crash can undo.
const INTERVAL: Duration = Duration::from_secs(60);
/// Saving takes this share of the time at most, however slow the disk: 1 / 50.
const SHARE: u32 = 50;

impl Session<'_> {
    /// Save if it is time to, after a step of the phase. Nothing of the result depends on when that is.
    pub fn save_if_due(&mut self, step: u64) -> Result<(), RunError> {
        let due = match self.config.save_steps {
            Some(steps) => step.is_multiple_of(steps),
            None => self.saved.elapsed() >= INTERVAL.max(self.save_took * SHARE),
        };
        if due { self.save_checkpoint() } else { Ok(()) }
    }

    /// Save where the run stands.
    pub fn save_checkpoint(&mut self) -> Result<(), RunError> {
        let start = Instant::now();
        self.state.log_bytes = self.recorder.sync()?;
        let tensors = self.trainer.state(&self.model)?;
        self.files.write(&mut self.state, &tensors, &self.chosen)?;
        self.saved = Instant::now();
        self.save_took = start.elapsed();
        Ok(())
    }

    /// Save, then end the run as one that was asked to stop. Nothing is evaluated, for the run that
    /// goes on would not have been either.
    pub fn interrupt(&mut self) -> RunError {
        let saved = self.save_checkpoint();
        if let (Some(phase), true) = (&self.state.phase, self.before.is_some()) {
            // There is no adapter of the run's own yet.
            let (step, steps, phase) = (phase.step, phase.steps, phase.name.clone());
            let output = self.config.output.clone();
            return match saved.and_then(|()| self.describe(false)) {
                Err(error) => error,
                Ok(()) => RunError::InterruptedBefore {
                    phase,
                    step,
                    total: steps,
                    output,
                },
            };
        }
        let saved = saved.and_then(|()| self.save(&self.model.valid(), LAST));
        match saved.and_then(|()| self.describe(false)) {
            Err(error) => error,
            Ok(()) => RunError::Interrupted {
                step: self.state.step,
                total: self.state.total_steps,
                output: self.config.output.clone(),
            },
        }
    }

    /// Keep what the run came to, and no longer what it would go on from.
    pub fn finish(&mut self, report: &RunReport) -> Result<(), RunError> {
        self.describe(true)?;
        self.state.log_bytes = self.recorder.sync()?;
        self.state.ending = Some(Ending::Finished(report.clone()));
        let tensors = self.trainer.state(&self.model)?;
        self.files.write(&mut self.state, &tensors, &self.chosen)?;
        // Of what is on disk now: where this fails, the run is finished, and `peft report` makes it.
        report::write(&RunFolder::parts(&self.config.output)?).map(drop)
    }

    /// Write what people read about the run.
    fn describe(&self, finished: bool) -> Result<(), RunError> {
        let model_type = &self.model.description().model_type;
        summary::write(&Summary {
            refused_on: self.adapter_config.refused_by_peft(model_type),
            config: &self.config,
            base: self.base.hub_name(),
            method: self.method.as_ref(),
            task: &self.task,
            step: self.state.step,
            best: self.state.best.as_ref(),
            finished,
        })?;
        match finished {
            true => Ok(()),
            false => report::write(&RunFolder::parts(&self.config.output)?).map(drop),
        }
    }

    /// After an error: make it say what is left, and let a run that would break down again be
    /// started afresh.
    pub fn failed(&self, error: RunError) -> RunError {
        use TrainError::{NoGradient, NotFinite, NotMoved, SilentAdapters};
        let again = matches!(
            error,
            RunError::Train(
                NotFinite { .. } | NoGradient { .. } | SilentAdapters { .. } | NotMoved { .. }
            )
        );
        if again && let Ok(Some(mut state)) = self.files.read() {
            state.ending = Some(Ending::BrokeDown(error.to_string()));
            // The first error is the one to tell.
            let _ = self.files.rewrite(&state);
            return error;
        }
        // Between the first step and the last, only what is written lies outside of the program.
        let (RunError::Format(_) | RunError::Adapter(_)) = &error else {
            return error;
        };
        let Some(cause) = io_error(&error) else {
            return error;
        };
        let kept = match self.files.read() {
            Ok(Some(state)) => format!(
                "; the checkpoint of step {} is whole, and the same command with `resume` continues from it",
                state.step
            ),
            _ => String::new(),
        };
        let what = match cause.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => "make room",
            _ => "make it writable",
        };
        RunError::Output {
            folder: self.config.output.clone(),
            problem: format!("it cannot be written: {cause}"),
            fix: format!("{what}{kept}"),
        }
    }
}

/// The system's error behind one of ours.
fn io_error(error: &RunError) -> Option<&io::Error> {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}
