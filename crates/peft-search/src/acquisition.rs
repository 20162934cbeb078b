//! Noisy expected hypervolume improvement, in logarithms, with known objectives exact.
//!
//! `α(x) = E_F[ E[ HVI(f(x) | front of F) | F ] ]`: the true values `F` of the trials so far, and of those running,
//! are drawn from the surrogate's posterior (NEHVI: Daulton, Balandat and Bakshy, arXiv 2105.08195), and given a draw
//! `f(x)` is normal, so that the inner expectation is taken exactly and not by a second draw:
//!
//! * one modelled objective and any number of known ones: `Σ_k ΔA_k h(a_k)`, where rows of the front in descending
//!   order of the modelled objective `a_k` cover, one after the other, the areas `ΔA_k` of the known objectives' box
//!   below the candidate, and the rest of the box has the reference's `a`; with two objectives this is the box
//!   decomposition of [`Cells`];
//! * two modelled objectives alone: exact, [`Cells::expected`];
//! * otherwise all modelled objectives but the first are drawn, too, and the first is integrated as above.
//!
//! `h(a) = E[(f − a)₊]`. Without noise there is one draw, the observed values; pending trials have then their
//! predicted means ("kriging believer"). The logarithm is finite wherever the candidate is above the reference in the
//! known objectives: plain improvements underflow to 0 and the search stalls (arXiv 2310.20708).

mod conditional;

use faer::Mat;

use self::conditional::Conditional;
use crate::gp::{Ensemble, Rows};
use crate::hypervolume::{Cells, hypervolume};
use crate::normal::{expected_excess, ln_expected_excess, ln_sum_exp};
use crate::pareto::front;
use crate::{Counter, SearchError};

/// What an acquisition function is built from. All values are scores: transformed, and maximised.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// Surrogates of the modelled objectives, in the objectives' order, with equally many members each.
    pub surrogates: &'a [Ensemble],
    /// Which objectives are modelled; the others are known.
    pub modelled: &'a [usize],
    /// Observed rows of inputs, then those pending.
    pub rows: &'a Rows,
    /// Scores of all objectives of the observed rows; of the pending rows only the known ones are read.
    pub scores: &'a [Vec<f64>],
    /// How many of the rows are observed.
    pub observed: usize,
    /// The reference point.
    pub reference: &'a [f64],
    /// Whether observed scores have noise; otherwise they are taken as they are.
    pub noisy: bool,
    /// Draws of the true values.
    pub samples: usize,
}

/// The acquisition function of one state of a study.
#[derive(Debug)]
pub struct Improvement {
    members: Vec<Member>,
    modelled: Vec<usize>,
    reference: Vec<f64>,
}

#[derive(Debug)]
struct Member {
    objectives: Vec<Conditional>,
    fronts: Vec<Front>,
    /// Normal draws of the modelled objectives that are not integrated, a row a sample.
    inner: Vec<Vec<f64>>,
}

#[derive(Debug)]
enum Front {
    /// Known first, modelled second.
    Known(Cells),
    /// Both modelled.
    Both(Cells),
    /// The integrated objective and the others' scores, descending in the integrated one.
    Many(Vec<(f64, Vec<f64>)>),
}

/// Predictions of a member at one candidate for one sample: mean and standard deviation of each modelled objective.
type Moments = [(f64, f64)];

impl Improvement {
    /// Draws the true values and decomposes their fronts.
    ///
    /// # Errors
    ///
    /// [`SearchError::Fit`] where a posterior covariance has no Cholesky factor.
    pub fn new(evidence: &Evidence<'_>, counter: &mut Counter) -> Result<Self, SearchError> {
        let modelled = evidence.modelled.to_vec();
        let objectives = evidence.reference.len();
        let inner = modelled.len() - 1;
        let sampled_inside = objectives > 2 && inner > 0;
        let draws = if evidence.noisy || sampled_inside {
            evidence.samples.max(1)
        } else {
            1
        };
        let count = evidence.rows.len();
        let normals: Vec<Mat<f64>> = modelled
            .iter()
            .map(|_| Mat::from_fn(count, draws, |_, _| counter.normal()))
            .collect();
        let inner: Vec<Vec<f64>> = (0..draws)
            .map(|_| (0..inner).map(|_| counter.normal()).collect())
            .collect();
        let members = (0..evidence.surrogates[0].members().len())
            .map(|index| Member::new(evidence, index, &normals, inner.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            members,
            modelled,
            reference: evidence.reference.to_vec(),
        })
    }

