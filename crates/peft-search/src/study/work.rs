//! The loop of a worker.

use std::time::Duration;

use super::Study;
use super::assignment::{Assignment, Ending, Next};
use super::journal::{Record, Release};
use crate::{Decision, Outcome, SearchError};

/// Why a trial does not run to its end.
#[derive(Debug, Clone, PartialEq)]
pub enum Stopped {
    /// The study has seen enough of it.
    Pruned,
    /// It failed, for this reason.
    Failed(String),
    /// This worker stops: the trial is left as it is, and the next worker goes on with it.
    Interrupted,
    /// As [`Interrupted`](Self::Interrupted), by what may happen to the next worker, too: enough of them, and the trial
    /// has failed.
    Hindered,
    /// The study cannot be written, or the trial was given to another worker.
    Study(SearchError),
}

impl From<SearchError> for Stopped {
    fn from(error: SearchError) -> Self {
        Self::Study(error)
    }
}

/// What runs trials.
pub trait Evaluate {
    /// Runs a trial, and returns the measured objectives in their order and own units. Reports on the way through
    /// `watch`, whose answer `?` passes on. A trial that other workers had before ([`Assignment::earlier`]) may go on
    /// from what they left on the disk, or begin again.
    ///
    /// # Errors
    ///
    /// [`Stopped`] where it does not come to an end.
    fn evaluate(
        &mut self,
        assignment: &Assignment,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<f64>, Stopped>;
}

impl<F> Evaluate for F
where
    F: FnMut(&Assignment, &mut Watch<'_>) -> Result<Vec<f64>, Stopped>,
{
    fn evaluate(
        &mut self,
        assignment: &Assignment,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<f64>, Stopped> {
        self(assignment, watch)
    }
}

/// A running trial's way to report.
pub struct Watch<'a> {
    study: &'a mut Study,
    assignment: &'a Assignment,
}

impl Watch<'_> {
    /// Records the measured objectives at `resource` units.
    ///
    /// # Errors
    ///
    /// [`Stopped::Pruned`] where the study has seen enough; [`Stopped::Study`] where it cannot be written, or the trial
    /// is another worker's by now.
    pub fn report(&mut self, resource: u32, measured: &[f64]) -> Result<(), Stopped> {
        match self.study.report(self.assignment, resource, measured)? {
            Decision::Continue => Ok(()),
            Decision::Stop => Err(Stopped::Pruned),
        }
    }

    /// The study, as of the last report.
    pub fn study(&self) -> &Study {
        self.study
    }
}

/// How a worker's loop ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Worked {
    /// There is nothing more to do.
    Ended(Ending),
    /// It was interrupted, within a trial or between two.
    Interrupted,
}

impl Study {
    /// Runs trials until there is nothing more to do, `evaluate` is interrupted, or `proceed` says no; it is called
    /// before every trial and, every `patience`, while only others are at work.
    ///
    /// # Errors
    ///
    /// Those of the sampler and the store. A trial that was given to another worker is none: the loop goes on with the
    /// next.
    pub fn work(
        &mut self,
        evaluate: &mut dyn Evaluate,
        patience: Duration,
        proceed: &mut dyn FnMut(&Study) -> bool,
    ) -> Result<Worked, SearchError> {
        loop {
            if !proceed(self) {
                return Ok(Worked::Interrupted);
            }
            let assignment = match self.ask()? {
                Next::Run(assignment) => assignment,
                Next::Wait => {
                    std::thread::sleep(patience);
                    continue;
                }
                Next::End(ending) => return Ok(Worked::Ended(ending)),
            };
            let mut watch = Watch {
                study: self,
                assignment: &assignment,
            };
            let outcome = match evaluate.evaluate(&assignment, &mut watch) {
                Ok(measured) => Outcome::Complete { measured },
                Err(Stopped::Pruned) => self.stopped(&assignment)?,
                Err(Stopped::Failed(reason)) => Outcome::Failed { reason },
                Err(stopped @ (Stopped::Interrupted | Stopped::Hindered)) => {
                    // Where this cannot be written, the worker is taken for lost as soon as it has ended.
                    let _ = self.release(&assignment, stopped == Stopped::Hindered);
                    return Ok(Worked::Interrupted);
                }
                Err(Stopped::Study(SearchError::Lost { .. })) => continue,
                Err(Stopped::Study(error)) => return Err(error),
            };
            match self.tell(&assignment, outcome) {
                Ok(()) | Err(SearchError::Lost { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives an assigned trial back: it is free at once, and the next worker goes on with it. It counts as one that has
    /// lost a worker where `lost` says so.
    ///
    /// # Errors
    ///
    /// [`SearchError::Lost`] where the trial was given to another worker or has ended; the store's.
    pub fn release(&mut self, assignment: &Assignment, lost: bool) -> Result<(), SearchError> {
        let (trial, token) = (assignment.trial, assignment.token);
        self.change(|ledger, _, at| {
            ledger.check(assignment)?;
            ledger.add(at, Record::Released(Release { trial, token, lost }))
        })
    }

    /// What a stopped trial is told as: pruned, or diverged where its last report is not finite.
    fn stopped(&self, assignment: &Assignment) -> Result<Outcome, SearchError> {
        let overdue =
            super::assignment::overdue(&self.ledger, &self.description, assignment.trial)?;
        Ok(overdue.unwrap_or(Outcome::Pruned))
    }
}
