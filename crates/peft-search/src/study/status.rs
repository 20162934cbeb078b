//! How far a study is, and what it has found.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Study;
use super::budget::Spent;
use super::ledger::Timing;
use crate::{Goal, Outcome, SearchError, Trial};

/// A trial at work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Running {
    /// Its number.
    pub trial: u64,
    /// Who has it; nobody, where absent: it has not been given to a worker yet, or was given back.
    pub worker: Option<String>,
    /// Whether the worker is still at work.
    pub at_work: bool,
    /// The last resource it reported at.
    pub resource: Option<u32>,
    /// For how many seconds its worker has had it.
    pub seconds: f64,
}

/// How far a study is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Trials that ended with values.
    pub complete: usize,
    /// Trials stopped early.
    pub pruned: usize,
    /// Trials that failed.
    pub failed: usize,
    /// Trials that diverged.
    pub diverged: usize,
    /// Trials at work.
    pub running: Vec<Running>,
    /// Configurations in the queue.
    pub queued: usize,
    /// What was spent.
    pub spent: Spent,
    /// The hypervolume, on the objectives' scales.
    pub hypervolume: f64,
    /// Trials on the front.
    pub front: usize,
    /// Seconds until the budget is spent at the mean pace so far, with as many workers as now; none where there is no
    /// budget, or no pace yet.
    pub remaining: Option<f64>,
}

/// A bound on an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// The objective's index.
    pub objective: usize,
    /// The worst value allowed, in its own units.
    pub worst: f64,
}

impl Study {
    /// What it has spent by now.
    ///
    /// # Errors
    ///
    /// Those of the store, which is asked who is at work.
    pub fn spent(&self) -> Result<Spent, SearchError> {
        let (full, now, at_work) = (self.description.full, (self.clock)(), self.at_work()?);
        Ok(self
            .ledger
            .spent(full, now, |trial| at_work.contains(&trial)))
    }

    /// The importance of each parameter to each measured objective (see [`Bayes::importance`](crate::Bayes::importance));
    /// none before there are two results.
    ///
    /// # Errors
    ///
    /// [`SearchError::Fit`] where the model cannot be fitted.
    pub fn importance(&self) -> Result<Option<Vec<Vec<f64>>>, SearchError> {
        let model = crate::Bayes {
            knowledge: crate::Knowledge::Exact,
            ..self.description.settings.model()
        };
        model.importance(&self.problem, self.history(), self.description.seed)
    }

    /// How far it is, by what is in the store now.
    ///
    /// # Errors
    ///
    /// Those of the store and its entries.
    pub fn status(&mut self) -> Result<Status, SearchError> {
        self.refresh()?;
        self.standing()
    }

