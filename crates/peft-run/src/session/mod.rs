//! The state of a run, and its loop.

mod adapt;
mod data;
mod guards;
mod output;
mod probe;
mod save;
mod select;
mod start;

use std::time::{Duration, Instant};

use burn::tensor::Device;
use peft_core::{Method, NameMap};
use peft_data::{Batch, Cursor, Dataset};
use peft_format::AdapterConfig;
use peft_models::{PackedBatch, SequenceModel};
use peft_train::Trainer;

use self::probe::Probe;
use crate::{
    BaseFile, RunConfig, RunError, RunReport, TaskFile,
    checkpoint::{CheckpointFolder, RunState},
    differentiate,
    event::{Event, Recorder},
    loss, peak_memory, targets,
};

pub use self::probe::{labelled_batch, weight_gradients};
pub(crate) use self::{
    adapt::{Choice, Source, resolve},
    data::Data,
    output::lock,
    select::EVAL_BATCH,
    start::Started,
};

pub(crate) struct Session<'a> {
    config: RunConfig,
    device: Device,
    recorder: Recorder<'a>,
    model: SequenceModel,
    names: NameMap,
    method: Box<dyn Method>,
    adapter_config: AdapterConfig,
    task: TaskFile,
    base: BaseFile,
    fit: Dataset,
    select: Dataset,
    report: Option<Dataset>,
    trainer: Trainer,
    /// Where the run stands, as it will be saved.
    state: RunState,
    files: CheckpointFolder,
    /// When it was last saved, and how long that took.
    saved: Instant,
    save_took: Duration,
}

impl Session<'_> {
    pub fn run(mut self) -> Result<RunReport, RunError> {
        match self.drive() {
            Ok(report) => Ok(report),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn drive(&mut self) -> Result<RunReport, RunError> {
        let per_epoch = self.config.steps_per_epoch(self.fit.len());
        while self.state.step < self.state.total_steps {
            let Cursor { epoch, batch } = self.state.cursor;
            let plan = self
                .fit
                .plan(self.config.batch_size, self.config.seed, epoch)?;
            let batches: Vec<&[usize]> = plan.iter_from(batch).collect();
            for parts in batches.chunks(self.config.grad_accumulation) {
                if self.recorder.progress.should_stop() {
                    return Err(self.interrupt());
                }
                if let Err(error) = self.step(parts) {
                    return Err(self.named(self.traced(error, parts)));
                }
                self.state.step += 1;
                self.state.cursor.batch += parts.len();
                self.save_if_due()?;
                if self.state.step == self.state.total_steps {
                    break;
                }
            }
            if self.state.step == self.state.total_steps {
                break;
            }
            if self.recorder.progress.should_stop() {
                return Err(self.interrupt());
            }
            let selects = (epoch + 1).is_multiple_of(self.config.select_epochs);
            if selects {
                self.select(epoch as f64 + 1.0)?;
            }
            self.state.cursor = Cursor {
                epoch: epoch + 1,
                batch: 0,
            };
            if selects {
                self.save_checkpoint()?;
            }
        }
        self.end(self.state.step as f64 / per_epoch as f64)
    }

    /// What follows the last step.
    fn end(&mut self, epochs: f64) -> Result<RunReport, RunError> {
        self.expect_moved().map_err(|error| self.named(error))?;
        let best = self.select(epochs)?;
        let step = self.state.step;
        let shown = best.report.as_ref().unwrap_or(&best.selection);
        self.recorder.event(&Event::Final {
            step,
            kept: if best.step == step { "last" } else { "best" },
            kept_step: best.step,
            split: if best.report.is_some() {
                "report"
            } else {
                "selection"
            },
            loss: shown.loss,
            train_time_s: self.state.train_time_s,
            peak_memory: peak_memory(),
            optimizer_bytes: self.trainer.state_bytes(),
            metrics: shown.metrics.clone(),
        })?;
        let report = RunReport {
            steps: step,
            kept_step: best.step,
            selection: best.selection,
            report: best.report,
        };
        self.finish(&report)?;
        Ok(report)
    }

    /// One optimiser step over the given batches.
    fn step(&mut self, parts: &[&[usize]]) -> Result<(), RunError> {
        let start = Instant::now();
        let rows: usize = parts.iter().map(|part| part.len()).sum();
        let mut tokens = 0;
        let (fit, device, recompute) = (&self.fit, &self.device, self.config.recompute);
        let (model, report) = self.trainer.step_with(
            self.model.clone(),
            self.method.as_ref(),
            parts.len(),
            |model, part, context| {
                let (packed, batch) = pack(model, fit, parts[part], device)?;
                tokens += batch.tokens();
                let share = batch.rows() as f64 / rows as f64;
                let targets = targets(&batch.labels, device)?;
                let value = |outputs| match share {
                    1.0 => loss(outputs, targets),
                    _ => loss(outputs, targets).mul_scalar(share),
                };
                Ok(differentiate(model, &packed, context, recompute, value))
            },
        )?;
        let probe = Probe {
            config: &self.config,
            fit,
            device,
        };
        let (method, epoch) = (self.method.as_ref(), self.state.cursor.epoch);
        self.model = self.trainer.look(model, method, |model, batches| {
            Ok(probe.adapted(model, method, [epoch, batches as u64])?)
        })?;
        let seconds = start.elapsed().as_secs_f64();
        self.state.train_time_s += seconds;
        self.recorder.event(&Event::Step {
            step: report.step,
            loss: report.loss,
            learning_rate: report.learning_rate,
            gradient_norm: report.gradient_norm,
            tokens_per_s: tokens as f64 / seconds,
            step_time_s: seconds,
            peak_memory: peak_memory(),
        })
    }
}

/// A batch of rows, for the model and as it comes.
fn pack(
    model: &SequenceModel,
    fit: &Dataset,
    rows: &[usize],
    device: &Device,
) -> Result<(PackedBatch, Batch), RunError> {
    let batch = fit.batch(rows)?;
    let packed = PackedBatch::new(
        model.config(),
        &batch.ids,
        &batch.type_ids,
        &batch.row_starts,
        device,
    )?;
    Ok((packed, batch))
}
