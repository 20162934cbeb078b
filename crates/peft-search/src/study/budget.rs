//! When a study ends.

use serde::{Deserialize, Serialize};

use crate::SearchError;

/// What a study may spend; whichever is spent first ends it. Without any, it ends where the space does.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Trials begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trials: Option<u64>,
    /// Resource (epochs, as a rule) of all trials together. A trial is begun only where a full one fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<u64>,
    /// Seconds of all workers together. No trial is begun after; those running end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Ended trials in a row that left the hypervolume as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<u64>,
}

/// What a study has spent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spent {
    /// Trials begun.
    pub trials: u64,
    /// Resource used by ended trials.
    pub resource: u64,
    /// Resource that running trials have used or will, at most.
    pub reserved: u64,
    /// Seconds that workers were at trials.
    pub seconds: f64,
    /// Ended trials since the hypervolume last grew.
    pub idle: u64,
}

/// Which part of a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The number of trials.
    Trials,
    /// The resource.
    Resource,
    /// The time.
    Seconds,
    /// The number of trials without progress.
    Idle,
}

impl Budget {
    pub(super) fn check(&self, full: Option<u32>) -> Result<(), SearchError> {
        if let Some(seconds) = self.seconds
            && !(seconds.is_finite() && seconds > 0.0)
        {
            return Err(SearchError::Setting {
                setting: "seconds",
                value: seconds,
                expected: "a budget of time is a number above 0",
            });
        }
        if self.resource.is_some() && full.is_none() {
            return Err(SearchError::Study {
                reason:
                    "its budget limits the resource, but it does not say what a full trial uses"
                        .into(),
            });
        }
        Ok(())
    }

    /// The part that leaves no room for another trial, which uses `full` of the resource.
    pub fn spent(&self, spent: &Spent, full: Option<u32>) -> Option<Limit> {
        let full = u64::from(full.unwrap_or(0));
        let next = spent
            .resource
            .saturating_add(spent.reserved)
            .saturating_add(full);
        if self.trials.is_some_and(|most| spent.trials >= most) {
            Some(Limit::Trials)
        } else if self.resource.is_some_and(|most| next > most) {
            Some(Limit::Resource)
        } else if self.seconds.is_some_and(|most| spent.seconds >= most) {
            Some(Limit::Seconds)
        } else if self.idle.is_some_and(|most| spent.idle >= most) {
            Some(Limit::Idle)
        } else {
            None
        }
    }
}
