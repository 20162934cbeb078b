//! A run as its folder tells it.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use peft_config::{Document, Problems};
use serde_json::{Map, Value};

use super::worst::{self, WorstRow};
use crate::{
    Evaluation, Objective, RunError, TaskFile,
    checkpoint::{Best, CheckpointFolder, Ending, RunState},
    config::RECORD,
    event::LOG,
    summary::Log,
};

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunStatus {
    /// It has done all its steps, or stopped early.
    Finished,
    /// It is at work.
    Running,
    /// It can go on.
    Interrupted,
    /// Training broke down, for this reason.
    BrokeDown(String),
}

impl RunStatus {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::BrokeDown(_) => "broke down",
        }
    }
}

/// What is in the output folder of a run: its settings, its log and what came of it.
#[derive(Debug)]
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
    /// How the run stands.
    pub status: RunStatus,
    /// Every setting, by its name in a file.
    pub settings: Map<String, Value>,
    pub(crate) log: Log,
    pub(super) state: Option<RunState>,
    pub(super) task: Option<TaskFile>,
    pub(super) worst: Vec<WorstRow>,
}

impl RunFolder {
    /// Whether a folder holds a run.
    pub fn is_one(path: &Path) -> bool {
        path.join(LOG).is_file() && path.join(RECORD).is_file()
    }

    /// Read the folder of a run, whatever the run's state. Nothing in it is changed.
    ///
    /// # Errors
    /// If it holds no run, or what it holds cannot be read.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let mut run = Self::parts(path)?;
        run.status = match &run.state {
            Some(RunState { ending, .. }) if ending.is_some() => run.status,
            _ if is_locked(path) => RunStatus::Running,
            _ => RunStatus::Interrupted,
        };
        Ok(run)
    }

    /// The same for the run itself, whose log is locked by it.
    pub(crate) fn parts(path: &Path) -> Result<Self, RunError> {
        if !Self::is_one(path) {
            return Err(RunError::File {
                path: path.to_owned(),
                problem: format!("it holds no run: a run's folder has {LOG} and {RECORD}"),
                fix: "give the folder that `peft train` wrote".into(),
            });
        }
        let document = Document::read(&path.join(RECORD))?.map_err(Problems::from)?;
        let state = CheckpointFolder::of(path).peek()?;
        let status = match state.as_ref().and_then(|state| state.ending.as_ref()) {
            Some(Ending::Finished(_)) => RunStatus::Finished,
            Some(Ending::BrokeDown(reason)) => RunStatus::BrokeDown(reason.clone()),
            None => RunStatus::Interrupted,
        };
        Ok(Self {
            log: Log::read(&path.join(LOG))?,
            task: TaskFile::read(path)?,
            worst: worst::read(path),
            settings: document.values().clone(),
            path: path.to_owned(),
            status,
            state,
        })
    }

    /// All runs in some folders: a folder that is one, or those up to three levels below it, by their paths.
    ///
    /// # Errors
    /// If a folder is not there or cannot be read, or holds no run.
    pub fn find(folders: &[PathBuf]) -> Result<Vec<PathBuf>, RunError> {
        const DEPTH: usize = 3;
        let mut all = Vec::new();
        for folder in folders {
            let fault = |problem: String| RunError::File {
                path: folder.clone(),
                problem,
                fix: "give folders that `peft train` wrote, or one above them".into(),
            };
            let before = all.len();
            below(folder, DEPTH, &mut all).map_err(|error| fault(error.to_string()))?;
            if all.len() == before {
                let problem = format!("there is no run in it: no folder has {LOG} and {RECORD}");
                return Err(fault(problem));
            }
        }
        Ok(all)
    }

    /// A setting as a text; nothing where it is not set.
    pub fn setting(&self, key: &str) -> String {
        match self.settings.get(key) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => peft_config::value_text(value),
        }
    }

    /// The method's name.
    pub fn method(&self) -> String {
        self.setting("method")
    }

    /// What people call the model: the last part of its path.
    pub fn model(&self) -> String {
        last_part(&self.setting("model"))
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        let done = self.state.as_ref().map_or(0, |state| state.step);
        done.max(self.log.steps.keys().last().copied().unwrap_or(0))
    }

    /// Steps to do.
    pub fn total_steps(&self) -> u64 {
        let planned = self.state.as_ref().map(|state| state.total_steps);
        planned.unwrap_or_else(|| self.log.planned("steps"))
    }

    /// The step whose adapter is kept, and what it came to on the rows that select and on those that only report.
    pub fn kept(&self) -> Option<(u64, &Evaluation, Option<&Evaluation>)> {
        let best = self.best()?;
        Some((best.step, &best.selection, best.report.as_ref()))
    }

    /// The figure that chooses: the run's own, else that of its task.
    pub fn select_metric(&self) -> String {
        match self.setting("select_metric") {
            own if !own.is_empty() => own,
            _ => self.objective().map_or("loss".into(), |objective| {
                objective.select_metric().to_owned()
            }),
        }
    }

    /// The figure that people ask for first.
    pub fn main_metric(&self) -> String {
        self.objective().map_or("loss".into(), |objective| {
            objective.main_metric().to_owned()
        })
    }

    /// Seconds of training, without evaluation.
    pub fn train_time_s(&self) -> f64 {
        self.state.as_ref().map_or(0.0, |state| state.train_time_s)
    }

    /// Largest resident set, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        let of = |figure: &Value| figure.as_u64();
        let last = self.log.last.get("peak_memory").and_then(of);
        last.or_else(|| {
            self.log
                .steps
                .values()
                .filter_map(|step| step.peak_memory)
                .max()
        })
    }

    /// Values trained in adapters, and in the head.
    pub fn trained(&self) -> (u64, u64) {
        let planned = |key| self.log.planned(key);
        (planned("trainable_parameters"), planned("head_parameters"))
    }

    /// When it was begun, in seconds since 1970, if it says so.
    pub fn begun(&self) -> Option<u64> {
        self.log.plan.get("unix_time").and_then(Value::as_u64)
    }

    pub(super) fn best(&self) -> Option<&Best> {
        self.state.as_ref()?.best.as_ref()
    }

    pub(super) fn objective(&self) -> Option<Box<dyn Objective>> {
        let task = serde_json::from_value(self.settings.get("task")?.clone()).ok()?;
        match &self.task {
            Some(own) if own.task == task => Some(own.objective()),
            own => {
                let labels = own.as_ref().map_or(2, |own| own.labels.len());
                Some(crate::objective(task, labels))
            }
        }
    }
}

/// The last part of a path or of a name on the hub.
pub(super) fn last_part(path: &str) -> String {
    let last = path
        .trim_end_matches(['/', '\\'])
        .rsplit(['/', '\\'])
        .next();
    last.unwrap_or(path).to_owned()
}

fn below(folder: &Path, depth: usize, all: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if RunFolder::is_one(folder) {
        all.push(folder.to_owned());
        return Ok(());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Links may lead round in circles.
        if depth > 0 && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    folders
        .iter()
        .try_for_each(|one| below(one, depth - 1, all))
}

/// Whether a run is at work in a folder.
fn is_locked(output: &Path) -> bool {
    let log = File::options()
        .read(true)
        .write(true)
        .open(output.join(LOG));
    // The lock is let go with the file.
    cfg!(unix) && log.is_ok_and(|log| matches!(log.try_lock(), Err(TryLockError::WouldBlock)))
}
