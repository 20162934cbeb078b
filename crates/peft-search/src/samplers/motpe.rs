//! Multi-objective tree-structured Parzen estimators.

use serde::{Deserialize, Serialize};

use super::outputs::Observed;
use crate::design::{fresh, initial, purpose};
use crate::hypervolume::{improvement, infer_reference};
use crate::space::{Domain, Parameter};
use crate::{Configuration, Counter, History, Origin, Problem, Sampler, SearchError, pareto};

/// MOTPE (Ozaki, Tanigaki, Watanabe and Onishi, "Multiobjective tree-structured Parzen estimator for computationally
/// expensive optimization problems", GECCO 2020).
///
/// The trials are split into the best part and the rest by non-dominated rank, the rank that does not fit by greedy
/// hypervolume. Densities `l` of the best, weighted by what each adds to their hypervolume, and `g` of the rest are
/// products over parameters: of kernels on the places of ordered levels, of counts of the others. Of `candidates`
/// draws from `l` the one with the largest `l/g` is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Motpe {
    /// Stratified trials before there are densities.
    pub initial: u64,
    /// The best part, in parts of the trials.
    pub best: f64,
    /// Draws from the density of the best.
    pub candidates: usize,
}

impl Default for Motpe {
    fn default() -> Self {
        Self {
            initial: 20,
            best: 0.1,
            candidates: 24,
        }
    }
}

/// Indices of the best rows with their weights, and of the others with equal weights.
type Split = (Vec<(usize, f64)>, Vec<(usize, f64)>);

fn split(rows: &[Vec<f64>], share: f64) -> Split {
    let count = ((share * rows.len() as f64).ceil() as usize).clamp(1, rows.len());
    let ranks = pareto::ranks(rows);
    let low = |o: usize| rows.iter().map(|row| row[o]).fold(f64::INFINITY, f64::min);
    let worst: Vec<f64> = (0..rows[0].len()).map(low).collect();
    let whole = infer_reference(rows).unwrap_or_else(|| worst.clone());
    let reference: Vec<f64> = worst
        .iter()
        .zip(&whole)
        .map(|(a, b)| a.min(*b) - 1e-9)
        .collect();
    let mut best: Vec<usize> = Vec::with_capacity(count);
    for rank in 0..=rows.len() {
        let mut same: Vec<usize> = (0..rows.len()).filter(|&row| ranks[row] == rank).collect();
        while best.len() < count && !same.is_empty() {
            let kept: Vec<Vec<f64>> = best.iter().map(|&row| rows[row].clone()).collect();
            let gain = |&row: &usize| improvement(&kept, &reference, &rows[row]);
            let gains: Vec<f64> = same.iter().map(gain).collect();
            let first = (0..same.len())
                .rev()
                .max_by(|&a, &b| gains[a].total_cmp(&gains[b]));
            best.push(same.remove(first.unwrap_or(0)));
        }
    }
    let weight = |&row: &usize| {
        let rest: Vec<Vec<f64>> = best
            .iter()
            .filter(|&&other| other != row)
            .map(|&other| rows[other].clone())
            .collect();
        improvement(&rest, &reference, &rows[row])
    };
    let weights: Vec<f64> = best.iter().map(weight).collect();
    let top = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let others = (0..rows.len())
        .filter(|row| !best.contains(row))
        .map(|row| (row, 1.0))
        .collect();
    // What adds nothing still counts a little, as in the authors' code.
    let best = best
        .iter()
        .zip(&weights)
        .map(|(&row, w)| (row, (w / top).max(1e-3)))
        .collect();
    (best, others)
}

/// A density of one parameter's levels: a mixture over observations and a uniform part of weight one.
struct Density<'a> {
    parameter: &'a Parameter,
    levels: Vec<(u32, f64)>,
    width: f64,
}

impl<'a> Density<'a> {
    fn new(parameter: &'a Parameter, levels: Vec<(u32, f64)>) -> Self {
        let range = f64::from(parameter.levels() - 1);
        // Scott's rule for a uniform spread, at least half a level.
        let width = (0.3 * range * (levels.len().max(1) as f64).powf(-0.2)).max(0.5);
        Self {
            parameter,
            levels,
            width,
        }
    }

