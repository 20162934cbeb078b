//! A study of runs: begun, joined, worked on, scored.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use peft_run::{Metric, Prepared, RunConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Cost, FrontEntry, RunSpace, RunsError, SearchConfig, SpaceChoice, TrialCache, View,
    differences::reconcile,
    folders::Folders,
    front::Scorer,
    owner::{expect_own, expect_vacant},
    posed::{name, problem, reference, space, within_metric},
    trial::Runner,
    view::Told,
};
use crate::study::{Description, Place, Study, Worked};
use crate::{Asha, Configuration, SearchError};

/// Passes over the data of a trial.
const MOST_EPOCHS: f64 = 1e6;

/// How often a worker that waits for others looks what they have done.
const PATIENCE: Duration = Duration::from_millis(500);

/// What trials depend on beside the study's own description, as that keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Context {
    /// The settings that trials share.
    run: RunConfig,
    /// Rows that only report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report_rows: Option<PathBuf>,
    /// What is searched.
    #[serde(flatten)]
    space: SpaceChoice,
    /// The metric.
    metric: String,
    /// A third objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// A digest of the contents of model and data.
    contents: String,
}

/// A study of runs, as one of its workers sees it, with the folder of its trials.
pub struct RunStudy {
    folder: PathBuf,
    study: Study,
    prepared: Prepared,
    space: Arc<dyn RunSpace>,
    shared: RunConfig,
    report_rows: Option<PathBuf>,
    metric: Metric,
    cost: Option<Cost>,
    cache: Option<TrialCache>,
}

impl RunStudy {
    /// Begin a study in the output folder of the settings, or where they keep it, or go on with the one that is there.
    /// Its budget may be another one than before; nothing else may.
    ///
    /// # Errors
    /// If a setting, the base or the data makes no sense, or the folder holds something else.
    pub fn begin(config: &SearchConfig, view: &mut dyn View) -> Result<Self, RunsError> {
        let folder = config.run.output.clone();
        if folder.as_os_str().is_empty() {
            return Err(RunsError::setting(
                "`output`",
                "not given",
                "give a folder to write",
            ));
        }
        if config.study.is_none() {
            expect_vacant(&folder)?;
        }
        let shared = config.shared();
        if shared.steps.is_none() && shared.epochs > MOST_EPOCHS {
            return Err(RunsError::setting(
                "`epochs`",
                format!("{} passes over the data come to no end", shared.epochs),
                format!("give at most {MOST_EPOCHS}"),
            ));
        }
        config.space.check(&shared)?;
        let prepared = Prepared::new(&shared)?;
        let report_rows = config.report_rows();
        if let Some(rows) = &report_rows {
            prepared.expect_readable(&shared, rows)?;
        }
        let metric = prepared.metric(&shared)?;
        let space = space(&config.space, &prepared, &shared, view)?;
        let epochs = SearchConfig::epochs(&shared);
        if epochs.is_none() && config.budget.resource.is_some() {
            return Err(RunsError::setting(
                "`total_epochs`",
                "trials are not measured after each pass over the data",
                "give whole `epochs` and no `steps`, or limit trials or time",
            ));
        }
        let worst = match config.reference {
            Some(worst) => within_metric(worst, &metric)?,
            None => reference(&prepared, &metric)?,
        };
        let problem = problem(&space, &metric, worst, config.cost, &shared, &prepared)?;
        let context = Context {
            run: shared.clone(),
            report_rows,
            space: config.space.clone(),
            metric: metric.name.clone(),
            cost: config.cost,
            contents: prepared.contents(),
        };
        let name = name(&shared, &config.space);
        let description = Description {
            full: epochs,
            pruning: epochs
                .filter(|all| config.pruning && *all > 1)
                .map(|most| Asha {
                    most,
                    ..Asha::default()
                }),
            budget: config.budget,
            attempts: config.attempts,
            context: match serde_json::to_value(&context) {
                Ok(Value::Object(map)) => map,
                _ => Map::new(),
            },
            ..Description::new(name, &problem, config.sampler.clone(), config.seed)?
        };
        let place = config.study.clone().unwrap_or(Place::from(&*folder));
        reconcile(&place, &folder, &description)?;
        let mut study = match &config.study {
            None => Study::begin(&folder, description, problem)?,
            Some(place) => {
                let study = place.begin(description, problem)?;
                expect_own(&folder, study.description())?;
                study
            }
        };
        for start in space.starts() {
            let history = study.history();
            if history.trials().is_empty() && !history.has(&start) {
                enqueue(&mut study, start)?;
            }
        }
        Ok(Self {
            folder,
            study,
            prepared,
            space,
            shared,
            report_rows: context.report_rows,
            metric,
            cost: config.cost,
            cache: config.cache.as_deref().map(TrialCache::new),
        })
    }

    /// Join a study that was begun in a folder, as a worker. Model and data are read from where they were then.
    ///
    /// # Errors
    /// If there is no study of runs in the folder, or model or data are others by now.
    pub fn join(
        folder: &Path,
        cache: Option<&Path>,
        view: &mut dyn View,
    ) -> Result<Self, RunsError> {
        Self::join_at(&Place::from(folder), folder, cache, view)
    }

