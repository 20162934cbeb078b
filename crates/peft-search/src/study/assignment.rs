//! Which trial a worker gets next.

use std::collections::BTreeMap;

use super::budget::Limit;
use super::description::Description;
use super::journal::{Lease, Record};
use super::ledger::{Ledger, Timing};
use super::store::Presence;
use crate::{Configuration, Decision, Event, Optimizer, Outcome, SearchError, Treatment, Trial};

/// A trial that a worker has been given.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The trial's number.
    pub trial: u64,
    /// What to try.
    pub configuration: Configuration,
    /// How many workers had it before, and were lost or stopped: what they left can be gone on with.
    pub earlier: u32,
    /// What they reported.
    pub reports: BTreeMap<u32, Vec<f64>>,
    pub(super) token: u64,
}

/// Why there is nothing more to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// A part of the budget is spent.
    Spent(Limit),
    /// Every configuration has been tried.
    Exhausted,
    /// A trial ended without values, and the policy is to halt then.
    Halted {
        /// The trial's number.
        trial: u64,
        /// Why it has no values.
        reason: String,
    },
}

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Run this.
    Run(Assignment),
    /// Ask again later: nothing new is to be begun, but others are at work, and may be lost.
    Wait,
    /// Nothing.
    End(Ending),
}

/// How a running trial must end by its last report, where it must.
pub(super) fn overdue(
    ledger: &Ledger,
    description: &Description,
    trial: u64,
) -> Result<Option<Outcome>, SearchError> {
    let Some(asha) = &description.pruning else {
        return Ok(None);
    };
    let search = ledger.search();
    let (problem, history) = (search.problem(), search.history());
    if asha.decide(problem, history, trial, description.seed)? == Decision::Continue {
        return Ok(None);
    }
    let found = history.trials().iter().find(|found| found.number == trial);
    let last = found.and_then(|found| Some((found, found.reports.last_key_value()?)));
    let strange = last.is_some_and(|(found, (_, values))| {
        let scores = problem.scores(&found.known, values);
        scores.iter().any(|score| !score.is_finite())
    });
    Ok(Some(match last {
        Some((_, (resource, values))) if strange => Outcome::Diverged {
            reason: format!("at {resource} it had {values:?}, not finite on its scale"),
        },
        _ => Outcome::Pruned,
    }))
}

/// The first trial that halts the study.
fn halted(ledger: &Ledger) -> Option<Ending> {
    let search = ledger.search();
    let policy = search.problem().policy();
    let halts = |trial: &&Trial| {
        let outcome = trial.outcome.as_ref();
        outcome.is_some_and(|outcome| policy.of(outcome) == Some(Treatment::Halt))
    };
    let trial = search.history().trials().iter().find(halts)?;
    match &trial.outcome {
        Some(Outcome::Failed { reason } | Outcome::Diverged { reason }) => Some(Ending::Halted {
            trial: trial.number,
            reason: reason.clone(),
        }),
        _ => None,
    }
}

fn assign(ledger: &mut Ledger, trial: u64, worker: &str, at: f64) -> Result<Next, SearchError> {
    let earlier = ledger.timing(trial).map_or(0, |timing| timing.attempts);
    let token = ledger.tokens();
    let lease = Lease {
        trial,
        worker: worker.to_owned(),
        token,
    };
    ledger.add(at, Record::Lease(lease))?;
    let index = usize::try_from(trial).unwrap_or(usize::MAX);
    let found = ledger.search().history().trials().get(index);
    let found = found.ok_or_else(|| SearchError::Trial {
        trial,
        reason: "there is no trial of this number".into(),
    })?;
    Ok(Next::Run(Assignment {
        trial,
        configuration: found.configuration.clone(),
        earlier,
        reports: found.reports.clone(),
        token,
    }))
}

/// What `worker` is to do: lost trials first, so that what was spent on them is not lost too.
pub(super) fn next(
    ledger: &mut Ledger,
    description: &Description,
    presence: &dyn Presence,
    worker: &str,
    at: f64,
) -> Result<Next, SearchError> {
    let running: Vec<u64> = ledger
        .search()
        .history()
        .running()
        .map(|t| t.number)
        .collect();
    let mut others = false;
    for trial in running {
        let timing = ledger.timing(trial);
        let lost = timing.map_or(0, |timing| timing.attempts - timing.returned);
        let seen = timing.map_or(at, |timing| timing.seen);
        if let Some(holder) = timing.and_then(Timing::worker)
            && (holder == worker || presence.at_work(holder)?)
        {
            others = true;
            continue;
        }
        let outcome = match overdue(ledger, description, trial)? {
            Some(outcome) => outcome,
            None if lost < description.attempts => {
                return assign(ledger, trial, worker, at);
            }
            None => Outcome::Failed {
                reason: format!("{lost} workers were lost with it"),
            },
        };
        // It ended with its worker: nobody has been at it since.
        ledger.add(seen, Record::Search(Event::Told { trial, outcome }))?;
    }
    let ending = halted(ledger).or_else(|| {
        // Those that nobody is at have ended above.
        let spent = ledger.spent(description.full, at, |_| true);
        let limit = description.budget.spent(&spent, description.full)?;
        Some(Ending::Spent(limit))
    });
    let ending = match ending {
        Some(ending) => ending,
        None => match ledger.propose(at) {
            Ok(trial) => return assign(ledger, trial, worker, at),
            Err(SearchError::Exhausted { .. }) => Ending::Exhausted,
            Err(error) => return Err(error),
        },
    };
    Ok(if others {
        Next::Wait
    } else {
        Next::End(ending)
    })
}
