//! A study: a search that outlives its process, and that several workers share.
//!
//! * [`Description`]: what it was begun with. [`Entry`]: a line of its journal, which is all of its state.
//! * [`Store`]: where the journal is kept, alone for one at a time: [`FolderStore`] keeps it in a folder, and, with the
//!   feature `postgres`, `PostgresStore` in a database. A [`Place`] is either, as a user writes it.
//! * [`Study`]: ask, report, tell. A worker killed at any point leaves a journal from which the next one goes on: the
//!   same proposals in the same order, so that with one worker and a deterministic objective the run is the same. The
//!   trials of lost workers are given to others; each has exactly one result.
//! * [`Study::work`]: the loop of a worker around an [`Evaluate`].

mod assignment;
mod beat;
mod budget;
mod copy;
mod description;
mod folder;
mod journal;
mod ledger;
mod names;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
mod report;
mod status;
mod store;
mod work;

use std::path::Path;

pub use assignment::{Assignment, Ending, Next};
pub use budget::{Budget, Limit, Spent};
pub use description::{DESCRIPTION, Description};
pub use folder::{FolderStore, JOURNAL};
pub use journal::{Entry, Lease, Record, Release};
pub use ledger::Timing;
pub use place::Place;
#[cfg(feature = "postgres")]
pub use postgres::{Address, PostgresStore};
pub use report::{Columns, words};
pub use status::{Bound, Running, Status};
pub use store::{Change, Describe, Made, Presence, Store};
pub use work::{Evaluate, Stopped, Watch, Worked};

use self::ledger::Ledger;
use crate::{Configuration, Decision, Event, History, Optimizer, Outcome, Problem, SearchError};

/// A study, as one of its workers or readers sees it.
pub struct Study {
    description: Description,
    problem: Problem,
    store: Box<dyn Store>,
    ledger: Ledger,
    clock: fn() -> f64,
    /// Whether the ledger holds what the store does not: everything is read again then.
    stale: bool,
}

/// The description of a study that must be there.
fn described(store: &mut dyn Store) -> Result<Description, SearchError> {
    store.description()?.ok_or_else(|| SearchError::Study {
        reason: format!(
            "there is none at `{}`: look at the name, or begin one there",
            store.place()
        ),
    })
}

/// How often a change is made again that others overtook while the way to the store was lost.
const AGAIN: usize = 8;

/// Seconds since 1970.
fn now() -> f64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0.0, |since| since.as_secs_f64())
}

impl Study {
    /// The study in a folder: begun there with this description, or gone on with where there is one already.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where the one that is there differs in more than its budget; [`SearchError::Feature`] where
    /// this build has not all that its settings name; its journal's errors.
    pub fn begin(
        folder: &Path,
        description: Description,
        problem: Problem,
    ) -> Result<Self, SearchError> {
        description.check()?;
        description.settings.check()?;
        let store = FolderStore::new(folder)?;
        Self::begin_in(Box::new(store), description, problem)
    }

    /// As [`begin`](Self::begin), in any store.
    ///
    /// # Errors
    ///
    /// Those of [`begin`](Self::begin), and the store's.
    pub fn begin_in(
        mut store: Box<dyn Store>,
        description: Description,
        problem: Problem,
    ) -> Result<Self, SearchError> {
        description.check()?;
        description.settings.check()?;
        let place = store.place();
        store.describe(&mut |there| {
            let Some(there) = there else {
                return Ok(Some(description.clone()));
            };
            let differences = there.differences(&description);
            if !differences.is_empty() {
                return Err(SearchError::Study {
                    reason: format!(
                        "`{place}` holds another one: {}; continue with the settings it was begun with, or choose another \
                         place",
                        differences.join("; ")
                    ),
                });
            }
            Ok((there.budget != description.budget).then(|| description.clone()))
        })?;
        Self::new(description, problem, store)
    }

    /// A study that is there, with the function of its known objectives: what a worker opens.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where there is none, or `problem` is another one's; its journal's errors.
    pub fn open(folder: &Path, problem: Problem) -> Result<Self, SearchError> {
        let description = Description::read(folder)?;
        Self::new(description, problem, Box::new(FolderStore::new(folder)?))
    }

    /// As [`open`](Self::open), in any store.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and the store's.
    pub fn open_in(mut store: Box<dyn Store>, problem: Problem) -> Result<Self, SearchError> {
        let description = described(&mut *store)?;
        Self::new(description, problem, store)
    }