    /// `ln α` at rows of inputs whose scores in the known objectives are given (rows of all objectives; those of
    /// modelled ones are not read). −∞ where a known objective is not above the reference.
    pub fn ln_values(&self, rows: &Rows, scores: &[Vec<f64>]) -> Vec<f64> {
        let mut terms = vec![Vec::new(); rows.len()];
        for member in &self.members {
            let objectives = &member.objectives;
            let predicted: Vec<_> = objectives.iter().map(|o| o.predict(rows)).collect();
            for (row, terms) in terms.iter_mut().enumerate() {
                let outside =
                    |o: usize| !self.modelled.contains(&o) && scores[row][o] <= self.reference[o];
                if (0..self.reference.len()).any(outside) {
                    continue;
                }
                let moments = |sample: usize| -> Vec<(f64, f64)> {
                    predicted
                        .iter()
                        .map(|p| (p.mean[(row, sample)], p.deviation[row]))
                        .collect()
                };
                let each: Vec<_> = (0..member.fronts.len()).map(moments).collect();
                terms.push(self.ln_member(member, &each, &scores[row]));
            }
        }
        let members = (self.members.len() as f64).ln();
        terms
            .iter()
            .map(|terms| ln_sum_exp(terms) - members)
            .collect()
    }

    fn ln_member(&self, member: &Member, each: &[Vec<(f64, f64)>], scores: &[f64]) -> f64 {
        let samples = member.fronts.iter().zip(each).zip(&member.inner);
        let plain: f64 = samples
            .clone()
            .map(|((front, moments), inner)| self.value(front, moments, inner, scores))
            .sum();
        let total = if plain > 1e-280 {
            plain.ln()
        } else {
            let terms: Vec<f64> = samples
                .map(|((front, moments), inner)| self.ln_value(front, moments, inner, scores))
                .collect();
            ln_sum_exp(&terms)
        };
        total - (member.fronts.len() as f64).ln()
    }

    fn value(&self, front: &Front, moments: &Moments, inner: &[f64], scores: &[f64]) -> f64 {
        let (mean, deviation) = moments[0];
        match front {
            Front::Known(cells) => {
                cells.expected_known(scores[1 - self.modelled[0]], mean, deviation)
            }
            Front::Both(cells) => cells.expected([mean, moments[1].0], [deviation, moments[1].1]),
            Front::Many(rows) => {
                self.areas(rows, moments, inner, scores)
                    .map(|(area, level)| area * expected_excess((mean - level) / deviation))
                    .sum::<f64>()
                    * deviation
            }
        }
    }

    fn ln_value(&self, front: &Front, moments: &Moments, inner: &[f64], scores: &[f64]) -> f64 {
        let (mean, deviation) = moments[0];
        match front {
            Front::Known(cells) => {
                cells.ln_expected_known(scores[1 - self.modelled[0]], mean, deviation)
            }
            Front::Both(cells) => {
                cells.ln_expected([mean, moments[1].0], [deviation, moments[1].1])
            }
            Front::Many(rows) => {
                let terms: Vec<f64> = self
                    .areas(rows, moments, inner, scores)
                    .filter(|(area, _)| *area > 0.0)
                    .map(|(area, level)| area.ln() + ln_expected_excess((mean - level) / deviation))
                    .collect();
                ln_sum_exp(&terms) + deviation.ln()
            }
        }
    }