    /// Join a study that was begun, as a worker whose trials are in `folder`. Model and data are read from where they
    /// were then.
    ///
    /// # Errors
    /// If there is no study of runs at the place, model or data are others by now, or the folder holds something else.
    pub fn join_at(
        place: &Place,
        folder: &Path,
        cache: Option<&Path>,
        view: &mut dyn View,
    ) -> Result<Self, RunsError> {
        let description = place.description()?;
        if place.folder() != Some(folder) {
            expect_own(folder, &description)?;
        }
        let context = Value::Object(description.context.clone());
        let context: Context = serde_json::from_value(context).map_err(|error| {
            RunsError::setting(
                place.to_string(),
                format!("its study is not one of runs: {error}"),
                "give the one that `peft search` began",
            )
        })?;
        let shared = context.run;
        let prepared = Prepared::new(&shared)?;
        if prepared.contents() != context.contents {
            return Err(RunsError::setting(
                place.to_string(),
                "its study was begun with other contents of the model or the data",
                "put back what was there, or begin another study",
            ));
        }
        let metric = prepared.metric(&shared)?;
        let space = space(&context.space, &prepared, &shared, view)?;
        let worst = description.reference.get(1).copied().unwrap_or(f64::NAN);
        let problem = problem(&space, &metric, worst, context.cost, &shared, &prepared)?;
        Ok(Self {
            study: place.open(problem)?,
            folder: folder.to_owned(),
            prepared,
            space,
            shared,
            report_rows: context.report_rows,
            metric,
            cost: context.cost,
            cache: cache.map(TrialCache::new),
        })
    }

    /// Keep what the frozen blocks below a trial's first adapted one come to, for later trials: see
    /// [`Prepared::keeping_hidden_states`].
    #[must_use]
    pub fn keeping_hidden_states(self, bytes: usize) -> Self {
        Self {
            prepared: self.prepared.keeping_hidden_states(bytes),
            ..self
        }
    }

    /// The study.
    pub fn study(&self) -> &Study {
        &self.study
    }

    /// The space.
    pub fn space(&self) -> &dyn RunSpace {
        self.space.as_ref()
    }

    /// The settings of a configuration's run.
    ///
    /// # Errors
    /// Those of [`RunSpace::settings`].
    pub fn settings(&self, configuration: &Configuration) -> Result<RunConfig, RunsError> {
        self.space.settings(&self.shared, configuration)
    }

    /// Run trials until there is nothing more to do, or `view` asks to stop.
    ///
    /// # Errors
    /// If the study cannot be written, or something goes wrong that is no trial's fault: the trial is left for the next
    /// worker.
    pub fn work(&mut self, view: &mut dyn View) -> Result<Worked, RunsError> {
        let folders = Folders::new(&self.folder);
        let mut told = Told::of(&self.study);
        let mut light = BTreeSet::new();
        let view = RefCell::new(view);
        let mut runner = Runner {
            prepared: &self.prepared,
            space: self.space.as_ref(),
            shared: &self.shared,
            folders: &folders,
            metric: &self.metric,
            measures_time: self.cost.is_some_and(Cost::is_measured),
            cache: self.cache.as_ref(),
            epochs: self.study.description().full,
            view: &view,
            fatal: None,
        };
        let mut proceed = |study: &Study| {
            told.tell(study, &mut **view.borrow_mut());
            lighten(study, &folders, &mut light);
            !view.borrow().should_stop()
        };
        let done = self.study.work(&mut runner, PATIENCE, &mut proceed);
        let fatal = runner.fatal.take();
        self.study.refresh()?;
        proceed(&self.study);
        match (done, fatal) {
            (_, Some(error)) => Err(error),
            (done, None) => Ok(done?),
        }
    }

    /// Score the front by the rows that only report, and write `front.json` and `report.html` into the study's folder.
    ///
    /// # Errors
    /// If the rows do not fit the model, or a file cannot be read or written.
    pub fn score(&mut self, view: &mut dyn View) -> Result<Vec<FrontEntry>, RunsError> {
        let folders = Folders::new(&self.folder);
        let scorer = Scorer {
            folder: &self.folder,
            prepared: &self.prepared,
            space: self.space.as_ref(),
            shared: &self.shared,
            folders: &folders,
            rows: self.report_rows.as_deref(),
        };
        scorer.score(&mut self.study, view)
    }
}

/// Forget what ended trials weigh that are not on the front: none of them ever comes to be there.
fn lighten(study: &Study, folders: &Folders, done: &mut BTreeSet<u64>) {
    let front = study.history().front(study.problem());
    let front: BTreeSet<u64> = front.iter().map(|(trial, _)| trial.number).collect();
    for trial in study.history().trials() {
        let number = trial.number;
        if trial.outcome.is_some() && !front.contains(&number) && done.insert(number) {
            folders.lighten(number);
        }
    }
}

/// Put a start in the queue, unless another worker that begins the study at the same moment does.
fn enqueue(study: &mut Study, start: Configuration) -> Result<(), SearchError> {
    let done = study.enqueue(start.clone());
    if done.is_err() {
        study.refresh()?;
    }
    match study.history().has(&start) {
        true => Ok(()),
        false => done,
    }
}