    /// A study that is there, to look at: known values are those of the journal, and nothing new can be proposed where
    /// there are known objectives.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn look(folder: &Path) -> Result<Self, SearchError> {
        let problem = Description::read(folder)?.problem()?;
        Self::open(folder, problem)
    }

    /// As [`look`](Self::look), in any store.
    ///
    /// # Errors
    ///
    /// Those of [`look`](Self::look), and the store's.
    pub fn look_in(mut store: Box<dyn Store>) -> Result<Self, SearchError> {
        let description = described(&mut *store)?;
        let problem = description.problem()?;
        Self::new(description, problem, store)
    }

    /// A study in any store.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where `problem` is not that of the description; [`SearchError::File`] where its journal was
    /// lost and its trials are there; the store's errors.
    pub fn new(
        description: Description,
        problem: Problem,
        store: Box<dyn Store>,
    ) -> Result<Self, SearchError> {
        description.check()?;
        let problem = problem.with_policy(description.policy);
        let same = *problem.space() == description.space
            && problem.objectives() == description.objectives
            && problem
                .reference()
                .is_none_or(|given| *given == *description.reference);
        if !same {
            return Err(SearchError::Study {
                reason: "its space, objectives or reference are not those that it was begun with: continue with the \
                         settings it was begun with"
                    .into(),
            });
        }
        let ledger = Ledger::new(&description, &problem);
        let (clock, stale) = (now as fn() -> f64, false);
        let mut study = Self {
            description,
            problem,
            store,
            ledger,
            clock,
            stale,
        };
        // Looked at first: who makes a trial's folder has written of it before.
        let remains = study.store.remains();
        study.refresh()?;
        match remains {
            Some(remains) if study.ledger.lines() == 0 => Err(SearchError::File {
                path: study.store.journal(),
                action: "go on with it",
                reason: format!(
                    "it is missing or empty, but {remains} is there, of trials that it told of: put the journal back, \
                     or move the folder away to begin with the first trial"
                ),
            }),
            _ => Ok(study),
        }
    }

    /// Takes the time from elsewhere, for journals that must not depend on it.
    pub fn with_clock(mut self, clock: fn() -> f64) -> Self {
        self.clock = clock;
        self
    }

    /// What it was begun with.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Its trials, as of the last call that read the journal.
    pub fn history(&self) -> &History {
        self.ledger.search().history()
    }

    /// The events of its search, as of the last call that read the journal.
    pub fn events(&self) -> &[Event] {
        self.ledger.search().events()
    }

    /// When trials were run and by whom, by number.
    pub fn timing(&self, trial: u64) -> Option<&Timing> {
        self.ledger.timing(trial)
    }

    /// The hypervolume above the reference, on the objectives' scales, after each ended trial in the order they ended.
    pub fn volumes(&self) -> &[f64] {
        self.ledger.volumes()
    }

    /// Reads what others wrote.
    ///
    /// # Errors
    ///
    /// Those of the store and of its entries.
    pub fn refresh(&mut self) -> Result<(), SearchError> {
        self.renew();
        let journal = self.store.journal();
        let taken = self
            .store
            .read()
            .and_then(|entries| self.ledger.take(entries, &journal));
        self.stale = taken.is_err();
        taken
    }

    fn renew(&mut self) {
        if self.stale {
            self.store.rewind();
            self.ledger = Ledger::new(&self.description, &self.problem);
            self.stale = false;
        }
    }

    /// A change of the study, alone: on what everybody else has written, and durable.
    fn change<T>(
        &mut self,
        mut change: impl FnMut(&mut Ledger, &dyn Presence, f64) -> Result<T, SearchError>,
    ) -> Result<T, SearchError> {
        let journal = self.store.journal();
        for _ in 0..AGAIN {
            self.renew();
            let (ledger, at) = (&mut self.ledger, (self.clock)());
            let mut result = None;
            let done = self.store.alone(&mut |entries, presence| {
                ledger.take(entries, &journal)?;
                result = Some(change(ledger, presence, at)?);
                Ok(ledger.added())
            });
            // What was applied but not written must not stay.
            self.stale = !matches!(done, Ok(Made::Appended));
            if done? == Made::Appended {
                return result.ok_or_else(|| SearchError::Study {
                    reason: "its store did not make the change".into(),
                });
            }
        }
        Err(SearchError::Study {
            reason: format!(
                "the way to `{}` was lost {AGAIN} times in a row, and others wrote meanwhile: start this worker \
                 again where the connection is stable",
                self.store.place()
            ),
        })
    }

    /// Puts a configuration in the queue: it is the next one tried.
    ///
    /// # Errors
    ///
    /// [`SearchError::Configuration`] of one outside the space, or proposed or waiting already; the store's.
    pub fn enqueue(&mut self, configuration: Configuration) -> Result<(), SearchError> {
        self.change(|ledger, _, at| {
            let configuration = configuration.clone();
            ledger.add(at, Record::Search(Event::Enqueued { configuration }))
        })
    }

    /// The next trial for this worker: one that a lost worker left, or a new one.
    ///
    /// # Errors
    ///
    /// Those of the sampler, the store and its entries.
    pub fn ask(&mut self) -> Result<Next, SearchError> {
        let worker = self.store.join()?;
        let description = self.description.clone();
        self.change(|ledger, presence, at| {
            assignment::next(ledger, &description, presence, &worker, at)
        })
    }

    /// Values of the measured objectives on the way, at `resource` units, and whether to go on. A resource that was
    /// reported before (the trial was taken over, and begun again) changes nothing.
    ///
    /// # Errors
    ///
    /// [`SearchError::Lost`] where the trial was given to another worker or has ended; the store's.
    pub fn report(
        &mut self,
        assignment: &Assignment,
        resource: u32,
        measured: &[f64],
    ) -> Result<Decision, SearchError> {
        let trial = assignment.trial;
        let description = self.description.clone();
        self.change(|ledger, _, at| {
            ledger.check(assignment)?;
            let last = ledger.last_report(trial);
            if last.is_none_or(|last| last < resource) {
                let measured = measured.to_vec();
                let reported = Event::Reported {
                    trial,
                    resource,
                    measured,
                };
                ledger.add(at, Record::Search(reported))?;
            } else if last > Some(resource) {
                return Ok(Decision::Continue);
            }
            match assignment::overdue(ledger, &description, trial)? {
                Some(_) => Ok(Decision::Stop),
                None => Ok(Decision::Continue),
            }
        })
    }

    /// How an assigned trial ended; of a long reason the beginning.
    ///
    /// # Errors
    ///
    /// [`SearchError::Lost`] where the trial was given to another worker or has ended; [`SearchError::Trial`] of another
    /// number of values; the store's.
    pub fn tell(&mut self, assignment: &Assignment, outcome: Outcome) -> Result<(), SearchError> {
        let trial = assignment.trial;
        let outcome = outcome.shortened();
        self.change(|ledger, _, at| {
            ledger.check(assignment)?;
            let outcome = outcome.clone();
            ledger.add(at, Record::Search(Event::Told { trial, outcome }))
        })
    }
}
