//! Trials, and the events a journal keeps of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{Configuration, Problem, SearchError, pareto};

/// Why a configuration was proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It was enqueued: a warm start.
    Enqueued,
    /// It belongs to the initial design.
    Initial,
    /// A random draw.
    Random,
    /// The model's choice, or an offspring of the best.
    Model,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// With values of the measured objectives, in their order and own units. Where one is not finite on its
    /// objective's scale, [`Diverged`](Self::Diverged) is stored instead.
    Complete {
        /// The values.
        #[serde(with = "crate::numbers")]
        measured: Vec<f64>,
    },
    /// Without: an error, or a machine that gave up. What models make of it says [`Policy`](crate::Policy).
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// With a measured value that is not finite on its objective's scale: training diverged.
    Diverged {
        /// Which value.
        reason: String,
    },
    /// Stopped early: the model takes its last report, moved by what others gained after such a report.
    Pruned,
}

impl Outcome {
    /// Most characters of a reason that are kept.
    const REASON: usize = 4000;

    /// With no more of its reason than a journal takes.
    pub(crate) fn shortened(mut self) -> Self {
        if let Self::Failed { reason } | Self::Diverged { reason } = &mut self
            && let Some((end, _)) = reason.char_indices().nth(Self::REASON)
        {
            reason.truncate(end);
            reason.push_str(" …");
        }
        self
    }
}

/// What a journal keeps, in the order it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A configuration was put in the queue.
    Enqueued {
        /// The configuration.
        configuration: Configuration,
    },
    /// A trial was given to a worker.
    Asked {
        /// Its number.
        trial: u64,
        /// Its configuration.
        configuration: Configuration,
        /// Why it was proposed.
        origin: Origin,
        /// Values of the known objectives, so that a journal can be read without their function.
        #[serde(default, with = "crate::numbers")]
        known: Vec<f64>,
    },
    /// A running trial measured its objectives on the way.
    Reported {
        /// Its number.
        trial: u64,
        /// How much it had used of what a full trial uses, in whole units (epochs, as a rule).
        resource: u32,
        /// The measured objectives then.
        #[serde(with = "crate::numbers")]
        measured: Vec<f64>,
    },
    /// A trial ended.
    Told {
        /// Its number.
        trial: u64,
        /// How.
        outcome: Outcome,
    },
}

/// A trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its number, from 0 without gaps in the order proposed.
    pub number: u64,
    /// Its configuration.
    pub configuration: Configuration,
    /// Why it was proposed.
    pub origin: Origin,
    /// Values of the known objectives.
    pub known: Vec<f64>,
    /// Reports on the way: resource and measured objectives, resources ascending.
    pub reports: BTreeMap<u32, Vec<f64>>,
    /// How it ended; running, where absent.
    pub outcome: Option<Outcome>,
}

/// All trials of a study, by number, and the queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    trials: Vec<Trial>,
    queue: VecDeque<Configuration>,
    seen: BTreeSet<Configuration>,
}

impl History {
    /// The trials by number.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Configurations that will be proposed next.
    pub fn queue(&self) -> &VecDeque<Configuration> {
        &self.queue
    }

    /// Whether a configuration has been proposed or waits in the queue.
    pub fn has(&self, configuration: &Configuration) -> bool {
        self.seen.contains(configuration)
    }

