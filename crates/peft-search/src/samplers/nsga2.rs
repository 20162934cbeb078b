//! NSGA-II.

use serde::{Deserialize, Serialize};

use super::outputs::Observed;
use crate::design::{fresh, initial, purpose};
use crate::{Configuration, Counter, History, Origin, Problem, Sampler, SearchError, pareto};

/// The elitist genetic algorithm of Deb, Pratap, Agarwal and Meyarivan (2002), steady-state: the parents are the best
/// `population` of all ended trials by rank and crowding distance, which is what truncation after every child leaves.
/// Binary tournaments, uniform crossover, then each active parameter moves with probability 1/d.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nsga2 {
    /// Size of the population; as many stratified trials come first.
    pub population: u64,
    /// Probability of a crossover; otherwise one parent is copied.
    pub crossover: f64,
}

impl Default for Nsga2 {
    fn default() -> Self {
        Self {
            population: 50,
            crossover: 0.9,
        }
    }
}

/// Indices of the best `count` rows, by rank and then by crowding distance.
fn survivors(rows: &[Vec<f64>], count: usize) -> Vec<usize> {
    let ranks = pareto::ranks(rows);
    let mut kept = Vec::with_capacity(count.min(rows.len()));
    for rank in 0..rows.len() {
        let mut same: Vec<usize> = (0..rows.len()).filter(|&row| ranks[row] == rank).collect();
        if same.is_empty() || kept.len() >= count {
            break;
        }
        let members: Vec<Vec<f64>> = same.iter().map(|&row| rows[row].clone()).collect();
        let crowding = pareto::crowding(&members);
        let mut order: Vec<usize> = (0..same.len()).collect();
        order.sort_by(|&a, &b| crowding[b].total_cmp(&crowding[a]).then(a.cmp(&b)));
        same = order.into_iter().map(|index| same[index]).collect();
        kept.extend(same.into_iter().take(count - kept.len()));
    }
    kept
}

impl Nsga2 {
    fn child(
        &self,
        problem: &Problem,
        parents: &[&Configuration],
        counter: &mut Counter,
    ) -> Option<Configuration> {
        let space = problem.space();
        // Parents are in order, so that the winner of a tournament is the earlier one.
        let mut tournament = || {
            counter
                .below(parents.len())
                .min(counter.below(parents.len()))
        };
        let (mother, father) = (parents[tournament()], parents[tournament()]);
        let mut levels = mother.0.clone();
        if counter.uniform() < self.crossover {
            for (level, other) in levels.iter_mut().zip(&father.0) {
                if counter.uniform() < 0.5 {
                    *level = *other;
                }
            }
        }
        let mut child = space.canonical(Configuration(levels));
        for _ in 0..space.parameters().len() {
            if counter.uniform() * (space.parameters().len() as f64) < 1.0 {
                child = space.mutate(&child, counter)?;
            }
        }
        space.allows(&child).then_some(child)
    }
}

impl Sampler for Nsga2 {
    fn name(&self) -> &'static str {
        "nsga2"
    }

    fn propose(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
        count: usize,
    ) -> Result<Vec<(Configuration, Origin)>, SearchError> {
        let observed = Observed::new(problem, history);
        let population = self.population.max(2) as usize;
        let parents: Vec<&Configuration> = observed.as_ref().map_or_else(Vec::new, |observed| {
            let kept = survivors(&observed.scores, population);
            kept.into_iter()
                .map(|index| &observed.trials[index].configuration)
                .collect()
        });
        let mut chosen: Vec<(Configuration, Origin)> = Vec::with_capacity(count);
        for trial in (history.trials().len() as u64..).take(count) {
            let before: Vec<Configuration> = chosen.iter().map(|(c, _)| c.clone()).collect();
            let taken = |c: &Configuration| history.has(c) || before.contains(c);
            let mut counter = Counter::new(seed, purpose::EVOLUTION, trial);
            let next = if trial < self.population || parents.is_empty() {
                let next = initial(problem.space(), history, seed, trial, &before);
                next.map(|next| (next, Origin::Initial))
            } else {
                let child = (0..100).find_map(|_| {
                    self.child(problem, &parents, &mut counter)
                        .filter(|child| !taken(child))
                });
                child.map(|child| (child, Origin::Model)).or_else(|| {
                    let drawn = fresh(problem.space(), &mut counter, taken);
                    drawn.map(|drawn| (drawn, Origin::Random))
                })
            };
            match next {
                Some(next) => chosen.push(next),
                None => break,
            }
        }
        Ok(chosen)
    }
}
