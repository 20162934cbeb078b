//! Stopping trials early when there are several objectives.

use serde::{Deserialize, Serialize};

use crate::design::purpose;
use crate::{Counter, History, Problem, SearchError, Trial, pareto};

/// How results at a rung are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Comparison {
    /// Trials whose known objectives are close, and no others: by non-dominated rank of the measured objectives among
    /// trials within `width` of the range of each known objective's scores. A small configuration is not stopped for
    /// being worse than large ones, which is what it is there for. Where fewer than η are that close, the η closest.
    Neighbourhood {
        /// In parts of the range, 0 to 1.
        width: f64,
    },
    /// All trials, by non-dominated rank of all objectives and inside a rank by an ε-net: farthest point first
    /// (MO-ASHA: Schmucker, Donini, Zafar, Salinas and Archambeau, arXiv 2106.12639).
    All,
}

/// Asynchronous successive halving for several objectives (Li et al., arXiv 1810.05934): at resources `grace · ηᵏ`
/// below `most`, a trial goes on where its rank fraction among the results there is at most `1/η`. The first to come
/// to a rung goes on, and so does one that no result there dominates in all objectives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asha {
    /// The first rung.
    pub grace: u32,
    /// η: the factor between rungs, and what part goes on.
    pub reduction: u32,
    /// The resource of a full trial, at which nothing is stopped.
    pub most: u32,
    /// How results are compared.
    pub comparison: Comparison,
}

impl Default for Asha {
    fn default() -> Self {
        let comparison = Comparison::Neighbourhood { width: 0.15 };
        Self {
            grace: 1,
            reduction: 3,
            most: 100,
            comparison,
        }
    }
}

/// What a trial does after a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It goes on.
    Continue,
    /// It is stopped; tell [`Outcome::Pruned`](crate::Outcome::Pruned).
    Stop,
}

