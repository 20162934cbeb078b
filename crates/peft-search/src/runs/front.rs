//! The front, scored on rows that chose nothing.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use peft_run::{Evaluation, Prepared, RunConfig, train_prepared};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{RunSpace, RunsError, View, folders::Folders, owner::has_trials_of};
use crate::study::{Columns, Place, Study, words};
use crate::{Outcome, SearchError, Trial};

/// The name of the file with the front in a study's folder.
pub const FRONT: &str = "front.json";
const REPORT: &str = "report.html";
const LOCK: &str = "front.lock";
/// Largest file that is read.
const LARGEST: u64 = 16 << 20;

/// A trial on the front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrontEntry {
    /// Its number.
    pub trial: u64,
    /// Values that its file holds beside the head.
    pub values: f64,
    /// The metric on the rows that select.
    pub selection: f64,
    /// Loss and metrics on the rows that only report, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Map<String, Value>>,
    /// A digest of the contents of the model and of all rows that the report is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_of: Option<String>,
    /// Its configuration in words.
    pub configuration: String,
    /// Its settings, but for those that all trials share.
    pub settings: Map<String, Value>,
    /// The folder of its adapter, in that of the study.
    pub adapter: PathBuf,
}

impl FrontEntry {
    /// The front of a study as it was scored last; empty where it was not.
    ///
    /// # Errors
    /// If the file is broken.
    pub fn read(folder: &Path) -> Result<Vec<Self>, RunsError> {
        let path = folder.join(FRONT);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = peft_format::bounded::read(&path, "front of a study", LARGEST)
            .map_err(peft_run::RunError::from)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            RunsError::setting(
                path.display().to_string(),
                error.to_string(),
                "remove it, and it is made again",
            )
        })
    }

    /// Write the report of the study at a place into a folder, with what is known of its front.
    ///
    /// # Errors
    /// If the study cannot be read, the report not be written, or the folder holds a report of something else.
    pub fn write_report(
        folder: &Path,
        place: &Place,
        study: &mut Study,
    ) -> Result<PathBuf, RunsError> {
        let own = place.folder() == Some(folder) || has_trials_of(folder, study.description());
        let home = place.folder().or(own.then_some(folder));
        let front = home.map(Self::read).transpose()?.unwrap_or_default();
        if !own {
            expect_report_of(study, folder)?;
        }
        Self::write_with(&front, folder, study)
    }

    /// Write a study's report into a folder, with what is known of its front.
    fn write_with(front: &[Self], folder: &Path, study: &mut Study) -> Result<PathBuf, RunsError> {
        let problem = study.problem();
        let metric = problem.measured().first().copied();
        let metric = metric.map(|index| problem.objectives()[index].name.clone());
        let metric = metric.unwrap_or_default();
        let known = front.iter().filter_map(|entry| {
            let figure = entry.report.as_ref()?.get(&metric)?.as_f64()?;
            Some((entry.trial, vec![format!("{figure:.4}")]))
        });
        let values: std::collections::BTreeMap<u64, Vec<String>> = known.collect();
        let columns = match values.is_empty() {
            true => Columns::default(),
            false => Columns {
                names: vec![format!("{metric} (report rows)")],
                values,
            },
        };
        let path = folder.join(REPORT);
        let page = study.to_html_with(&columns)?;
        std::fs::create_dir_all(folder).map_err(SearchError::file(folder, "make"))?;
        peft_format::atomic::write_atomic_bytes(&path, page.as_bytes())
            .map_err(peft_run::RunError::from)?;
        Ok(path)
    }
}

/// Refuse a folder whose report is not one of this study.
fn expect_report_of(study: &Study, folder: &Path) -> Result<(), RunsError> {
    let path = folder.join(REPORT);
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let page = peft_format::bounded::read(&path, "report of a study", LARGEST).unwrap_or_default();
    let page = String::from_utf8_lossy(&page);
    let title = page
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    // The page escapes some letters of names of files.
    let escaped = askama::filters::escape(&study.description().name, askama::filters::Html);
    let escaped = escaped.map_or(String::new(), |name| name.to_string());
    if title.is_some_and(|(title, _)| title == escaped) {
        return Ok(());
    }
    Err(RunsError::setting(
        path.display().to_string(),
        "it is no report of this search, and would be replaced",
        "choose another `output`",
    ))
}

