//! What is searched: a space, objectives, and what is known of them beforehand.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Configuration, Outcome, SearchError, Space};

/// Whether small or large values are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Small values.
    Minimise,
    /// Large values.
    Maximise,
}

/// The scale on which an objective is modelled, and on which hypervolume is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// As it is.
    Linear,
    /// `log₁₀`; values are above 0.
    Log10,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Its name.
    pub name: String,
    /// Small or large.
    pub goal: Goal,
    /// Its scale.
    pub scale: Scale,
    /// Whether it is a known function of the configuration: exact, free, never modelled and never told.
    pub known: bool,
}

impl Objective {
    /// A measured objective on a linear scale.
    pub fn measured(name: impl Into<String>, goal: Goal) -> Self {
        Self {
            name: name.into(),
            goal,
            scale: Scale::Linear,
            known: false,
        }
    }

    /// A known objective.
    pub fn known(name: impl Into<String>, goal: Goal, scale: Scale) -> Self {
        Self {
            name: name.into(),
            goal,
            scale,
            known: true,
        }
    }

    /// The value on the objective's scale, with the sign that makes large values good.
    pub fn score(&self, value: f64) -> f64 {
        let scaled = match self.scale {
            Scale::Linear => value,
            Scale::Log10 => value.log10(),
        };
        match self.goal {
            Goal::Minimise => -scaled,
            Goal::Maximise => scaled,
        }
    }

    /// The value of a score, [`score`](Self::score)'s inverse.
    pub fn value(&self, score: f64) -> f64 {
        let scaled = match self.goal {
            Goal::Minimise => -score,
            Goal::Maximise => score,
        };
        match self.scale {
            Scale::Linear => scaled,
            Scale::Log10 => 10f64.powf(scaled),
        }
    }
}

/// What models make of a trial that ended without values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// It counts as bad as the worst twentieth of the complete trials: they keep away from it, and an outlier does not
    /// bend them.
    #[default]
    Poor,
    /// They do not see it. It is not proposed again.
    Ignore,
    /// As [`Poor`](Self::Poor), and a study proposes nothing more until somebody has looked.
    Halt,
}

/// What is made of trials that ended without values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Those that failed with an error.
    pub failed: Treatment,
    /// Those of which a measured value is not finite.
    pub diverged: Treatment,
}

impl Policy {
    /// How an outcome is treated; none of one with values, or stopped early.
    pub fn of(&self, outcome: &Outcome) -> Option<Treatment> {
        match outcome {
            Outcome::Complete { .. } | Outcome::Pruned => None,
            Outcome::Failed { .. } => Some(self.failed),
            Outcome::Diverged { .. } => Some(self.diverged),
        }
    }
}

type Known = dyn Fn(&Configuration) -> Vec<f64> + Send + Sync;

/// A space, its objectives, the reference point, and the known objectives' function.
#[derive(Clone)]
pub struct Problem {
    space: Space,
    objectives: Vec<Objective>,
    reference: Option<Vec<f64>>,
    policy: Policy,
    /// None where known values are taken from a journal.
    known: Option<Arc<Known>>,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("space", &self.space)
            .field("objectives", &self.objectives)
            .field("reference", &self.reference)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Problem {
    /// A problem all of whose objectives are measured, or that knows some by `known`: a function from configurations
    /// to the values of the known objectives in their order, the same for the same configuration at any time.
    ///
    /// `reference` has a value for each objective in its own units: what is not better in every objective counts for
    /// nothing. Without one it is inferred, once, from the first trials.
    ///
    /// # Errors
    ///
    /// [`SearchError::Objectives`] where no objective is measured, or the reference has another number of values or
    /// ones that are not finite on their scale.
    pub fn new(
        space: Space,
        objectives: Vec<Objective>,
        reference: Option<Vec<f64>>,
        known: impl Fn(&Configuration) -> Vec<f64> + Send + Sync + 'static,
    ) -> Result<Self, SearchError> {
        let mut problem = Self::recorded(space, objectives, reference)?;
        problem.known = Some(Arc::new(known));
        Ok(problem)
    }

    /// The problem of a journal that is only read: known values are those recorded with the trials, and nothing can be
    /// proposed where there are known objectives.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub fn recorded(
        space: Space,
        objectives: Vec<Objective>,
        reference: Option<Vec<f64>>,
    ) -> Result<Self, SearchError> {
        let refuse = |reason: String| Err(SearchError::Objectives { reason });
        if objectives.iter().all(|objective| objective.known) {
            return refuse("at least one objective must be measured".into());
        }
        if let Some(reference) = &reference {
            if reference.len() != objectives.len() {
                return refuse(format!(
                    "the reference point has {} values for {} objectives",
                    reference.len(),
                    objectives.len()
                ));
            }
            for (objective, value) in objectives.iter().zip(reference) {
                if !objective.score(*value).is_finite() {
                    let name = &objective.name;
                    return refuse(format!(
                        "the reference {value} of {name:?} is not finite on its scale"
                    ));
                }
            }
        }
        Ok(Self {
            space,
            objectives,
            reference,
            policy: Policy::default(),
            known: None,
        })
    }

