//! The state that a journal's entries make.

use std::collections::BTreeMap;

use super::assignment::Assignment;
use super::budget::Spent;
use super::description::Description;
use super::journal::{CUT, Entry, Lease, Record, Release};
use crate::hypervolume::improvement;
use crate::{Event, Optimizer, Outcome, Problem, Search, SearchError, pareto};

/// When a trial was run, and by whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// When it was first given to a worker, in seconds since 1970.
    pub begun: f64,
    /// When it was last given to one.
    pub leased: f64,
    /// When its worker was last heard of: took it, reported of it, or gave it back.
    pub seen: f64,
    /// When it ended.
    pub ended: Option<f64>,
    /// How many workers it was given to.
    pub attempts: u32,
    /// How many of them gave it back, and were not lost with it.
    pub returned: u32,
    /// Whether the last of them gave it back: nobody has it.
    pub free: bool,
    /// Who has it, or had it last.
    pub lease: Lease,
}

impl Timing {
    /// Seconds that its last worker was at it: until `now`, where it still is, else as far as it was heard of.
    pub fn seconds(&self, now: Option<f64>) -> f64 {
        (self.ended.or(now).unwrap_or(self.seen) - self.leased).max(0.0)
    }

    /// Who has it, at work or lost.
    pub fn worker(&self) -> Option<&str> {
        (self.ended.is_none() && !self.free).then_some(&self.lease.worker)
    }
}

/// A search, its leases and its times: what the entries read so far come to.
pub(super) struct Ledger {
    search: Search,
    timings: BTreeMap<u64, Timing>,
    tokens: u64,
    /// Seconds that workers were at trials which others have taken over.
    lost: f64,
    reference: Vec<f64>,
    front: Vec<Vec<f64>>,
    volumes: Vec<f64>,
    idle: u64,
    added: Vec<Entry>,
    lines: u64,
}

impl Ledger {
    pub fn new(description: &Description, problem: &Problem) -> Self {
        let search = Search::new(
            problem.clone(),
            description.settings.clone(),
            description.seed,
        );
        let objectives = problem.objectives().iter();
        let reference = objectives
            .zip(&description.reference)
            .map(|(objective, value)| objective.score(*value))
            .collect();
        Self {
            search,
            timings: BTreeMap::new(),
            tokens: 0,
            lost: 0.0,
            reference,
            front: Vec::new(),
            volumes: Vec::new(),
            idle: 0,
            added: Vec::new(),
            lines: 0,
        }
    }

    pub fn search(&self) -> &Search {
        &self.search
    }

    pub fn timing(&self, trial: u64) -> Option<&Timing> {
        self.timings.get(&trial)
    }

    pub fn volumes(&self) -> &[f64] {
        &self.volumes
    }

    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How many entries made it.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Applies entries that are in the journal, which messages call so.
    pub fn take(&mut self, entries: Vec<Entry>, journal: &str) -> Result<(), SearchError> {
        for entry in entries {
            self.lines += 1;
            self.apply(entry).map_err(|error| SearchError::Journal {
                path: journal.to_owned(),
                line: self.lines,
                reason: match error {
                    // Of another model, as a rule: the line is good.
                    SearchError::Objectives { .. } => error.to_string(),
                    error => format!("{error}; {CUT}"),
                },
            })?;
        }
        Ok(())
    }

    /// Applies a record, to be appended to the journal.
    pub fn add(&mut self, at: f64, record: Record) -> Result<(), SearchError> {
        let search = matches!(record, Record::Search(_));
        let entry = Entry { at, record };
        self.apply(entry.clone())?;
        match self.search.events().last() {
            // As it was stored: a result that is not finite is one no more.
            Some(event) if search => self.added.push(Entry {
                at,
                record: Record::Search(event.clone()),
            }),
            _ => self.added.push(entry),
        }
        Ok(())
    }

    /// Asks the sampler for one trial, to be appended to the journal.
    pub fn propose(&mut self, at: f64) -> Result<u64, SearchError> {
        let proposals = self.search.ask(1)?;
        for event in self.search.events().iter().rev().take(proposals.len()) {
            let record = Record::Search(event.clone());
            self.added.push(Entry { at, record });
        }
        proposals
            .first()
            .map(|proposal| proposal.trial)
            .ok_or(SearchError::Exhausted {
                tried: self.search.history().trials().len(),
            })
    }

    /// What was added since the last call.
    pub fn added(&mut self) -> Vec<Entry> {
        self.lines += self.added.len() as u64;
        std::mem::take(&mut self.added)
    }

    fn apply(&mut self, entry: Entry) -> Result<(), SearchError> {
        match entry.record {
            Record::Search(event) => {
                let (mut told, mut reported) = (None, None);
                match &event {
                    Event::Told { trial, .. } => told = Some(*trial),
                    Event::Reported { trial, .. } => reported = Some(*trial),
                    _ => {}
                }
                if let Event::Told { trial, .. } | Event::Reported { trial, .. } = &event
                    && !self.timings.contains_key(trial)
                {
                    return Err(SearchError::Trial {
                        trial: *trial,
                        reason: "it has a result, but was not given to a worker".into(),
                    });
                }
                self.search.apply(event)?;
                if let Some(trial) = told {
                    self.end(trial, entry.at);
                }
                if let Some(timing) = reported.and_then(|trial| self.timings.get_mut(&trial)) {
                    timing.seen = timing.seen.max(entry.at);
                }
                Ok(())
            }
            Record::Lease(lease) => self.lease(entry.at, lease),
            Record::Released(release) => self.release(entry.at, &release),
        }
    }