    /// Trials that are running.
    pub fn running(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.outcome.is_none())
    }

    /// Trials that ended with values, and the scores of all their objectives.
    pub fn complete<'a>(&'a self, problem: &'a Problem) -> Vec<(&'a Trial, Vec<f64>)> {
        let scored = |trial: &'a Trial| match &trial.outcome {
            Some(Outcome::Complete { measured }) => {
                Some((trial, problem.scores(&trial.known, measured)))
            }
            _ => None,
        };
        self.trials.iter().filter_map(scored).collect()
    }

    /// The complete trials that no other one dominates, by number, and their scores.
    pub fn front<'a>(&'a self, problem: &'a Problem) -> Vec<(&'a Trial, Vec<f64>)> {
        let complete = self.complete(problem);
        let rows: Vec<Vec<f64>> = complete.iter().map(|(_, scores)| scores.clone()).collect();
        let kept: BTreeSet<usize> = pareto::front(&rows).into_iter().collect();
        let all = complete.into_iter().enumerate();
        all.filter(|(index, _)| kept.contains(index))
            .map(|(_, trial)| trial)
            .collect()
    }

    /// Applies an event, and says what was stored: a result that is not finite becomes
    /// [`Diverged`](Outcome::Diverged).
    ///
    /// # Errors
    ///
    /// [`SearchError`] where the event does not fit the study: a configuration outside the space or proposed before,
    /// a number out of turn, or news of a trial that is not running. Nothing has changed then.
    pub fn apply(&mut self, problem: &Problem, event: Event) -> Result<Event, SearchError> {
        match event {
            Event::Enqueued { configuration } => {
                let configuration = self.enqueue(problem, configuration)?;
                Ok(Event::Enqueued { configuration })
            }
            Event::Asked {
                trial,
                configuration,
                origin,
                known,
            } => {
                let known = problem.check_known(&configuration, known)?;
                self.start(problem, trial, configuration.clone(), origin, known.clone())?;
                Ok(Event::Asked {
                    trial,
                    configuration,
                    origin,
                    known,
                })
            }
            Event::Reported {
                trial,
                resource,
                measured,
            } => {
                self.check_values(problem, trial, &measured)?;
                let running = self.running_mut(trial)?;
                if running
                    .reports
                    .last_key_value()
                    .is_some_and(|(last, _)| *last >= resource)
                {
                    let reason = format!("a report at {resource} follows one at or past it");
                    return Err(SearchError::Trial { trial, reason });
                }
                running.reports.insert(resource, measured.clone());
                Ok(Event::Reported {
                    trial,
                    resource,
                    measured,
                })
            }
            Event::Told { trial, outcome } => {
                let outcome = self.judge(problem, trial, outcome)?;
                self.running_mut(trial)?.outcome = Some(outcome.clone());
                Ok(Event::Told { trial, outcome })
            }
        }
    }

    fn enqueue(
        &mut self,
        problem: &Problem,
        configuration: Configuration,
    ) -> Result<Configuration, SearchError> {
        problem.space().check(&configuration)?;
        if !self.seen.insert(configuration.clone()) {
            let reason = "it has been proposed or waits in the queue already".to_owned();
            return Err(SearchError::Configuration {
                levels: configuration.0,
                reason,
            });
        }
        self.queue.push_back(configuration.clone());
        Ok(configuration)
    }

    fn start(
        &mut self,
        problem: &Problem,
        trial: u64,
        configuration: Configuration,
        origin: Origin,
        known: Vec<f64>,
    ) -> Result<(), SearchError> {
        if trial != self.trials.len() as u64 {
            let reason = format!("the next trial has number {}", self.trials.len());
            return Err(SearchError::Trial { trial, reason });
        }
        problem.space().check(&configuration)?;
        let queued = self
            .queue
            .iter()
            .position(|waiting| *waiting == configuration);
        if self.seen.contains(&configuration) && queued.is_none() {
            let reason = "it has been proposed before".to_owned();
            return Err(SearchError::Configuration {
                levels: configuration.0,
                reason,
            });
        }
        if let Some(position) = queued {
            self.queue.remove(position);
        }
        self.seen.insert(configuration.clone());
        self.trials.push(Trial {
            number: trial,
            configuration,
            origin,
            known,
            reports: BTreeMap::new(),
            outcome: None,
        });
        Ok(())
    }

    fn judge(
        &self,
        problem: &Problem,
        trial: u64,
        outcome: Outcome,
    ) -> Result<Outcome, SearchError> {
        let Outcome::Complete { measured } = outcome else {
            return Ok(outcome);
        };
        self.check_values(problem, trial, &measured)?;
        let objectives = problem
            .measured()
            .into_iter()
            .map(|index| &problem.objectives()[index]);
        let strange = objectives
            .zip(&measured)
            .find(|(objective, value)| !objective.score(**value).is_finite());
        Ok(match strange {
            Some((objective, value)) => Outcome::Diverged {
                reason: format!("{:?} is {value}, not finite on its scale", objective.name),
            },
            None => Outcome::Complete { measured },
        })
    }

    fn check_values(
        &self,
        problem: &Problem,
        trial: u64,
        measured: &[f64],
    ) -> Result<(), SearchError> {
        let expected = problem.measured().len();
        if measured.len() == expected {
            return Ok(());
        }
        let reason = format!(
            "{} values for {expected} measured objectives",
            measured.len()
        );
        Err(SearchError::Trial { trial, reason })
    }

    fn running_mut(&mut self, trial: u64) -> Result<&mut Trial, SearchError> {
        let refuse = |reason: &str| SearchError::Trial {
            trial,
            reason: reason.to_owned(),
        };
        let found = usize::try_from(trial)
            .ok()
            .and_then(|index| self.trials.get_mut(index));
        let found = found.ok_or_else(|| refuse("there is no trial of this number"))?;
        match found.outcome {
            None => Ok(found),
            Some(_) => Err(refuse("it has ended already")),
        }
    }
}
