//! A trial as a run.

use std::{cell::RefCell, collections::BTreeMap};

use peft_run::{
    Event, Metric, Prepared, Progress, RunConfig, RunError, RunFolder, TrainError, train_prepared,
};

use super::{RunSpace, RunsError, TrialCache, View, cache::Cached, folders::Folders};
use crate::study::{Assignment, Evaluate, Stopped, Watch, words};

/// Runs trials.
pub struct Runner<'a, 'v> {
    pub prepared: &'a Prepared,
    pub space: &'a dyn RunSpace,
    pub shared: &'a RunConfig,
    pub folders: &'a Folders,
    pub metric: &'a Metric,
    /// Whether the seconds of a step are measured, too.
    pub measures_time: bool,
    pub cache: Option<&'a TrialCache>,
    /// Passes of a full trial, where it reports after each.
    pub epochs: Option<u32>,
    pub view: &'a RefCell<&'v mut dyn View>,
    /// What went wrong that is no trial's fault: the worker ends with it.
    pub fatal: Option<RunsError>,
}

impl Evaluate for Runner<'_, '_> {
    fn evaluate(
        &mut self,
        assignment: &Assignment,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<f64>, Stopped> {
        let words = words(self.space.space(), &assignment.configuration);
        self.view.borrow_mut().begins(assignment.trial, &words);
        let config = self.space.settings(self.shared, &assignment.configuration);
        let mut config = config.map_err(|error| Stopped::Failed(error.to_string()))?;
        let digest = self.prepared.digest(&config);
        let all = 1 + usize::from(self.measures_time);
        let cached = self.cache.and_then(|cache| cache.get(&digest));
        // A study that measures more may have put it there, or one that measures less.
        if let Some(cached) = cached.filter(|cached| cached.measured.len() == all) {
            for (epoch, measured) in &cached.reports {
                watch.report(*epoch, measured)?;
            }
            return Ok(cached.measured);
        }
        config.output = self.folders.claim(assignment.trial, assignment.earlier);
        let mut reports = assignment.reports.clone();
        let measured = self.run(config, watch, &mut reports)?;
        if let Some(cache) = self.cache
            && measured.iter().all(|value| value.is_finite())
        {
            let cached = Cached {
                reports,
                measured: measured.clone(),
            };
            if let Err(error) = cache.put(&digest, &cached) {
                // The trial is done; that others cannot share it is not its fault.
                self.view.borrow_mut().notice(&error.to_string());
            }
        }
        Ok(measured)
    }
}

impl Runner<'_, '_> {
    /// Run, or go on with, the run of a trial.
    fn run(
        &mut self,
        mut config: RunConfig,
        watch: &mut Watch<'_>,
        reports: &mut BTreeMap<u32, Vec<f64>>,
    ) -> Result<Vec<f64>, Stopped> {
        config.resume = config.output.exists();
        let mut progress = Reporter {
            watch,
            metric: self.metric,
            seconds: self.measures_time.then(Vec::new),
            epochs: self.epochs,
            view: self.view,
            stopped: None,
            reports,
        };
        let mut result = train_prepared(self.prepared, &config, &mut progress);
        // What a worker left may be half of a folder, or another version's.
        if config.resume
            && progress.stopped.is_none()
            && matches!(&result, Err(error) if is_of_folder(error))
            // A full disk, or another process there, is told of the folder, too, and leaves what was done.
            && !(matches!(&result, Err(RunError::Output { .. }))
                && self.folders.has_work(&config.output))
        {
            if let Err(error) = self.folders.clear(&config.output) {
                return Err(self.give_up(error));
            }
            config.resume = false;
            result = train_prepared(self.prepared, &config, &mut progress);
        }
        let stopped = progress.stopped.take();
        let mut time = progress.step_time();
        // A run that a killed worker had brought to its end makes no more steps, but has the time of those it made.
        if let (Some(time), Ok(report)) = (&mut time, &result)
            && time.is_nan()
            && let Ok(run) = RunFolder::read(&config.output)
        {
            *time = run.train_time_s() / report.steps.max(1) as f64;
        }
        let measured = |value: f64| [value].into_iter().chain(time).collect();
        match (result, stopped) {
            (_, Some(stopped)) => Err(stopped),
            (Ok(report), None) => Ok(measured(self.metric.of(&report.selection))),
            (Err(error), None) => match error {
                RunError::Interrupted { .. } | RunError::InterruptedBefore { .. } => {
                    Err(Stopped::Interrupted)
                }
                // A value that is none says that training diverged.
                RunError::Train(TrainError::NotFinite { .. }) | RunError::NotFinite { .. } => {
                    Ok(measured(f64::NAN))
                }
                RunError::Train(_)
                | RunError::Adapter(_)
                | RunError::OfAdapter { .. }
                | RunError::Setting { .. }
                | RunError::Settings(_)
                | RunError::NotPrepared { .. }
                | RunError::NothingToLearn { .. } => Err(Stopped::Failed(error.to_string())),
                other => Err(self.give_up(other.into())),
            },
        }
    }

