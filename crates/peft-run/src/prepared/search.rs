//! What searches ask of a base and its rows before and after runs.

use std::path::Path;

use burn::module::Module;
use peft_core::load_adapter;
use peft_format::TargetModules;
use peft_models::{Description, ModelFolder, Network, Role};
use peft_train::Selector;

use crate::{
    Evaluation, Footprint, Plan, Prepared, RunConfig, RunError,
    checkpoint::hash,
    evaluate::evaluate_rows,
    objective::trained_objective,
    open::{fit_adapter, read_with_method},
    session::{Choice, EVAL_BATCH, resolve},
};

/// What makes one run better than another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The figure, as evaluations name it.
    pub name: String,
    /// Whether less is better.
    pub less_is_better: bool,
}

impl Metric {
    /// The figure of an evaluation; `NaN` where it has none.
    pub fn of(&self, evaluation: &Evaluation) -> f64 {
        match self.name.as_str() {
            "loss" => evaluation.loss,
            name => evaluation.metrics.get(name).copied().unwrap_or(f64::NAN),
        }
    }
}

impl Prepared {
    /// The blocks of the base and their parts.
    pub fn description(&self) -> &Description {
        self.model.description()
    }

    /// Values of the base, its head included.
    pub fn parameters(&self) -> usize {
        self.model.num_params()
    }

    /// The linear layers of the blocks that have one of these roles: see [`Description::targets`].
    pub fn targets(&self, roles: &[Role]) -> TargetModules {
        self.description().targets(roles)
    }

    /// What the file of a run's adapter would hold, by the settings of the run.
    ///
    /// # Errors
    /// Those that the run would end with before its adapters are made.
    pub fn footprint(&self, config: &RunConfig) -> Result<Footprint, RunError> {
        Footprint::of(config, &self.folder, self.data.task.head(), &self.created)
    }

    /// What a run would train, and an estimate of what it costs: [`plan`](crate::plan) on this base and these rows.
    ///
    /// # Errors
    /// Those that the run would end with before its adapters are made.
    pub fn plan(&self, config: &RunConfig) -> Result<Plan, RunError> {
        let entry = peft_methods::by_name(&config.method)?;
        let config = &resolve(config, &self.folder, entry);
        let head = self.data.task.head();
        let choice = Choice::of(config, &self.folder, head, &self.created)?;
        Plan::of(config, &self.folder, &choice, head, Some(&self.data))
    }

    /// The figure by which a run keeps one adapter and not another.
    ///
    /// # Errors
    /// If the settings name a figure that evaluations do not have.
    pub fn metric(&self, config: &RunConfig) -> Result<Metric, RunError> {
        let (objective, _) = trained_objective(config, &self.data.task, &self.data.fit)?;
        let selector = Selector::new(objective.as_ref(), config.select_metric.as_deref())?;
        Ok(Metric {
            name: selector.figure().to_owned(),
            less_is_better: selector.less_is_better(),
        })
    }

    /// The base without any adapter on the rows that select.
    ///
    /// # Errors
    /// If the rows have no labels.
    pub fn unadapted(&self) -> Result<Evaluation, RunError> {
        let device = self.device.clone().inner();
        let (objective, data) = (self.data.task.objective(), &self.data.select);
        let model = self.model.valid();
        Ok(evaluate_rows(&model, data, objective.as_ref(), EVAL_BATCH, &device, None)?.0)
    }

    /// The share of the most frequent class among the rows to learn from; none where rows have no classes.
    pub fn majority(&self) -> Option<f64> {
        let peft_data::Labels::Classes(rows) = self.data.fit.labels() else {
            return None;
        };
        let (count, mut counts) = (rows.len(), vec![0usize; self.data.task.labels.len().max(1)]);
        for class in rows {
            *counts.get_mut(class as usize)? += 1;
        }
        let most = counts.into_iter().max()?;
        Some(most as f64 / count.max(1) as f64)
    }

    /// An adapter of this base on the rows that only report; none without such rows.
    ///
    /// # Errors
    /// If the adapter is another base's, or its files are broken.
    pub fn report(&self, adapter: &Path) -> Result<Option<Evaluation>, RunError> {
        let Some(rows) = &self.data.report else {
            return Ok(None);
        };
        let device = self.device.clone().inner();
        let (method, mut loaded) = read_with_method(adapter)?;
        fit_adapter(&self.folder, &mut loaded)?;
        let names = self.description().names();
        let model = self.model.valid();
        let (model, _) = load_adapter(model, &loaded, method.as_ref(), &names, &device)
            .map_err(|error| RunError::from(error).of_adapter(adapter))?;
        let objective = self.data.task.objective();
        Ok(Some(
            evaluate_rows(&model, rows, objective.as_ref(), EVAL_BATCH, &device, None)?.0,
        ))
    }

    /// Refuse rows that only report and could not be read when they are to: they are read, and nothing is kept of them.
    ///
    /// # Errors
    /// Those of a run with these rows as its [`eval_data`](RunConfig::eval_data).
    pub fn expect_readable(&self, config: &RunConfig, rows: &Path) -> Result<(), RunError> {
        let read = self.data.read(rows, config, &self.folder, &self.tokenizer);
        read.map(drop)
    }

    /// A digest of what determines the bits of a run on this base and these rows: settings, contents of files,
    /// this program's version and the processor's instructions. Where files lie, and how many threads there are,
    /// is not among it.
    pub fn digest(&self, config: &RunConfig) -> String {
        let mut settings = serde_json::to_value(config).unwrap_or_default();
        if let Some(settings) = settings.as_object_mut() {
            for place in PLACES {
                settings.shift_remove(place);
            }
        }
        let inputs = serde_json::to_string(&self.inputs).unwrap_or_default();
        let parts = [
            settings.to_string(),
            inputs,
            self.kind.to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
            peft_simd::instructions().to_string(),
        ];
        let lengths = parts.iter().map(|part| part.len().to_le_bytes());
        let lengths: Vec<u8> = lengths.flatten().collect();
        let all = std::iter::once(lengths.as_slice());
        hash::bytes(all.chain(parts.iter().map(|part| part.as_bytes())))
    }

    /// A digest of the contents of the files behind it.
    pub fn contents(&self) -> String {
        let inputs = serde_json::to_string(&self.inputs).unwrap_or_default();
        hash::bytes(std::iter::once(inputs.as_bytes()))
    }

    /// The folder of the base.
    pub fn folder(&self) -> &ModelFolder {
        &self.folder
    }
}

/// Settings that say where files lie or how a run is carried out.
const PLACES: [&str; 8] = [
    "model",
    "data",
    "select_data",
    "eval_data",
    "output",
    "threads",
    "save_steps",
    "worst_rows",
];