    /// The same problem with another treatment of trials without values.
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// What is made of trials without values.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The objectives.
    pub fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    /// The reference point in the objectives' own units, where one was given.
    pub fn reference(&self) -> Option<&[f64]> {
        self.reference.as_deref()
    }

    /// Indices of the measured objectives.
    pub fn measured(&self) -> Vec<usize> {
        (0..self.objectives.len())
            .filter(|&index| !self.objectives[index].known)
            .collect()
    }

    /// Values of the known objectives, in their order.
    ///
    /// # Errors
    ///
    /// [`SearchError::Objectives`] where the function gives another number of values, or one that is not finite on
    /// its objective's scale.
    pub fn known(&self, configuration: &Configuration) -> Result<Vec<f64>, SearchError> {
        let values = match &self.known {
            Some(known) => known(configuration),
            None if self.objectives.iter().all(|objective| !objective.known) => Vec::new(),
            None => {
                return Err(SearchError::Objectives {
                    reason: "their known values are read from a journal; without their function \
                             nothing can be proposed"
                        .into(),
                });
            }
        };
        self.finite(configuration, values)
    }

    /// The known values of a configuration, which a journal says are `recorded`.
    pub(crate) fn check_known(
        &self,
        configuration: &Configuration,
        recorded: Vec<f64>,
    ) -> Result<Vec<f64>, SearchError> {
        self.space.check(configuration)?;
        if self.known.is_some() && self.known(configuration)? != recorded {
            return Err(SearchError::Objectives {
                reason: format!(
                    "the known values of {:?} are {recorded:?} in the journal, but {:?} now: continue with \
                     the model and the settings that the study began with",
                    configuration.0,
                    self.known(configuration)?
                ),
            });
        }
        self.finite(configuration, recorded)
    }

    fn finite(
        &self,
        configuration: &Configuration,
        values: Vec<f64>,
    ) -> Result<Vec<f64>, SearchError> {
        let known: Vec<&Objective> = self.objectives.iter().filter(|o| o.known).collect();
        if values.len() != known.len() {
            return Err(SearchError::Objectives {
                reason: format!(
                    "{} are known but there are {} values of them",
                    known.len(),
                    values.len()
                ),
            });
        }
        for (objective, value) in known.iter().zip(&values) {
            if !objective.score(*value).is_finite() {
                return Err(SearchError::Objectives {
                    reason: format!(
                        "the known {:?} is {value} at {:?}, not finite on its scale",
                        objective.name, configuration.0
                    ),
                });
            }
        }
        Ok(values)
    }

    /// Scores of all objectives from the known and the measured values, each in their order.
    pub fn scores(&self, known: &[f64], measured: &[f64]) -> Vec<f64> {
        let (mut known, mut measured) = (known.iter(), measured.iter());
        self.objectives
            .iter()
            .map(|objective| {
                let value = if objective.known {
                    known.next()
                } else {
                    measured.next()
                };
                objective.score(value.copied().unwrap_or(f64::NAN))
            })
            .collect()
    }
}