    /// How far it is, as of the last call that read the journal.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn standing(&self) -> Result<Status, SearchError> {
        let now = (self.clock)();
        let history = self.history();
        let count = |wanted: fn(&Outcome) -> bool| {
            let outcomes = history.trials().iter().filter_map(|t| t.outcome.as_ref());
            outcomes.filter(|outcome| wanted(outcome)).count()
        };
        let present = self.at_work()?;
        let running: Vec<Running> = history
            .running()
            .map(|trial| {
                let timing = self.timing(trial.number);
                let at_work = present.contains(&trial.number);
                Running {
                    trial: trial.number,
                    worker: timing.and_then(Timing::worker).map(str::to_owned),
                    at_work,
                    resource: trial.reports.last_key_value().map(|(last, _)| *last),
                    seconds: timing.map_or(0.0, |timing| timing.seconds(at_work.then_some(now))),
                }
            })
            .collect();
        let full = self.description.full;
        let spent = self
            .ledger
            .spent(full, now, |trial| present.contains(&trial));
        Ok(Status {
            complete: count(|outcome| matches!(outcome, Outcome::Complete { .. })),
            pruned: count(|outcome| matches!(outcome, Outcome::Pruned)),
            failed: count(|outcome| matches!(outcome, Outcome::Failed { .. })),
            diverged: count(|outcome| matches!(outcome, Outcome::Diverged { .. })),
            queued: history.queue().len(),
            hypervolume: self.volumes().last().copied().unwrap_or(0.0),
            front: history.front(&self.problem).len(),
            remaining: self.remaining(&spent, &running),
            running,
            spent,
        })
    }

    /// Running trials whose workers are at work.
    pub(super) fn at_work(&self) -> Result<BTreeSet<u64>, SearchError> {
        let mut present = BTreeSet::new();
        for trial in self.history().running() {
            if let Some(worker) = self.timing(trial.number).and_then(Timing::worker)
                && self.store.at_work(worker)?
            {
                present.insert(trial.number);
            }
        }
        Ok(present)
    }

    fn remaining(&self, spent: &Spent, running: &[Running]) -> Option<f64> {
        let budget = self.description.budget;
        let ended = spent.trials.saturating_sub(running.len() as u64);
        let under_way: f64 = running.iter().map(|running| running.seconds).sum();
        let pace = (spent.seconds - under_way) / ended as f64;
        if ended == 0 || !pace.is_finite() {
            return None;
        }
        let trials = budget
            .trials
            .map(|most| most.saturating_sub(ended) as f64 * pace);
        let resource = budget.resource.filter(|_| spent.resource > 0).map(|most| {
            let left = most.saturating_sub(spent.resource) as f64;
            left * (spent.seconds - under_way) / spent.resource as f64
        });
        let seconds = budget
            .seconds
            .map(|most| most - (spent.seconds - under_way));
        let work = [trials, resource, seconds].into_iter().flatten();
        let least = work.fold(f64::INFINITY, f64::min).max(0.0);
        let workers = running.iter().filter(|running| running.at_work).count();
        let left = (least - under_way.min(least)) / workers.max(1) as f64;
        least.is_finite().then_some(left)
    }

    /// As [`best`](Self::best), of the trials on the front: of equal ones the one that is better in the others.
    ///
    /// # Errors
    ///
    /// As [`best`](Self::best).
    pub fn best_on_front(
        &self,
        objective: usize,
        bounds: &[Bound],
    ) -> Result<Option<&Trial>, SearchError> {
        let Some(best) = self.best(objective, bounds)? else {
            return Ok(None);
        };
        let front = self.history().front(&self.problem);
        let scores = |trial: &Trial| match &trial.outcome {
            Some(Outcome::Complete { measured }) => self.problem.scores(&trial.known, measured),
            _ => Vec::new(),
        };
        let own = scores(best);
        let no_worse = |row: &[f64]| row.iter().zip(&own).all(|(new, old)| new >= old);
        let found = front.into_iter().find(|(_, row)| no_worse(row));
        Ok(found.map(|(trial, _)| trial))
    }

    /// The complete trial that is best in an objective, of those within all bounds; of equal ones the first.
    ///
    /// # Errors
    ///
    /// [`SearchError::Objectives`] of an objective that the problem does not have.
    pub fn best(&self, objective: usize, bounds: &[Bound]) -> Result<Option<&Trial>, SearchError> {
        let objectives = self.problem.objectives();
        let asked = bounds
            .iter()
            .map(|bound| bound.objective)
            .chain([objective]);
        if let Some(missing) = asked.into_iter().find(|index| *index >= objectives.len()) {
            return Err(SearchError::Objectives {
                reason: format!("there are {}, none of index {missing}", objectives.len()),
            });
        }
        let complete = self.history().complete(&self.problem);
        let within = |scores: &[f64]| {
            bounds.iter().all(|bound| {
                let value = objectives[bound.objective].value(scores[bound.objective]);
                // By values and not by scores: a bound on what is counted is met exactly, whatever the scale.
                let slack = 1e-12 * bound.worst.abs();
                match objectives[bound.objective].goal {
                    Goal::Minimise => value <= bound.worst + slack,
                    Goal::Maximise => value >= bound.worst - slack,
                }
            })
        };
        let mut best: Option<(&Trial, f64)> = None;
        for (trial, scores) in &complete {
            if within(scores) && best.is_none_or(|(_, score)| scores[objective] > score) {
                best = Some((trial, scores[objective]));
            }
        }
        Ok(best.map(|(trial, _)| trial))
    }
}