/// Loss and metrics by name.
fn figures(evaluation: &Evaluation) -> Map<String, Value> {
    let loss = ("loss".to_owned(), Value::from(evaluation.loss));
    let rows = ("rows".to_owned(), Value::from(evaluation.rows));
    let metrics = evaluation.metrics.iter();
    let metrics = metrics.map(|(name, value)| (name.clone(), Value::from(*value)));
    [rows, loss].into_iter().chain(metrics).collect()
}

/// What scoring a front needs.
pub struct Scorer<'a> {
    pub folder: &'a Path,
    pub prepared: &'a Prepared,
    pub space: &'a dyn RunSpace,
    pub shared: &'a RunConfig,
    pub folders: &'a Folders,
    /// The rows that only report.
    pub rows: Option<&'a Path>,
}

impl Scorer<'_> {
    /// Score every trial on the front by the rows that only report, and write what came of it. Of trials whose adapter
    /// is not there, because they came from a cache, it is trained again, to the same bits.
    pub fn score(
        &self,
        study: &mut Study,
        view: &mut dyn View,
    ) -> Result<Vec<FrontEntry>, RunsError> {
        let _lock = self.lock()?;
        study.refresh()?;
        let before = FrontEntry::read(self.folder).unwrap_or_default();
        let problem = study.problem().clone();
        let front = study.history().front(&problem);
        let mut trials: Vec<&Trial> = front.into_iter().map(|(trial, _)| trial).collect();
        trials.sort_by(|a, b| {
            a.known[0]
                .total_cmp(&b.known[0])
                .then(a.number.cmp(&b.number))
        });
        let with_rows = match self.rows {
            None => None,
            Some(rows) => Some(Prepared::new(&RunConfig {
                eval_data: Some(rows.to_owned()),
                ..self.shared.clone()
            })?),
        };
        let report_of = with_rows.as_ref().map(Prepared::contents);
        let mut entries = Vec::with_capacity(trials.len());
        for trial in trials {
            let config = self.space.settings(self.shared, &trial.configuration)?;
            let adapter = self.adapter(trial, &config, view)?;
            // What was scored before holds as long as the rows are those.
            let same = |one: &&FrontEntry| one.trial == trial.number && one.report_of == report_of;
            let known = before.iter().find(same);
            let report = match (&with_rows, known.and_then(|one| one.report.clone())) {
                (None, _) => None,
                (Some(_), Some(known)) => Some(known),
                (Some(all), None) => all.report(&adapter)?.as_ref().map(figures),
            };
            let selection = match &trial.outcome {
                Some(Outcome::Complete { measured }) => measured[0],
                _ => f64::NAN,
            };
            entries.push(FrontEntry {
                trial: trial.number,
                values: trial.known[0],
                selection,
                report,
                report_of: report_of.clone(),
                configuration: words(problem.space(), &trial.configuration),
                settings: own_settings(&config, self.shared),
                adapter: adapter
                    .strip_prefix(self.folder)
                    .unwrap_or(&adapter)
                    .to_owned(),
            });
        }
        let text = serde_json::to_vec_pretty(&entries).unwrap_or_default();
        peft_format::atomic::write_atomic_bytes(&self.folder.join(FRONT), &text)
            .map_err(peft_run::RunError::from)?;
        FrontEntry::write_with(&entries, self.folder, study)?;
        Ok(entries)
    }

    /// The folder of a trial's adapter.
    fn adapter(
        &self,
        trial: &Trial,
        config: &RunConfig,
        view: &mut dyn View,
    ) -> Result<PathBuf, RunsError> {
        if let Some(folder) = self.folders.finished(trial.number) {
            return Ok(folder);
        }
        view.notice(&format!(
            "trial {} is on the front, and its adapter is not here: it is trained again",
            trial.number
        ));
        let output = self.folders.fresh(trial.number);
        let config = RunConfig {
            output,
            ..config.clone()
        };
        train_prepared(self.prepared, &config, &mut ())?;
        Ok(config.output)
    }

    /// One worker at a time.
    fn lock(&self) -> Result<File, RunsError> {
        let path = self.folder.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.map_err(SearchError::file(&path, "open"))?;
        file.lock().map_err(SearchError::file(&path, "lock"))?;
        Ok(file)
    }
}

/// Settings in which a trial differs from what all share.
fn own_settings(config: &RunConfig, shared: &RunConfig) -> Map<String, Value> {
    let map = |config: &RunConfig| match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (mut own, shared) = (map(config), map(shared));
    own.retain(|key, value| key == "method" || shared.get(key) != Some(value));
    own
}