    fn lease(&mut self, at: f64, lease: Lease) -> Result<(), SearchError> {
        let trial = lease.trial;
        let refuse = |reason: String| Err(SearchError::Trial { trial, reason });
        let index = usize::try_from(trial).ok();
        let found = index.and_then(|index| self.search.history().trials().get(index));
        if found.is_none_or(|found| found.outcome.is_some()) {
            return refuse("it is given to a worker, but is not running".into());
        }
        if lease.token != self.tokens {
            return refuse(format!(
                "its lease has token {}, but it is lease {} of the journal",
                lease.token, self.tokens
            ));
        }
        self.tokens += 1;
        match self.timings.get_mut(&trial) {
            Some(timing) => {
                self.lost += timing.seconds(None);
                (timing.leased, timing.seen, timing.free) = (at, at, false);
                timing.attempts = timing.attempts.saturating_add(1);
                timing.lease = lease;
            }
            None => {
                let timing = Timing {
                    begun: at,
                    leased: at,
                    seen: at,
                    ended: None,
                    attempts: 1,
                    returned: 0,
                    free: false,
                    lease,
                };
                self.timings.insert(trial, timing);
            }
        }
        Ok(())
    }

    fn release(&mut self, at: f64, release: &Release) -> Result<(), SearchError> {
        let trial = release.trial;
        let timing = self
            .timings
            .get_mut(&trial)
            .filter(|timing| timing.worker().is_some() && timing.lease.token == release.token);
        let timing = timing.ok_or_else(|| SearchError::Trial {
            trial,
            reason: "it is given back by a worker that does not have it".into(),
        })?;
        timing.seen = timing.seen.max(at);
        timing.free = true;
        timing.returned += u32::from(!release.lost);
        Ok(())
    }

    fn end(&mut self, trial: u64, at: f64) {
        if let Some(timing) = self.timings.get_mut(&trial) {
            timing.ended = Some(at);
        }
        let index = usize::try_from(trial).unwrap_or(usize::MAX);
        let mut volume = self.volumes.last().copied().unwrap_or(0.0);
        let mut grown = false;
        if let Some(found) = self.search.history().trials().get(index)
            && let Some(Outcome::Complete { measured }) = &found.outcome
        {
            let row = self.search.problem().scores(&found.known, measured);
            let gain = improvement(&self.front, &self.reference, &row);
            grown = gain > 0.0;
            volume += gain;
            self.front.push(row);
            let kept = pareto::front(&self.front);
            self.front = kept
                .into_iter()
                .map(|index| std::mem::take(&mut self.front[index]))
                .collect();
        }
        self.idle = if grown { 0 } else { self.idle + 1 };
        self.volumes.push(volume);
    }

    /// Checks that an assignment is still the last one of a running trial.
    pub fn check(&self, assignment: &Assignment) -> Result<(), SearchError> {
        let trial = assignment.trial;
        let own = |timing: &Timing| timing.lease.token == assignment.token;
        match self.timings.get(&trial) {
            Some(timing) if own(timing) && timing.worker().is_some() => Ok(()),
            Some(timing) if own(timing) && timing.ended.is_none() => Err(SearchError::Trial {
                trial,
                reason: "this worker gave it back: ask for it again".into(),
            }),
            Some(timing) => Err(SearchError::Lost {
                trial,
                by: timing.lease.worker.clone(),
            }),
            None => Err(SearchError::Trial {
                trial,
                reason: "it was not given to a worker".into(),
            }),
        }
    }

    /// The last resource that a trial reported at.
    pub fn last_report(&self, trial: u64) -> Option<u32> {
        let index = usize::try_from(trial).ok()?;
        let found = self.search.history().trials().get(index)?;
        found
            .reports
            .last_key_value()
            .map(|(resource, _)| *resource)
    }

    /// What has been spent by `now`, where workers are still at the trials that `at_work` names.
    pub fn spent(&self, full: Option<u32>, now: f64, at_work: impl Fn(u64) -> bool) -> Spent {
        let mut spent = Spent {
            seconds: self.lost,
            idle: self.idle,
            ..Spent::default()
        };
        let full = u64::from(full.unwrap_or(0));
        for trial in self.search.history().trials() {
            spent.trials += 1;
            let last = trial.reports.last_key_value();
            let last = last.map(|(resource, _)| u64::from(*resource));
            match &trial.outcome {
                None => spent.reserved += last.unwrap_or(0).max(full),
                Some(Outcome::Complete { .. }) => spent.resource += last.unwrap_or(full),
                Some(_) => spent.resource += last.unwrap_or(0),
            }
            let now = at_work(trial.number).then_some(now);
            spent.seconds += self.timing(trial.number).map_or(0.0, |t| t.seconds(now));
        }
        spent
    }
}
