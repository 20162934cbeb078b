//! What a search of runs is asked for.

use std::path::{Path, PathBuf};

use peft_run::RunConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Cost, FileSpace, RunsError};
use crate::Settings;
use crate::study::{Budget, Description, Place};

/// Which space is searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "space", rename_all = "kebab-case")]
pub enum SpaceChoice {
    /// [`Workspace`](super::Workspace): of these methods, of all that fit where none is named.
    Workspace {
        /// The methods' names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        methods: Vec<String>,
    },
    /// [`AutoPeftSpace`](super::AutoPeftSpace).
    Autopeft,
    /// [`FileSpace`]: the contents of a file.
    File {
        /// What the file holds.
        given: Map<String, Value>,
    },
}

impl SpaceChoice {
    /// A space by its name, `workspace` or `autopeft`, or the file that describes it.
    ///
    /// # Errors
    /// If it is neither, or the file cannot be read.
    pub fn read(name: &str, methods: &[String]) -> Result<Self, RunsError> {
        let is_file = Path::new(name).extension().is_some();
        match name {
            "workspace" => Ok(Self::Workspace {
                methods: methods.to_vec(),
            }),
            _ if !methods.is_empty() => Err(RunsError::setting(
                "`methods`",
                format!("the space `{name}` names its own"),
                "leave them out",
            )),
            "autopeft" => Ok(Self::Autopeft),
            _ if is_file => Ok(Self::File {
                given: FileSpace::read(Path::new(name))?,
            }),
            _ => Err(RunsError::setting(
                "`space`",
                format!("there is no space `{name}`"),
                "give workspace, autopeft, or a file that ends in .toml or .yaml",
            )),
        }
    }

    /// Refuse values in a file that no run with these settings can have.
    ///
    /// # Errors
    /// With the first such value.
    pub fn check(&self, shared: &RunConfig) -> Result<(), RunsError> {
        match self {
            Self::File { given } => FileSpace::check(given, shared),
            Self::Workspace { .. } | Self::Autopeft => Ok(()),
        }
    }

    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Workspace { .. } => "workspace",
            Self::Autopeft => "autopeft",
            Self::File { .. } => "file",
        }
    }

    /// Settings that configurations of the space have, so that trials cannot share them.
    pub fn chosen(&self) -> Vec<String> {
        match self {
            Self::Workspace { .. } => [
                "method",
                "target_modules",
                "layers",
                "learning_rate",
                "adapter",
            ]
            .map(str::to_owned)
            .to_vec(),
            Self::Autopeft => ["method", "target_modules", "layers", "adapter"]
                .map(str::to_owned)
                .to_vec(),
            Self::File { given } => {
                let list = given.get("parameters").and_then(Value::as_array);
                let names = list.into_iter().flatten();
                let names = names.filter_map(|one| one.get("name")?.as_str().map(str::to_owned));
                names.chain(["adapter".to_owned()]).collect()
            }
        }
    }
}

/// What is searched, with which settings for all trials, and for how long.
#[derive(Debug, Clone)]
pub struct SearchConfig {
    /// The settings that trials share; its output is the study's folder. The rows of `eval_data` choose nothing: they
    /// are used when the front is scored.
    pub run: RunConfig,
    /// Where the study is kept, if not in its output folder; that has the trials and the front then.
    pub study: Option<Place>,
    /// The space.
    pub space: SpaceChoice,
    /// What chooses the trials.
    pub sampler: Settings,
    /// The seed of what chooses the trials; runs have [their own](RunConfig::seed).
    pub seed: u64,
    /// When the study ends.
    pub budget: Budget,
    /// Whether trials are stopped early.
    pub pruning: bool,
    /// How many workers may be lost with a trial (killed, or out of memory) before it counts as failed.
    pub attempts: u32,
    /// The worst value of the metric that counts for anything; where none is given, what the most frequent class scores
    /// of an accuracy, 0 of other metrics, and of a loss what the base has without an adapter.
    pub reference: Option<f64>,
    /// A third objective.
    pub cost: Option<Cost>,
    /// Trials of other studies.
    pub cache: Option<PathBuf>,
}

impl SearchConfig {
    /// A study of a space with every other setting at its default.
    pub fn new(run: RunConfig, space: SpaceChoice) -> Self {
        Self {
            run,
            study: None,
            space,
            sampler: Settings::default(),
            seed: 0,
            budget: Budget::default(),
            pruning: true,
            attempts: Description::ATTEMPTS,
            reference: None,
            cost: None,
            cache: None,
        }
    }

    /// The passes over the data of a full trial, where trials report after each.
    pub(super) fn epochs(run: &RunConfig) -> Option<u32> {
        let whole = run.steps.is_none() && run.epochs.fract() == 0.0;
        let by_epochs = run.select_epochs == 1 && run.eval_steps.is_none();
        let fits = (1.0..=1e6).contains(&run.epochs);
        (whole && by_epochs && fits).then_some(run.epochs as u32)
    }

    /// What a trial's settings have in common: paths that mean the same from everywhere, no rows that only report, and
    /// no place to write.
    pub(super) fn shared(&self) -> RunConfig {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let run = &self.run;
        RunConfig {
            model: absolute(&run.model),
            data: absolute(&run.data),
            select_data: run.select_data.as_ref().map(absolute),
            eval_data: None,
            output: PathBuf::new(),
            resume: false,
            overwrite: false,
            worst_rows: 0,
            threads: None,
            ..run.clone()
        }
    }

    /// The rows that only report.
    pub(super) fn report_rows(&self) -> Option<PathBuf> {
        let path = self.run.eval_data.as_ref()?;
        Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
    }
}
