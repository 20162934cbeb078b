//! Ask and tell.

use serde::{Deserialize, Serialize};

use crate::{Configuration, Event, History, Origin, Outcome, Problem, SearchError};

/// A configuration to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The trial's number.
    pub trial: u64,
    /// What to try.
    pub configuration: Configuration,
    /// Why.
    pub origin: Origin,
}

/// A rule that chooses what to try next: a function of the problem, the history and the seed, with nothing kept
/// between calls, so that whoever reads the same journal chooses the same.
pub trait Sampler: Send + Sync {
    /// Its name in files and reports.
    fn name(&self) -> &'static str;

    /// Up to `count` configurations that the history does not have, all different; fewer where the space has no more.
    ///
    /// # Errors
    ///
    /// [`SearchError`] where a model cannot be fitted, or the known objectives have no finite value.
    fn propose(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
        count: usize,
    ) -> Result<Vec<(Configuration, Origin)>, SearchError>;
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn propose(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
        count: usize,
    ) -> Result<Vec<(Configuration, Origin)>, SearchError> {
        (**self).propose(problem, history, seed, count)
    }
}

/// Any search by asking for trials and telling their outcomes, in any order and from any number of workers.
pub trait Optimizer {
    /// Up to `count` trials to run, numbered; those still running count as pending from now on.
    ///
    /// # Errors
    ///
    /// [`SearchError::Exhausted`] where nothing is left to try; the sampler's errors.
    fn ask(&mut self, count: usize) -> Result<Vec<Proposal>, SearchError>;

    /// Values of the measured objectives on the way, at `resource` units.
    ///
    /// # Errors
    ///
    /// [`SearchError::Trial`] of a trial that is not running, or a resource not past the last one.
    fn report(&mut self, trial: u64, resource: u32, measured: Vec<f64>) -> Result<(), SearchError>;

    /// How a running trial ended.
    ///
    /// # Errors
    ///
    /// [`SearchError::Trial`] of a trial that is not running, or another number of values.
    fn tell(&mut self, trial: u64, outcome: Outcome) -> Result<(), SearchError>;

    /// Everything so far.
    fn history(&self) -> &History;
}

/// A [`Sampler`] at work on a [`Problem`], with the events that bring it back.
///
/// A journal of the events in order is its whole state: [`Search::replay`] over them is equal to the search that
/// made them, and proposes the same.
pub struct Search {
    problem: Problem,
    sampler: Box<dyn Sampler>,
    seed: u64,
    history: History,
    events: Vec<Event>,
}

impl Search {
    /// A search with nothing tried yet.
    pub fn new(problem: Problem, sampler: impl Sampler + 'static, seed: u64) -> Self {
        let (history, events) = (History::default(), Vec::new());
        Self {
            problem,
            sampler: Box::new(sampler),
            seed,
            history,
            events,
        }
    }

    /// The search that events made.
    ///
    /// # Errors
    ///
    /// [`SearchError`] of the first event that does not fit (see [`History::apply`]).
    pub fn replay(
        problem: Problem,
        sampler: impl Sampler + 'static,
        seed: u64,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Self, SearchError> {
        let mut search = Self::new(problem, sampler, seed);
        for event in events {
            search.apply(event)?;
        }
        Ok(search)
    }

    pub(crate) fn apply(&mut self, event: Event) -> Result<(), SearchError> {
        let event = self.history.apply(&self.problem, event)?;
        self.events.push(event);
        Ok(())
    }

    /// Puts a configuration in the queue: it is proposed before anything the sampler chooses.
    ///
    /// # Errors
    ///
    /// [`SearchError::Configuration`] of one outside the space, or proposed or waiting already.
    pub fn enqueue(&mut self, configuration: Configuration) -> Result<(), SearchError> {
        self.apply(Event::Enqueued { configuration })
    }

    /// The events so far, for a journal: whoever wrote the first `n` appends the rest.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl Optimizer for Search {
    fn ask(&mut self, count: usize) -> Result<Vec<Proposal>, SearchError> {
        let waiting = self.history.queue().iter().take(count).cloned();
        let mut chosen: Vec<_> = waiting.map(|waiting| (waiting, Origin::Enqueued)).collect();
        let first = self.history.trials().len() as u64;
        let mut proposals = Vec::with_capacity(count);
        let enqueued = chosen.len();
        for round in 0..2 {
            for (configuration, origin) in chosen.drain(..) {
                let trial = first + proposals.len() as u64;
                self.apply(Event::Asked {
                    trial,
                    configuration: configuration.clone(),
                    origin,
                    known: self.problem.known(&configuration)?,
                })?;
                proposals.push(Proposal {
                    trial,
                    configuration,
                    origin,
                });
            }
            if round == 0 && enqueued < count {
                let left = count - enqueued;
                chosen = self
                    .sampler
                    .propose(&self.problem, &self.history, self.seed, left)?;
            }
        }
        if proposals.is_empty() && count > 0 {
            return Err(SearchError::Exhausted {
                tried: self.history.trials().len(),
            });
        }
        Ok(proposals)
    }

    fn report(&mut self, trial: u64, resource: u32, measured: Vec<f64>) -> Result<(), SearchError> {
        self.apply(Event::Reported {
            trial,
            resource,
            measured,
        })
    }

    fn tell(&mut self, trial: u64, outcome: Outcome) -> Result<(), SearchError> {
        self.apply(Event::Told { trial, outcome })
    }

    fn history(&self) -> &History {
        &self.history
    }
}
