//! What a search makes small beside the values of an adapter's file.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use peft_run::{Prepared, RunConfig};
use serde::{Deserialize, Serialize};

use super::{RunSpace, RunsError};
use crate::counter::Counter;
use crate::design::purpose;
use crate::{Configuration, Goal, Objective, Scale};

/// Configurations by which the largest cost is judged, beside those that a space begins with.
const SAMPLE: usize = 64;

/// A third objective of a search, to be made small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Values that are trained, the head's included: more than the file holds where a network makes them. Known before a trial.
    TrainedValues,
    /// Memory in bytes that training is [planned](peft_run::MemoryPlan) to need at its peak. Known before a trial.
    Memory,
    /// Median seconds of a training step, measured: another one on another machine, or under load.
    StepTime,
}

impl Cost {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TrainedValues, Self::Memory, Self::StepTime];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TrainedValues => "trained-values",
            Self::Memory => "memory",
            Self::StepTime => "step-time",
        }
    }

    /// Whether it is measured.
    pub(super) fn is_measured(self) -> bool {
        self == Self::StepTime
    }

    /// The objective.
    pub(super) fn objective(self) -> Objective {
        let name = self.name().replace('-', " ");
        let objective = match self.is_measured() {
            true => Objective::measured(name, Goal::Minimise),
            false => Objective::known(name, Goal::Minimise, Scale::Log10),
        };
        Objective {
            scale: Scale::Log10,
            ..objective
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Cost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|cost| cost.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no cost `{text}`; there are {names}")
        })
    }
}

/// A cost that is known of every configuration.
#[derive(Clone)]
pub struct KnownCost {
    cost: Cost,
    space: Arc<dyn RunSpace>,
    shared: RunConfig,
    prepared: Prepared,
    known: Arc<Mutex<HashMap<Configuration, f64>>>,
    /// Of what cannot be planned.
    most: f64,
}

impl KnownCost {
    /// A cost in a space.
    ///
    /// # Errors
    /// If it cannot be planned of any of the configurations that are looked at.
    pub fn new(
        cost: Cost,
        space: &Arc<dyn RunSpace>,
        shared: &RunConfig,
        prepared: &Prepared,
    ) -> Result<Self, RunsError> {
        let mut known = Self {
            cost,
            space: space.clone(),
            shared: shared.clone(),
            prepared: prepared.clone(),
            known: Arc::default(),
            most: f64::NAN,
        };
        let mut counter = Counter::new(0, purpose::COSTS, 0);
        let sample = (0..SAMPLE).filter_map(|_| space.space().random(&mut counter));
        let looked = space.starts().into_iter().chain(sample);
        let costs = looked.filter_map(|configuration| known.planned(&configuration));
        let most = costs.fold(f64::NAN, f64::max);
        if most.is_nan() {
            return Err(RunsError::setting(
                "the third objective",
                format!("no run of the space can be planned, so that none has a known {cost}"),
                "leave it out, or describe another space",
            ));
        }
        known.most = 1.05 * most;
        Ok(known)
    }

    /// More than any configuration that was looked at has.
    pub fn most(&self) -> f64 {
        self.most
    }

    /// Of one configuration.
    pub fn of(&self, configuration: &Configuration) -> f64 {
        let found = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(configuration).copied()
        };
        found.unwrap_or_else(|| {
            // What cannot be planned is a trial that fails.
            let cost = self.planned(configuration).unwrap_or(self.most);
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(configuration.clone(), cost);
            cost
        })
    }

    fn planned(&self, configuration: &Configuration) -> Option<f64> {
        let config = self.space.settings(&self.shared, configuration).ok()?;
        let plan = self.prepared.plan(&config).ok()?;
        let cost = match self.cost {
            Cost::Memory => plan.memory.peak,
            Cost::TrainedValues | Cost::StepTime => {
                plan.trainable_parameters + plan.head_parameters
            }
        };
        Some(cost as f64).filter(|cost| *cost > 0.0)
    }
}

/// Multiplications and additions a second below which a step counts for nothing.
const SLOWEST: f64 = 1e10;

/// Seconds of a step that count for nothing.
///
/// # Errors
/// If none of the runs that a space begins with can be planned.
pub fn slowest_step(
    space: &Arc<dyn RunSpace>,
    shared: &RunConfig,
    prepared: &Prepared,
) -> Result<f64, RunsError> {
    let plan = |configuration: &Configuration| {
        let config = space.settings(shared, configuration).ok()?;
        prepared.plan(&config).ok()
    };
    let plan = space.starts().iter().find_map(plan).ok_or_else(|| {
        RunsError::setting(
            "the third objective",
            "no run that the space begins with can be planned",
            "choose another one, or describe another space",
        )
    })?;
    // Forward, and backward by inputs and weights.
    let work = 6.0 * plan.total_parameters as f64 * plan.batch_tokens as f64;
    Ok(work / SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_have_names() {
        for cost in Cost::ALL {
            assert_eq!(cost.to_string().parse(), Ok(cost));
        }
        let told = "time".parse::<Cost>().unwrap_err();
        assert!(told.contains("step-time"), "{told}");
    }
}
