//! The state of a run.

mod adapt;
mod data;

use std::time::Instant;

use burn::{module::Module, tensor::Device};
use peft_core::{Method, NameMap, save_adapter};
use peft_data::{Dataset, Task, TextTokenizer};
use peft_format::AdapterConfig;
use peft_models::{HeadSpec, ModelFolder, PackedBatch, SequenceModel};

pub(crate) use self::{
    adapt::{Choice, Source, family_targets},
    data::Data,
};
use crate::{
    BaseFile, Evaluation, Plan, Progress, RunConfig, RunReport, Schedule, SelectedDevice, TaskFile,
    TrainError, Trainer, differentiate, evaluate,
    event::{Event, Recorder, fault},
    loss, peak_memory, targets,
};

/// Rows a batch when evaluating, where no gradients are kept.
pub(crate) const EVAL_BATCH: usize = 64;

pub(crate) struct Session<'a> {
    config: &'a RunConfig,
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
    total_steps: u64,
    train_time: f64,
}

struct Best {
    step: u64,
    selection: Evaluation,
    report: Option<Evaluation>,
}

impl<'a> Session<'a> {
    pub fn start(
        config: &'a RunConfig,
        progress: &'a mut dyn Progress,
    ) -> Result<Self, TrainError> {
        let SelectedDevice { device, reason } = config.device.select()?;
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
        let choice = Choice::of(config, &folder, &loaded.created)?;
        let plan = Plan::of(config, &folder, &choice, data.task.outputs(), Some(&data))?;
        let (model, method, adapter_config, _) = choice.adapt(config, model, &names, &device)?;
        let total_steps = config.total_steps(data.fit.len());
        let entry = peft_methods::by_name(method.name())?;
        let rate = config.learning_rate.unwrap_or(entry.learning_rate);
        let schedule = Schedule::new(config.schedule, config.warmup, total_steps);

        std::fs::create_dir_all(&config.output).map_err(|error| fault(&config.output, &error))?;
        let mut recorder = Recorder::create(&config.output.join("metrics.jsonl"), progress)?;
        recorder.event(&Event::Plan {
            plan: Box::new(plan),
            device: reason,
        })?;
        Ok(Self {
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
            trainer: Trainer::new(config.trainer(rate), schedule),
            total_steps,
            train_time: 0.0,
        })
    }

    pub fn run(mut self) -> Result<RunReport, TrainError> {
        let mut step = 0;
        let mut best: Option<Best> = None;
        let mut interrupted = false;
        'epochs: for epoch in 0.. {
            let plan = self
                .fit
                .plan(self.config.batch_size, self.config.seed, epoch)?;
            let batches: Vec<&[usize]> = plan.iter_from(0).collect();
            for parts in batches.chunks(self.config.grad_accumulation) {
                if self.recorder.progress.should_stop() {
                    interrupted = true;
                    break 'epochs;
                }
                self.step(parts)?;
                step += 1;
                if step == self.total_steps {
                    break 'epochs;
                }
            }
            best = Some(self.select(step, epoch as f64 + 1.0, best)?);
        }
        let epochs = step as f64 / self.config.steps_per_epoch(self.fit.len()) as f64;
        let best = self.select(step, epochs, best)?;
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
            train_time_s: self.train_time,
            peak_memory: peak_memory(),
            metrics: shown.metrics.clone(),
        })?;
        Ok(RunReport {
            steps: step,
            kept_step: best.step,
            selection: best.selection,
            report: best.report,
            interrupted,
        })
    }

    /// One optimiser step over the given batches.
    fn step(&mut self, parts: &[&[usize]]) -> Result<(), TrainError> {
        let start = Instant::now();
        let rows: usize = parts.iter().map(|part| part.len()).sum();
        let mut tokens = 0;
        let (fit, device, recompute) = (&self.fit, &self.device, self.config.recompute);
        let (model, report) = self.trainer.step_with(
            self.model.clone(),
            self.method.as_ref(),
            parts.len(),
            |model, part, context| {
                let batch = fit.batch(parts[part])?;
                tokens += batch.tokens();
                let packed = PackedBatch::new(
                    model.config(),
                    &batch.ids,
                    &batch.type_ids,
                    &batch.row_starts,
                    device,
                )?;
                let share = batch.rows() as f64 / rows as f64;
                let targets = targets(&batch.labels, device)?;
                let value = |outputs| match share {
                    1.0 => loss(outputs, targets),
                    _ => loss(outputs, targets).mul_scalar(share),
                };
                Ok(differentiate(model, &packed, context, recompute, value))
            },
        )?;
        self.model = model;
        let seconds = start.elapsed().as_secs_f64();
        self.train_time += seconds;
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

    /// Save the adapter as the last one, and as the best one if it is.
    fn select(&mut self, step: u64, epoch: f64, best: Option<Best>) -> Result<Best, TrainError> {
        if best.as_ref().is_some_and(|best| best.step == step) {
            return Ok(best.expect("checked above"));
        }
        let model = self.model.valid();
        let device = self.device.clone().inner();
        let task = self.task.task;
        let selection = evaluate(&model, &self.select, task, EVAL_BATCH, &device)?;
        self.evaluated(step, epoch, "selection", &selection)?;
        self.save(&model, "last")?;
        if best
            .as_ref()
            .is_some_and(|best| !better(task, &selection, &best.selection))
        {
            return Ok(best.expect("checked above"));
        }
        self.save(&model, "")?;
        let report = match &self.report {
            Some(data) => Some(evaluate(&model, data, task, EVAL_BATCH, &device)?),
            None => None,
        };
        if let Some(report) = &report {
            self.evaluated(step, epoch, "report", report)?;
        }
        Ok(Best {
            step,
            selection,
            report,
        })
    }

    fn evaluated(
        &mut self,
        step: u64,
        epoch: f64,
        split: &'static str,
        evaluation: &Evaluation,
    ) -> Result<(), TrainError> {
        let (loss, metrics) = (evaluation.loss, evaluation.metrics.clone());
        self.recorder.event(&Event::Eval {
            step,
            epoch,
            split,
            loss,
            metrics,
        })
    }

    fn save(&self, model: &SequenceModel, part: &str) -> Result<(), TrainError> {
        let folder = self.config.output.join(part);
        std::fs::create_dir_all(&folder).map_err(|error| fault(&folder, &error))?;
        let method = self.method.as_ref();
        save_adapter(model, &folder, &self.adapter_config, method, &self.names)?;
        self.task.write(&folder)?;
        self.base.write(&folder)
    }
}

/// Whether an evaluation is better than one before it; equal ones keep the earlier.
fn better(task: Task, new: &Evaluation, old: &Evaluation) -> bool {
    match task {
        Task::Classify => new.metrics["accuracy"] > old.metrics["accuracy"],
        Task::MultiLabel => new.metrics["f1"] > old.metrics["f1"],
        Task::Regress => new.loss < old.loss,
    }
}