    /// Areas `ΔA_k` of the box below the candidate in the objectives not integrated, with the level `a_k` above which
    /// the integrated objective improves there.
    fn areas(
        &self,
        rows: &[(f64, Vec<f64>)],
        moments: &Moments,
        inner: &[f64],
        scores: &[f64],
    ) -> impl Iterator<Item = (f64, f64)> {
        let integrated = self.modelled[0];
        let others = others(self.reference.len(), integrated);
        let mut candidate = scores.to_vec();
        for ((&objective, (mean, deviation)), normal) in
            self.modelled[1..].iter().zip(&moments[1..]).zip(inner)
        {
            candidate[objective] = mean + deviation * normal;
        }
        let low: Vec<f64> = others.iter().map(|&o| self.reference[o]).collect();
        let high: Vec<f64> = others.iter().map(|&o| candidate[o]).collect();
        let whole: f64 = high
            .iter()
            .zip(&low)
            .map(|(high, low)| (high - low).max(0.0))
            .product();
        let mut covered = Vec::with_capacity(rows.len());
        let (mut areas, mut last) = (Vec::with_capacity(rows.len() + 1), 0.0);
        for (level, row) in rows {
            if last >= whole {
                break;
            }
            covered.push(
                row.iter()
                    .zip(&high)
                    .map(|(a, b)| a.min(*b))
                    .collect::<Vec<f64>>(),
            );
            let area = hypervolume(&covered, &low);
            areas.push(((area - last).max(0.0), *level));
            last = last.max(area);
        }
        areas.push(((whole - last).max(0.0), self.reference[integrated]));
        areas.into_iter()
    }
}

/// The objectives but one.
fn others(objectives: usize, without: usize) -> Vec<usize> {
    (0..objectives)
        .filter(|&objective| objective != without)
        .collect()
}

impl Member {
    fn new(
        evidence: &Evidence<'_>,
        index: usize,
        normals: &[Mat<f64>],
        inner: Vec<Vec<f64>>,
    ) -> Result<Self, SearchError> {
        let count = evidence.rows.len();
        let draws = normals[0].ncols();
        let truths: Vec<_> = evidence
            .surrogates
            .iter()
            .zip(evidence.modelled)
            .zip(normals)
            .map(|((surrogate, &objective), normals)| {
                conditional::truths(evidence, &surrogate.members()[index], objective, normals)
            })
            .collect::<Result<_, _>>()?;
        // The pending rows are always conditioned on; of the others those on the front of some draw.
        let mut kept: Vec<bool> = (0..count).map(|row| row >= evidence.observed).collect();
        let mut fronts = Vec::with_capacity(draws);
        for draw in 0..draws {
            let mut rows: Vec<Vec<f64>> = evidence.scores.to_vec();
            for (truth, &objective) in truths.iter().zip(evidence.modelled) {
                rows.iter_mut()
                    .enumerate()
                    .for_each(|(i, row)| row[objective] = truth.values[(i, draw)]);
            }
            let above = |row: &[f64]| row.iter().zip(evidence.reference).all(|(a, b)| a > b);
            let on: Vec<usize> = front(&rows)
                .into_iter()
                .filter(|&i| above(&rows[i]))
                .collect();
            on.iter().for_each(|&row| kept[row] = true);
            fronts.push(Front::new(
                evidence,
                on.into_iter().map(|i| rows[i].as_slice()),
            ));
        }
        let kept: Vec<usize> = (0..count).filter(|&row| kept[row]).collect();
        let objectives = evidence
            .surrogates
            .iter()
            .zip(truths)
            .map(|(surrogate, truth)| {
                Conditional::new(
                    surrogate.members()[index].clone(),
                    evidence.rows,
                    &kept,
                    truth,
                )
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            objectives,
            fronts,
            inner,
        })
    }
}

impl Front {
    fn new<'a>(evidence: &Evidence<'_>, rows: impl Iterator<Item = &'a [f64]>) -> Self {
        let (reference, modelled) = (evidence.reference, evidence.modelled);
        match (reference.len(), modelled.len()) {
            (2, 1) => {
                let (known, own) = (1 - modelled[0], modelled[0]);
                let pairs: Vec<[f64; 2]> = rows.map(|row| [row[known], row[own]]).collect();
                Self::Known(Cells::new(&pairs, [reference[known], reference[own]]))
            }
            (2, 2) => {
                let pairs: Vec<[f64; 2]> = rows.map(|row| [row[0], row[1]]).collect();
                Self::Both(Cells::new(&pairs, [reference[0], reference[1]]))
            }
            (objectives, _) => {
                let others = others(objectives, modelled[0]);
                let mut rows: Vec<(f64, Vec<f64>)> = rows
                    .map(|row| (row[modelled[0]], others.iter().map(|&o| row[o]).collect()))
                    .collect();
                rows.sort_by(|a, b| b.0.total_cmp(&a.0));
                Self::Many(rows)
            }
        }
    }
}

#[cfg(test)]
mod tests;