    fn ordered(&self) -> bool {
        !matches!(
            self.parameter.domain,
            Domain::Binary | Domain::Categorical { .. }
        )
    }

    fn draw(&self, counter: &mut Counter) -> u32 {
        let count = self.parameter.levels();
        let total: f64 = self.levels.iter().map(|(_, w)| w).sum::<f64>() + 1.0;
        let mut point = counter.uniform() * total;
        for (level, weight) in &self.levels {
            if point < *weight {
                if !self.ordered() {
                    return *level;
                }
                let moved = f64::from(*level) + self.width * counter.normal();
                return moved.round().clamp(0.0, f64::from(count - 1)) as u32;
            }
            point -= weight;
        }
        counter.below(count as usize) as u32
    }

    fn ln(&self, level: u32) -> f64 {
        let uniform = 1.0 / f64::from(self.parameter.levels());
        let total: f64 = self.levels.iter().map(|(_, w)| w).sum::<f64>() + 1.0;
        let near = |other: u32| match self.ordered() {
            true => {
                let z = (f64::from(level) - f64::from(other)) / self.width;
                crate::normal::density(z) / self.width
            }
            false => f64::from(u8::from(level == other)),
        };
        let sum: f64 = self.levels.iter().map(|(other, w)| w * near(*other)).sum();
        ((sum + uniform) / total).ln()
    }
}

impl Sampler for Motpe {
    fn name(&self) -> &'static str {
        "motpe"
    }

    fn propose(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
        count: usize,
    ) -> Result<Vec<(Configuration, Origin)>, SearchError> {
        let space = problem.space();
        let observed = Observed::new(problem, history);
        let densities = observed.as_ref().map(|observed| {
            let (best, others) = split(&observed.scores, self.best);
            let of = |part: &[(usize, f64)]| -> Vec<Density<'_>> {
                let parameters = space.parameters().iter().enumerate();
                parameters
                    .map(|(index, parameter)| {
                        let active = part.iter().filter_map(|&(row, weight)| {
                            let configuration = &observed.trials[row].configuration;
                            let counts = space.is_active(configuration, index);
                            counts.then(|| (configuration.0[index], weight))
                        });
                        Density::new(parameter, active.collect())
                    })
                    .collect()
            };
            (of(&best), of(&others))
        });
        let mut chosen: Vec<(Configuration, Origin)> = Vec::with_capacity(count);
        for trial in (history.trials().len() as u64..).take(count) {
            let before: Vec<Configuration> = chosen.iter().map(|(c, _)| c.clone()).collect();
            let taken = |c: &Configuration| history.has(c) || before.contains(c);
            let mut counter = Counter::new(seed, purpose::DENSITY, trial);
            let next = match &densities {
                Some((good, poor)) if trial >= self.initial => {
                    let mut top: Option<(Configuration, f64)> = None;
                    for _ in 0..self.candidates.max(1) {
                        let levels = good
                            .iter()
                            .map(|density| density.draw(&mut counter))
                            .collect();
                        let drawn = space.canonical(Configuration(levels));
                        if !space.allows(&drawn) || taken(&drawn) {
                            continue;
                        }
                        let ratio: f64 = (0..good.len())
                            .filter(|&index| space.is_active(&drawn, index))
                            .map(|i| good[i].ln(drawn.0[i]) - poor[i].ln(drawn.0[i]))
                            .sum();
                        if top.as_ref().is_none_or(|(_, best)| ratio > *best) {
                            top = Some((drawn, ratio));
                        }
                    }
                    top.map(|(drawn, _)| (drawn, Origin::Model)).or_else(|| {
                        let drawn = fresh(space, &mut counter, taken);
                        drawn.map(|drawn| (drawn, Origin::Random))
                    })
                }
                _ => {
                    let next = initial(space, history, seed, trial, &before);
                    next.map(|next| (next, Origin::Initial))
                }
            };
            match next {
                Some(next) => chosen.push(next),
                None => break,
            }
        }
        Ok(chosen)
    }
}
