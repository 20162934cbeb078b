//! Everything before the first step.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use peft_data::{Cursor, TextTokenizer};
use peft_format::atomic::remove_leftovers;
use peft_models::{HeadSpec, ModelFolder, SequenceModel};

use super::{
    Session,
    adapt::Choice,
    data::Data,
    guards,
    output::{self, Start},
    probe::Probe,
    select::LAST,
};
use crate::{
    BaseFile, Event, Plan, Progress, RunConfig, RunReport, Schedule, SelectedDevice, TrainError,
    Trainer,
    checkpoint::{self, CheckpointFolder, Ending, Resolved, RunState},
    event::Recorder,
};

/// A run that is about to go, or one that has been to its end before.
pub enum Started<'a> {
    Ready(Box<Session<'a>>),
    Finished(RunReport),
}

impl<'a> Session<'a> {
    pub fn start(
        config: &'a RunConfig,
        progress: &'a mut dyn Progress,
    ) -> Result<Started<'a>, TrainError> {
        let log = output::claim(&config.output)?;
        let start = Start::decide(&config.output, config.resume, progress)?;

        let SelectedDevice {
            device,
            kind,
            reason,
        } = config.device.select()?;
        let device = device.autodiff();
        let mut folder = ModelFolder::open(&config.model)?;
        let base = BaseFile::of(&folder)?;
        if let (Some(adapter), false) = (&config.adapter, config.any_base)
            && let Some(recorded) = BaseFile::read(adapter)?
        {
            recorded.expect_same(adapter, &base)?;
        }
        if let Some(dropout) = config.model_dropout {
            folder.set_dropout(dropout);
        }
        if let Some(dtype) = config.base_dtype {
            folder.set_base_dtype(dtype.into());
        }
        let tokenizer = TextTokenizer::from_dir(&config.model)?;
        let max_length = config.max_length.min(folder.config().max_length());
        let data = Data::load(config, &folder, &tokenizer, max_length)?;

        let head = HeadSpec {
            outputs: data.task.outputs(),
            seed: config.seed,
        };
        let (model, loaded) = SequenceModel::load(&folder, &head, &device)?;
        let names = model.names();
        let probe = Probe {
            config,
            fit: &data.fit,
            device: &device,
        };
        let choice = Choice::of(config, &folder, &loaded.created)?;
        let plan = Plan::of(config, &folder, &choice, data.task.outputs(), Some(&data))?;
        let (model, method, adapter_config, _) = choice.adapt(config, model, &names, probe)?;

        let total_steps = config.total_steps(data.fit.len());
        let entry = peft_methods::by_name(method.name())?;
        let rate = config.learning_rate.unwrap_or(entry.learning_rate);
        let schedule = Schedule::new(config.schedule, config.warmup, total_steps);
        let resolved = Resolved {
            task: &data.task,
            adapter: &adapter_config,
            learning_rate: rate,
            total_steps,
            device: kind,
        };
        let state = RunState {
            version: checkpoint::VERSION,
            step: 0,
            total_steps,
            cursor: Cursor::default(),
            train_time_s: 0.0,
            log_bytes: 0,
            tensors: String::new(),
            best: None,
            ending: None,
            initial: guards::digests(&model)?,
            settings: checkpoint::settings(config, &resolved),
            inputs: checkpoint::inputs(config, &folder)?,
        };
        let plan = Event::Plan {
            plan: Box::new(plan),
            device: reason,
        };

        let mut trainer = Trainer::new(config.trainer(rate), schedule);
        let files = CheckpointFolder::of(&config.output);
        let (model, state, recorder) = match start {
            Start::From(before) => {
                checkpoint::compare(&before, &state, &config.output)?;
                if let Some(Ending::Finished(report)) = before.ending {
                    progress.notice(&format!(
                        "the run in {} is finished: nothing is left to do",
                        config.output.display()
                    ));
                    return Ok(Started::Finished(report));
                }
                tidy(&config.output)?;
                let model = trainer.restore(model, &files.tensors(&before)?)?;
                if before.best.is_some() {
                    files.restore_best()?;
                }
                progress.notice(&format!(
                    "going on after step {} of {total_steps}",
                    before.step
                ));
                let recorder = Recorder::open(log, &config.output, before.log_bytes, progress)?;
                recorder.progress.event(&plan);
                let state = RunState {
                    ending: None,
                    ..*before
                };
                (model, state, recorder)
            }
            Start::Afresh => {
                tidy(&config.output)?;
                let mut recorder = Recorder::open(log, &config.output, 0, progress)?;
                recorder.event(&plan)?;
                (model, state, recorder)
            }
        };
        let mut session = Session {
            config,
            device,
            recorder,
            model,
            names,
            method,
            adapter_config,
            task: data.task,
            base,
            fit: data.fit,
            select: data.select,
            report: data.report,
            trainer,
            state,
            files,
            saved: Instant::now(),
            save_took: Duration::ZERO,
        };
        if session.state.step == 0 {
            // What cannot be saved should fail now, not after an hour.
            let saved = session.save_checkpoint();
            saved.map_err(|error| session.failed(error))?;
        }
        Ok(Started::Ready(Box::new(session)))
    }
}

/// Remove what a run that was killed may have left half written.
fn tidy(output: &Path) -> Result<(), TrainError> {
    remove_leftovers(output)?;
    remove_leftovers(&output.join(LAST))?;
    Ok(())
}
