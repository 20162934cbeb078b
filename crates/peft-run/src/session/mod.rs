//! The state of a run, and its loop.

mod adapt;
mod data;
mod defaults;
mod guards;
mod length;
mod names;
mod output;
mod phases;
mod probe;
mod save;
mod select;
mod start;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use burn::{Tensor, tensor::Device};
use peft_core::{Method, NameMap, WarmUpChoice};
use peft_data::{Batch, Cursor, Dataset, TextTokenizer};
use peft_format::AdapterConfig;
use peft_models::Model;
use peft_train::{GradientSet, Objective, Selector, StepReport, Trainer, peak_memory};

use self::{phases::Before, probe::Probe};
use crate::{
    BaseFile, Computing, RunConfig, RunError, RunReport, TaskFile,
    batch::pack,
    blame,
    checkpoint::{CheckpointFolder, RunState},
    differentiate,
    event::{Event, Recorder},
    features::{Features, FeaturesOf, Split},
    loss::differentiate_from,
    objective::expect_truth,
};

pub(crate) use self::{
    adapt::{Choice, Source, default_targets, resolve, target_spec},
    data::Data,
    length::warm_up_steps,
    output::{Claim, lock},
    select::EVAL_BATCH,
    start::Started,
};
pub use self::{
    data::{left_out_of, numbered},
    output::expect_only_runs,
    probe::weight_gradients,
};

pub(crate) struct Session<'a> {
    config: RunConfig,
    device: Device,
    recorder: Recorder<'a>,
    model: Model,
    names: NameMap,
    method: Box<dyn Method>,
    adapter_config: AdapterConfig,
    task: TaskFile,
    objective: Box<dyn Objective>,
    /// What makes one adapter better than another.
    selector: Selector,
    base: BaseFile,
    fit: Dataset,
    select: Dataset,
    report: Option<Dataset>,
    tokenizer: Arc<TextTokenizer>,
    /// What the first adapted block reads of the rows, where that is kept.
    features: Option<Arc<Features>>,
    /// Whether the frozen part computes other numbers in training than in evaluation.
    drops: bool,
    trainer: Trainer,
    /// Learning rate of adapters.
    rate: f64,
    /// The phases before the last, until they are done.
    before: Option<Before>,
    /// What the method chose in them.
    chosen: WarmUpChoice,
    /// Where the run stands, as it will be saved.
    state: RunState,
    files: CheckpointFolder,
    /// When it was last saved, and how long that took.
    saved: Instant,
    save_took: Duration,
    /// In what type products are computed meanwhile.
    _computing: Computing,
}

impl Session<'_> {
    pub fn run(mut self) -> Result<RunReport, RunError> {
        match self.drive() {
            Ok(report) => Ok(report),
            Err(error) => Err(blame(self.failed(error), &self.config.model)),
        }
    }

    fn drive(&mut self) -> Result<RunReport, RunError> {
        self.phases()?;
        let per_epoch = self.config.steps_per_epoch(self.fit.len()) as f64;
        while self.state.step < self.state.total_steps && !self.has_waited() {
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
                let step = self.state.step;
                let last = step == self.state.total_steps;
                let due = |steps: u64| step.is_multiple_of(steps) && !last;
                if self.config.eval_steps.is_some_and(due) {
                    self.select(step as f64 / per_epoch)?;
                    self.save_checkpoint()?;
                } else {
                    self.save_if_due(step)?;
                }
                if last || self.has_waited() {
                    break;
                }
            }
            if self.state.step == self.state.total_steps || self.has_waited() {
                break;
            }
            if self.recorder.progress.should_stop() {
                return Err(self.interrupt());
            }
            let selects = self.config.eval_steps.is_none()
                && (epoch + 1).is_multiple_of(self.config.select_epochs);
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
        if self.has_waited() && self.state.step < self.state.total_steps {
            let (waited, figure) = (self.state.waited, self.selector.figure());
            let text = format!(
                "stopped after step {} of {}: {waited} selections in a row were not better by {figure}",
                self.state.step, self.state.total_steps
            );
            self.recorder.progress.notice(&text);
        }
        self.end(self.state.step as f64 / per_epoch)
    }

    /// Whether enough selections in a row were not better to stop.
    fn has_waited(&self) -> bool {
        let patience = self.config.early_stopping;
        patience.is_some_and(|patience| self.state.waited >= patience)
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
        let epoch = self.state.cursor.epoch;
        let (report, [tokens_per_s, step_time_s]) = self.optimise(parts, epoch)?;
        self.recorder.event(&Event::Step {
            step: report.step,
            loss: report.loss,
            learning_rate: report.learning_rate,
            gradient_norm: report.gradient_norm,
            tokens_per_s,
            step_time_s,
            peak_memory: peak_memory(),
        })
    }

    /// A step of the phase's trainer, with tokens a second and seconds.
    fn optimise(
        &mut self,
        parts: &[&[usize]],
        epoch: u64,
    ) -> Result<(StepReport, [f64; 2]), RunError> {
        let start = Instant::now();
        let (fit, device, recompute) = (&self.fit, &self.device, self.config.recompute);
        let objective = self.objective.as_ref();
        let batches = parts.iter().map(|rows| fit.batch(rows));
        let batches = batches.collect::<Result<Vec<Batch>, _>>()?;
        let truths = batches.iter().map(expect_truth);
        let truths = truths.collect::<Result<Vec<_>, _>>()?;
        let weights: Vec<f64> = truths.iter().map(|truth| objective.weight(truth)).collect();
        let weight: f64 = weights.iter().sum();
        if weight == 0.0 {
            let rows = batches.iter().flat_map(|batch| &batch.indices);
            return Err(RunError::NothingToLearn {
                objective: objective.name(),
                rows: rows.copied().collect(),
            });
        }
        let tokens: usize = batches.iter().map(Batch::tokens).sum();
        let features = self.features.as_deref();
        let features = features.filter(|_| !self.drops && !recompute);
        let features = features.map(|features| FeaturesOf::new(features, &self.model, Split::Fit));
        let (model, report) = self.trainer.step_with(
            self.model.clone(),
            self.method.as_ref(),
            parts.len(),
            |model, part, context| {
                let share = weights[part] / weight;
                // The mean over nothing is no number.
                if share == 0.0 {
                    return Ok((Tensor::zeros([1], device), GradientSet::default()));
                }
                let packed = pack(model, &batches[part], device).map_err(RunError::from)?;
                let targets = objective.targets(&truths[part], device)?;
                let value = |output| match share {
                    1.0 => objective.loss(output, targets),
                    _ => objective.loss(output, targets).mul_scalar(share),
                };
                let kept =
                    features.and_then(|features| features.hidden(model, &batches[part], &packed));
                Ok(match kept {
                    Some(kept) => differentiate_from(model, kept, &packed, context, value),
                    None => differentiate(model, &packed, context, recompute, value),
                })
            },
        )?;
        let probe = Probe {
            config: &self.config,
            objective,
            fit,
            device,
        };
        let method = self.method.as_ref();
        self.model = self.trainer.look(model, method, |model, batches| {
            Ok(probe.adapted(model, method, [epoch, batches as u64])?)
        })?;
        let seconds = start.elapsed().as_secs_f64();
        self.state.train_time_s += seconds;
        Ok((report, [tokens as f64 / seconds, seconds]))
    }
}
