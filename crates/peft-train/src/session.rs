//! The state of a run.

use std::time::Instant;

use burn::{module::Module, tensor::Device};
use peft_core::{AttachOptions, AttachReport, Method, NameMap, attach, load_adapter, save_adapter};
use peft_data::{Dataset, LabelMap, LoadOptions, LoadReport, Task, TextTokenizer};
use peft_format::{AdapterConfig, TargetSpec, Targets, targets::default_targets};
use peft_models::{HeadSpec, HeadState, ModelFolder, PackedBatch, SequenceModel};

use crate::{
    Evaluation, Progress, RunConfig, RunReport, Schedule, SelectedDevice, TaskFile, TrainError,
    Trainer, differentiate, evaluate,
    event::{Event, Recorder, fault},
    loss,
    open::read_with_method,
    peak_memory, targets,
};

/// Rows a batch when evaluating, where no gradients are kept.
const EVAL_BATCH: usize = 64;

pub(crate) struct Session<'a> {
    config: &'a RunConfig,
    device: Device,
    recorder: Recorder<'a>,
    model: SequenceModel,
    names: NameMap,
    method: Box<dyn Method>,
    adapter_config: AdapterConfig,
    task: TaskFile,
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
        let (model, method, adapter_config, attached) =
            adapt(config, &folder, model, &names, &loaded.created, &device)?;

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

        std::fs::create_dir_all(&config.output).map_err(|error| fault(&config.output, &error))?;
        let mut recorder = Recorder::create(&config.output.join("metrics.jsonl"), progress)?;
        recorder.event(&Event::Plan {
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
        let per_epoch = self
            .fit
            .len()
            .div_ceil(self.config.batch_size * self.config.grad_accumulation);
        let epochs = step as f64 / per_epoch as f64;
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
        self.task.write(&folder)
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

/// The rows of a run.
struct Data {
    fit: Dataset,
    select: Dataset,
    report: Option<Dataset>,
    task: TaskFile,
    loaded: LoadReport,
}

impl Data {
    fn load(
        config: &RunConfig,
        folder: &ModelFolder,
        tokenizer: &TextTokenizer,
        max_length: usize,
    ) -> Result<Self, TrainError> {
        let given = given_labels(config, folder)?;
        let mut options = LoadOptions {
            columns: config.columns.clone(),
            read: config.read,
            labels: given.as_ref(),
            ..LoadOptions::new(config.task, max_length)
        };
        let (fit, loaded) = Dataset::load(&config.data, &options, tokenizer)?;
        let labels = fit.label_map().cloned();
        options.labels = labels.as_ref();
        let load = |path| Ok::<_, TrainError>(Dataset::load(path, &options, tokenizer)?.0);
        let report = config.eval_data.as_deref().map(load).transpose()?;
        let (fit, select) = match config.select_data.as_deref() {
            Some(path) => (fit, load(path)?),
            None => fit.split_sets(0.1, config.seed)?,
        };
        let labels = labels.map(|map| map.names().to_vec()).unwrap_or_default();
        if config.task == Task::Classify && labels.len() < 2 {
            return Err(TrainError::setting(
                "--data",
                format!("all rows have the label `{}`", labels.join("")),
                "give rows of two labels or more, or name the column with --label-column",
            ));
        }
        let task = TaskFile {
            task: config.task,
            labels,
            max_length,
        };
        Ok(Self {
            fit,
            select,
            report,
            task,
            loaded,
        })
    }
}

/// The labels that an adapter to continue from, or the checkpoint's own head, prescribes.
fn given_labels(config: &RunConfig, folder: &ModelFolder) -> Result<Option<LabelMap>, TrainError> {
    if config.task == Task::Regress {
        return Ok(None);
    }
    if let Some(path) = &config.adapter
        && let Some(task) = TaskFile::read(path)?
    {
        return task.label_map();
    }
    match folder.head() {
        HeadState::Absent => Ok(None),
        HeadState::Present { outputs, labels } => {
            let names = if labels.len() == outputs {
                labels
            } else {
                (0..outputs).map(|i| format!("LABEL_{i}")).collect()
            };
            Ok(Some(LabelMap::from_names(names)?))
        }
    }
}

type AdaptedModel = (SequenceModel, Box<dyn Method>, AdapterConfig, AttachReport);

/// Put a fresh adapter on the model, or the one to continue from.
fn adapt(
    config: &RunConfig,
    folder: &ModelFolder,
    model: SequenceModel,
    names: &NameMap,
    created: &[String],
    device: &Device,
) -> Result<AdaptedModel, TrainError> {
    let heads = model.head_modules();
    let mut to_save: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let in_head = |name: &str| {
        heads
            .iter()
            .any(|head| name == *head || name.starts_with(&format!("{head}.")))
    };
    to_save.extend(created.iter().filter(|name| !in_head(name)).cloned());

    if let Some(path) = &config.adapter {
        let (method, loaded) = read_with_method(path)?;
        if !method.name().eq_ignore_ascii_case(&config.method) {
            return Err(TrainError::setting(
                "--method",
                format!("the adapter to continue from is {}", method.name()),
                "give the same method, or start afresh without --adapter",
            ));
        }
        let mut adapter_config = loaded.config.clone();
        let mut saved = adapter_config.modules_to_save().to_vec();
        saved.extend(
            to_save
                .into_iter()
                .filter(|name| !adapter_config.modules_to_save().contains(name)),
        );
        adapter_config.set("modules_to_save", saved.clone())?;
        let (model, mut report) = load_adapter(model, &loaded, method.as_ref(), names, device)?;
        let (model, values) = peft_core::train_modules(model, names, &saved);
        report.saved_parameters = values;
        return Ok((model, method, adapter_config, report));
    }
    let entry = peft_methods::by_name(&config.method)?;
    let mut settings = (entry.defaults)();
    settings.extend(config.method_config.clone());
    if let Some(key) = config
        .method_config
        .keys()
        .find(|key| !entry.keys.contains(&key.as_str()))
    {
        return Err(TrainError::setting(
            key.clone(),
            format!("{} has no such setting", entry.name),
            format!("its settings are {}", entry.keys.join(", ")),
        ));
    }
    let method = (entry.build)(&settings)?;
    let mut spec = config
        .targets
        .clone()
        .unwrap_or(TargetSpec::new(Targets::Unspecified));
    if spec.modules == Targets::Unspecified {
        // Layers or exclusions may be given without saying what they restrict.
        spec.modules = family_targets(&folder.config().model_type);
    }
    spec.modules_to_save.extend(to_save);
    let options = AttachOptions {
        targets: &spec,
        names,
        modules_to_save: &spec.modules_to_save,
        heads,
        seed: config.seed,
    };
    let (model, report) = attach(model, method.as_ref(), &options)?;
    // Old PEFT knows neither `all-linear` nor exclusions: say what they came to.
    if spec.modules == Targets::AllLinear || spec.exclude.is_some() {
        let paths = report
            .targets
            .iter()
            .map(|t| t.target.path.clone())
            .collect();
        spec = TargetSpec {
            modules_to_save: spec.modules_to_save,
            ..TargetSpec::new(Targets::List(paths))
        };
    }
    let mut builder = AdapterConfig::builder(method.peft_type())
        .task_type(Some("SEQ_CLS"))
        .base_model(Some(&config.model.to_string_lossy()))
        .target(&spec);
    for (key, value) in method.config() {
        builder = builder.field(&key, value);
    }
    Ok((model, method, builder.build()?, report))
}

/// Queries and values, by the names of the family.
fn family_targets(model_type: &str) -> Targets {
    default_targets(model_type).unwrap_or_else(|| {
        let names: &[&str] = match model_type {
            "distilbert" => &["q_lin", "v_lin"],
            _ => &["query", "value"],
        };
        Targets::List(names.iter().map(|name| (*name).to_owned()).collect())
    })
}
