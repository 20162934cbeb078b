//! Uniform random search.

use crate::design::{fresh, purpose};
use crate::{Configuration, Counter, History, Origin, Problem, Sampler, SearchError};

/// Uniform levels, without duplicates: the baseline that every search must beat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Random;

impl Sampler for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn propose(
        &self,
        problem: &Problem,
        history: &History,
        seed: u64,
        count: usize,
    ) -> Result<Vec<(Configuration, Origin)>, SearchError> {
        let mut chosen: Vec<(Configuration, Origin)> = Vec::with_capacity(count);
        for trial in (history.trials().len() as u64..).take(count) {
            let mut counter = Counter::new(seed, purpose::RANDOM, trial);
            let taken =
                |c: &Configuration| history.has(c) || chosen.iter().any(|(other, _)| other == c);
            match fresh(problem.space(), &mut counter, taken) {
                Some(configuration) => chosen.push((configuration, Origin::Random)),
                None => break,
            }
        }
        Ok(chosen)
    }
}
