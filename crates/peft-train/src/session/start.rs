//! Everything before the first step.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use peft_data::{Cursor, TextTokenizer};
use peft_format::atomic::{AtomicDir, remove_leftovers};
use peft_models::{HeadSpec, ModelFolder, SequenceModel};

use super::{
    Session,
    adapt::adapt,
    data::Data,
    guards,
    output::{self, Start},
    probe::Probe,
    select::LAST,
};
use crate::{
    Event, Progress, RunConfig, RunReport, Schedule, SelectedDevice, TrainError, Trainer,
    checkpoint::{self, CHECKPOINT, CheckpointFolder, Ending, Resolved, RunState},
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
        let (model, method, adapter_config, attached) =
            adapt(config, &folder, model, &names, &loaded.created, probe)?;

        let per_epoch = data
            .fit
            .len()
            .div_ceil(config.batch_size * config.grad_accumulation);
        let total_steps = config
            .steps
            .unwrap_or((config.epochs * per_epoch as f64).round().max(1.0) as u64);
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
            method: method.name().to_owned(),
            targets: attached.targets.len(),
            trainable_parameters: attached.adapter_parameters,
            head_parameters: attached.saved_parameters,
            total_parameters: attached.total_parameters,
            rows: data.fit.len(),
            selection_rows: data.select.len(),
            steps: total_steps,
            truncated_rows: data.loaded.truncated_rows,
            created: loaded.created,
            device: reason,
        };

        let mut trainer = Trainer::new(config.trainer(rate), schedule);
        let files = CheckpointFolder::of(&config.output);
        let (model, state, recorder) = match start {
            Start::From(before) => {
                checkpoint::compare(&before, &state, &config.output)?;
                tidy(&config.output)?;
                if let Some(Ending::Finished(report)) = before.ending {
                    progress.notice(&format!(
                        "the run in {} is finished: nothing is left to do",
                        config.output.display()
                    ));
                    return Ok(Started::Finished(report));
                }
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

/// Remove what a run that was killed may have left half done.
fn tidy(output: &Path) -> Result<(), TrainError> {
    AtomicDir::settle(&output.join(CHECKPOINT))?;
    AtomicDir::settle(&output.join(LAST))?;
    remove_leftovers(output)?;
    remove_leftovers(&output.join(LAST))?;
    Ok(())
}
