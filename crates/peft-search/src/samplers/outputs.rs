//! What the surrogate is fitted to: scores of ended trials, made comparable.

use serde::{Deserialize, Serialize};

use crate::normal::quantile;
use crate::{History, Outcome, Problem, Treatment, Trial};

/// How the scores of an objective are transformed before a Gaussian process sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// To mean 0 and variance 1: affine, so that hypervolume keeps its proportions.
    Standardise,
    /// Gaussian copula: `z = Φ⁻¹(clip(#{y_j ≤ y}/n, 10⁻⁴, 0.9999))`. Robust against outliers, but distances between
    /// scores, and with them the proportions of the hypervolume, are lost (AutoPEFT, arXiv 2301.12132).
    Copula,
}

/// A transform fitted to scores.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fitted {
    Affine { center: f64, spread: f64 },
    Copula { sorted: Vec<f64> },
}

impl Transform {
    /// Fits the transform.
    pub(crate) fn fit(self, scores: &[f64]) -> Fitted {
        match self {
            Self::Standardise => {
                let count = scores.len().max(1) as f64;
                let center = scores.iter().sum::<f64>() / count;
                let variance = scores.iter().map(|s| (s - center).powi(2)).sum::<f64>() / count;
                let spread = variance.sqrt();
                // Equal scores have no spread to divide by: any unit will do.
                let spread = if spread > 1e-12 * center.abs().max(1e-300) {
                    spread
                } else {
                    1.0
                };
                Fitted::Affine { center, spread }
            }
            Self::Copula => {
                let mut sorted = scores.to_vec();
                sorted.sort_by(f64::total_cmp);
                Fitted::Copula { sorted }
            }
        }
    }

    /// The scores transformed by the transform fitted to them.
    pub fn apply(self, scores: &[f64]) -> Vec<f64> {
        let fitted = self.fit(scores);
        scores.iter().map(|score| fitted.apply(*score)).collect()
    }
}

impl Fitted {
    pub(crate) fn apply(&self, score: f64) -> f64 {
        match self {
            Self::Affine { center, spread } => (score - center) / spread,
            Self::Copula { sorted } => {
                let below = sorted.partition_point(|other| *other <= score);
                let share = below as f64 / sorted.len().max(1) as f64;
                quantile(share.clamp(1e-4, 0.9999))
            }
        }
    }
}

/// Ended trials with the scores of all objectives, those of failed and pruned trials imputed.
#[derive(Debug, Clone)]
pub(crate) struct Observed<'a> {
    pub trials: Vec<&'a Trial>,
    pub scores: Vec<Vec<f64>>,
}

impl<'a> Observed<'a> {
    /// The observations of a history; none where no trial is complete.
    ///
    /// A failed trial has the 5 % quantile of the complete ones in each measured objective: bad, but no outlier; one
    /// that the [`Policy`](crate::Policy) ignores is left out. A
    /// pruned one has its last report plus the median gain that complete trials made from the same resource on.
    pub(crate) fn new(problem: &'a Problem, history: &'a History) -> Option<Self> {
        let complete = history.complete(problem);
        if complete.is_empty() {
            return None;
        }
        let measured = problem.measured();
        let poor: Vec<f64> = measured
            .iter()
            .map(|&index| {
                let mut values: Vec<f64> = complete.iter().map(|(_, s)| s[index]).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 20]
            })
            .collect();
        let gain = |resource: u32, index: usize| {
            let mut gains: Vec<f64> = complete
                .iter()
                .filter_map(|(trial, last)| {
                    let then = problem.scores(&trial.known, trial.reports.get(&resource)?);
                    Some(last[index] - then[index])
                })
                .filter(|gain| gain.is_finite())
                .collect();
            gains.sort_by(f64::total_cmp);
            gains.get(gains.len() / 2).copied().unwrap_or(0.0)
        };
        let (mut trials, mut scores) = (Vec::new(), Vec::new());
        for trial in history.trials() {
            let mut row = problem.scores(&trial.known, &[]);
            match &trial.outcome {
                None => continue,
                Some(Outcome::Complete { measured }) => {
                    row = problem.scores(&trial.known, measured);
                }
                Some(outcome) => {
                    if problem.policy().of(outcome) == Some(Treatment::Ignore) {
                        continue;
                    }
                    let last = trial.reports.last_key_value();
                    let last = last.filter(|_| *outcome == Outcome::Pruned);
                    for (&index, &poor) in measured.iter().zip(&poor) {
                        let guess = last.map(|(resource, values)| {
                            problem.scores(&trial.known, values)[index] + gain(*resource, index)
                        });
                        row[index] = guess.filter(|guess| guess.is_finite()).unwrap_or(poor);
                    }
                }
            }
            trials.push(trial);
            scores.push(row);
        }
        Some(Self { trials, scores })
    }

    /// The scores of one objective.
    pub(crate) fn column(&self, objective: usize) -> Vec<f64> {
        self.scores.iter().map(|row| row[objective]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copula_of_reference() {
        let z = Transform::Copula.apply(&[3.0, 1.0, 2.0, 2.0]);
        let expected = [3.719_016_49, -0.674_489_75, 0.674_489_75, 0.674_489_75];
        for (z, expected) in z.iter().zip(expected) {
            assert!((z - expected).abs() < 1e-7, "{z} {expected}");
        }
        let fitted = Transform::Copula.fit(&[3.0, 1.0, 2.0, 2.0]);
        assert!((fitted.apply(0.5) + 3.719_016_49).abs() < 1e-7);
    }

    #[test]
    fn standardised_scores_have_mean_nought_and_variance_one() {
        let z = Transform::Standardise.apply(&[3.0, 1.0, 2.0, 6.0]);
        assert!(z.iter().sum::<f64>().abs() < 1e-12);
        assert!((z.iter().map(|z| z * z).sum::<f64>() - 4.0).abs() < 1e-12);
        assert_eq!(Transform::Standardise.apply(&[7.0, 7.0]), [0.0, 0.0]);
    }
}