    /// Leave the trial as it is, for the next worker.
    fn give_up(&mut self, error: RunsError) -> Stopped {
        self.fatal = Some(error);
        Stopped::Hindered
    }
}

/// Whether an error is of what lies in the output folder.
fn is_of_folder(error: &RunError) -> bool {
    matches!(
        error,
        RunError::Changed { .. }
            | RunError::Output { .. }
            | RunError::File { .. }
            | RunError::Format(_)
    )
}

/// Tells a study what its trial has measured on the way.
struct Reporter<'a, 'w, 'v> {
    watch: &'a mut Watch<'w>,
    metric: &'a Metric,
    /// Of each step of this process, where they are measured.
    seconds: Option<Vec<f64>>,
    epochs: Option<u32>,
    view: &'a RefCell<&'v mut dyn View>,
    stopped: Option<Stopped>,
    reports: &'a mut BTreeMap<u32, Vec<f64>>,
}

impl Reporter<'_, '_, '_> {
    /// The median of the steps' seconds, where they are measured: of a trial that was at its end before, the last that was reported.
    fn step_time(&self) -> Option<f64> {
        let seconds = self.seconds.as_ref()?;
        let mut sorted = seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let reported = self.reports.values().next_back();
        let reported = reported.and_then(|measured| measured.get(1)).copied();
        let median = sorted.get(sorted.len() / 2).copied();
        Some(median.or(reported).unwrap_or(f64::NAN))
    }

    /// The best of this and earlier values: what would be kept if the trial ended here.
    fn best(&self, epoch: u32, value: f64) -> f64 {
        let earlier = self
            .reports
            .range(..epoch)
            .filter_map(|(_, values)| values.first());
        earlier.fold(value, |best, &other| match self.metric.less_is_better {
            _ if best.is_nan() => best,
            true => best.min(other),
            false => best.max(other),
        })
    }
}

impl Progress for Reporter<'_, '_, '_> {
    fn event(&mut self, event: &Event) {
        self.view.borrow_mut().event(event);
        if let (Event::Step { step_time_s, .. }, Some(seconds)) = (event, &mut self.seconds) {
            seconds.push(*step_time_s);
        }
        let Event::Eval {
            epoch,
            split: "selection",
            loss,
            metrics,
            ..
        } = event
        else {
            return;
        };
        let Some(most) = self.epochs.filter(|_| self.stopped.is_none()) else {
            return;
        };
        let value = match self.metric.name.as_str() {
            "loss" => *loss,
            name => metrics.get(name).copied().unwrap_or(f64::NAN),
        };
        let epoch = epoch.round().clamp(0.0, f64::from(most)) as u32;
        if epoch == 0 {
            return;
        }
        let measured: Vec<f64> = [self.best(epoch, value)]
            .into_iter()
            .chain(self.step_time())
            .collect();
        self.reports.insert(epoch, measured.clone());
        if let Err(stopped) = self.watch.report(epoch, &measured) {
            self.stopped = Some(stopped);
        }
    }

    fn notice(&mut self, text: &str) {
        self.view.borrow_mut().notice(text);
    }

    fn should_stop(&self) -> bool {
        self.stopped.is_some() || self.view.borrow().should_stop()
    }
}