impl Asha {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`SearchError::Setting`] of the first that is outside its range.
    pub fn check(&self) -> Result<(), SearchError> {
        let refuse = |setting, value, expected| {
            Err(SearchError::Setting {
                setting,
                value,
                expected,
            })
        };
        if self.grace == 0 {
            return refuse("grace", 0.0, "the first rung is at 1 or more");
        }
        if self.reduction < 2 {
            return refuse(
                "reduction",
                f64::from(self.reduction),
                "it must be 2 or more",
            );
        }
        match self.comparison {
            Comparison::Neighbourhood { width } if !(0.0..=1.0).contains(&width) => {
                refuse("width", width, "it is a part of the range, 0 to 1")
            }
            _ => Ok(()),
        }
    }

    /// The rungs: `grace, grace·η, grace·η² …`, below `most`.
    pub fn rungs(&self) -> Vec<u32> {
        let next = |rung: &u32| rung.checked_mul(self.reduction.max(2));
        std::iter::successors(Some(self.grace.max(1)), next)
            .take_while(|&rung| rung < self.most)
            .collect()
    }

    /// What a running trial does after its last report. `seed` breaks ties of the ε-net.
    ///
    /// # Errors
    ///
    /// [`SearchError::Trial`] where there is no such trial.
    pub fn decide(
        &self,
        problem: &Problem,
        history: &History,
        trial: u64,
        seed: u64,
    ) -> Result<Decision, SearchError> {
        let found = usize::try_from(trial)
            .ok()
            .and_then(|index| history.trials().get(index));
        let found = found.ok_or_else(|| SearchError::Trial {
            trial,
            reason: "there is no trial of this number".to_owned(),
        })?;
        let Some((&resource, _)) = found.reports.last_key_value() else {
            return Ok(Decision::Continue);
        };
        if !self.rungs().contains(&resource) {
            return Ok(Decision::Continue);
        }
        // NaN while training is a diverged run: nothing of it is worth waiting for.
        let scores = |trial: &Trial| {
            trial
                .reports
                .get(&resource)
                .map(|values| problem.scores(&trial.known, values))
        };
        let own = scores(found).unwrap_or_default();
        if own.iter().any(|score| !score.is_finite()) {
            return Ok(Decision::Stop);
        }
        let others: Vec<Vec<f64>> = history
            .trials()
            .iter()
            .filter(|other| other.number != trial)
            .filter_map(scores)
            .filter(|scores| scores.iter().all(|score| score.is_finite()))
            .collect();
        if others.is_empty() || !others.iter().any(|other| pareto::dominates(other, &own)) {
            return Ok(Decision::Continue);
        }
        let stop = match self.comparison {
            Comparison::Neighbourhood { width } => {
                let known: Vec<usize> = (0..problem.objectives().len())
                    .filter(|&index| problem.objectives()[index].known)
                    .collect();
                let near = self.near(&own, &others, &known, width);
                let measured = problem.measured();
                let part = |row: &Vec<f64>| -> Vec<f64> {
                    measured.iter().map(|&index| row[index]).collect()
                };
                let mut rows: Vec<Vec<f64>> = near.into_iter().map(part).collect();
                rows.push(part(&own));
                let ranks = pareto::ranks(&rows);
                let rank = ranks[rows.len() - 1];
                let before = ranks.iter().filter(|other| **other < rank).count();
                self.stops(before + 1, rows.len())
            }
            Comparison::All => {
                let mut rows = others;
                rows.push(own);
                let mut counter = Counter::new(seed, purpose::RUNG, trial);
                let order = net_order(&rows, &mut counter);
                let place = order
                    .iter()
                    .position(|&row| row == rows.len() - 1)
                    .unwrap_or(0);
                self.stops(place + 1, rows.len())
            }
        };
        Ok(if stop {
            Decision::Stop
        } else {
            Decision::Continue
        })
    }

    /// Whether place `place` of `count` is beyond the fraction `1/η`; the best always goes on.
    fn stops(&self, place: usize, count: usize) -> bool {
        place > 1 && place * self.reduction as usize > count
    }

    /// The others within `width` of the ranges of the known objectives, or the η closest.
    fn near<'a>(
        &self,
        own: &[f64],
        others: &'a [Vec<f64>],
        known: &[usize],
        width: f64,
    ) -> Vec<&'a Vec<f64>> {
        let distance = |other: &Vec<f64>| {
            known.iter().fold(0.0, |far: f64, &index| {
                let all = || others.iter().map(|row| row[index]).chain([own[index]]);
                let low = all().fold(f64::INFINITY, f64::min);
                let range = all().fold(f64::NEG_INFINITY, f64::max) - low;
                let gap = (other[index] - own[index]).abs();
                far.max(if range > 0.0 { gap / range } else { 0.0 })
            })
        };
        let mut order: Vec<(f64, &Vec<f64>)> = others
            .iter()
            .map(|other| (distance(other), other))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let close = order.partition_point(|(far, _)| *far <= width);
        let kept = close.max(self.reduction as usize).min(order.len());
        order[..kept].iter().map(|(_, other)| *other).collect()
    }
}

/// All rows, front after front; inside a front first a random one, then always the one farthest from those before it.
fn net_order(rows: &[Vec<f64>], counter: &mut Counter) -> Vec<usize> {
    let ranks = pareto::ranks(rows);
    let mut order = Vec::with_capacity(rows.len());
    for rank in 0..=rows.len() {
        let mut left: Vec<usize> = (0..rows.len()).filter(|&row| ranks[row] == rank).collect();
        if left.is_empty() {
            continue;
        }
        let mut net = vec![left.swap_remove(counter.below(left.len()))];
        left.sort_unstable();
        while !left.is_empty() {
            let gap = |a: usize, b: usize| -> f64 {
                rows[a]
                    .iter()
                    .zip(&rows[b])
                    .map(|(a, b)| (a - b) * (a - b))
                    .sum()
            };
            let far = |&row: &usize| {
                net.iter()
                    .map(|&b| gap(row, b))
                    .fold(f64::INFINITY, f64::min)
            };
            let first = (0..left.len())
                .rev()
                .max_by(|&a, &b| far(&left[a]).total_cmp(&far(&left[b])))
                .unwrap_or(0);
            net.push(left.remove(first));
        }
        order.extend(net);
    }
    order
}

#[cfg(test)]
mod tests;
