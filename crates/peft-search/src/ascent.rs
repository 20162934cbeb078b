//! The best configuration by an acquisition function, over a lattice.

use std::collections::HashMap;

use crate::{Configuration, Counter, SearchError, Space};

/// Where steepest ascents start and how far they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Starts {
    /// Random configurations that are evaluated, half stratified and half uniform.
    pub raw: usize,
    /// How many of the best of them ascend.
    pub best: usize,
    /// How many of the given good configurations ascend.
    pub good: usize,
    /// How many random neighbours of good ones ascend.
    pub mutated: usize,
}

impl Default for Starts {
    fn default() -> Self {
        Self {
            raw: 1024,
            best: 10,
            good: 20,
            mutated: 5,
        }
    }
}

/// What is to be large, of a block of configurations.
type Evaluate<'a> = &'a mut dyn FnMut(&[Configuration]) -> Result<Vec<f64>, SearchError>;

/// Spaces of up to this many combinations are evaluated as a whole.
const WHOLE: f64 = 4096.0;

/// Values of configurations, each computed once, in blocks.
struct Values<'a> {
    evaluate: Evaluate<'a>,
    known: HashMap<Configuration, f64>,
}

impl Values<'_> {
    fn of(&mut self, configurations: &[Configuration]) -> Result<Vec<f64>, SearchError> {
        let mut missing: Vec<Configuration> = Vec::new();
        for configuration in configurations {
            if !self.known.contains_key(configuration) && !missing.contains(configuration) {
                missing.push(configuration.clone());
            }
        }
        for block in missing.chunks(256) {
            let values = (self.evaluate)(block)?;
            self.known.extend(block.iter().cloned().zip(values));
        }
        Ok(configurations
            .iter()
            .map(|configuration| self.known[configuration])
            .collect())
    }
}

/// The first of the largest values; none of no values, and NaN is never the largest.
fn largest(values: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, value) in values.iter().enumerate() {
        if !value.is_nan() && best.is_none_or(|best| *value > values[best]) {
            best = Some(index);
        }
    }
    best
}

/// Steepest ascent over the full one-exchange neighbourhood and the pair moves, from many starts: the best
/// configuration that is not taken, and its value. Taken configurations are walked from but never to. Small spaces
/// are evaluated as a whole. Ties go to what comes first, so that the result is a function of the arguments.
pub(crate) fn steepest(
    space: &Space,
    good: &[Configuration],
    taken: &dyn Fn(&Configuration) -> bool,
    starts: Starts,
    counter: &mut Counter,
    evaluate: Evaluate<'_>,
) -> Result<Option<(Configuration, f64)>, SearchError> {
    let mut values = Values {
        evaluate,
        known: HashMap::new(),
    };
    if space.combinations() <= WHOLE {
        let free: Vec<Configuration> = space.enumerate().filter(|c| !taken(c)).collect();
        let all = values.of(&free)?;
        return Ok(largest(&all).map(|index| (free[index].clone(), all[index])));
    }
    let scramble = u64::from(counter.bits());
    let raw: Vec<Configuration> = (0..starts.raw)
        .filter_map(|index| match index % 2 {
            0 => crate::design::stratified(space, scramble, index as u64 / 2, taken),
            _ => space.random(counter).filter(|drawn| !taken(drawn)),
        })
        .collect();
    let raw_values = values.of(&raw)?;
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by(|&a, &b| raw_values[b].total_cmp(&raw_values[a]).then(a.cmp(&b)));
    let mut from: Vec<Configuration> = order
        .iter()
        .take(starts.best)
        .map(|&index| raw[index].clone())
        .collect();
    let mut shuffled = good.to_vec();
    counter.shuffle(&mut shuffled);
    from.extend(shuffled.iter().take(starts.good).cloned());
    for _ in 0..starts.mutated {
        if let Some(parent) = good.get(counter.below(good.len())) {
            from.extend(space.mutate(parent, counter));
        }
    }
    let mut best: Option<(Configuration, f64)> = None;
    for start in from {
        let mut value = match taken(&start) {
            true => f64::NEG_INFINITY,
            false => values.of(std::slice::from_ref(&start))?[0],
        };
        let mut here = start;
        loop {
            let mut near = space.neighbours(&here);
            near.extend(space.pair_moves(&here));
            near.retain(|neighbour| !taken(neighbour));
            let around = values.of(&near)?;
            match largest(&around) {
                Some(index) if around[index] > value => {
                    (here, value) = (near.swap_remove(index), around[index]);
                }
                _ => break,
            }
        }
        let better = best.as_ref().is_none_or(|(_, best)| value > *best);
        if better && !taken(&here) {
            best = Some((here, value));
        }
    }
    Ok(best)
}

/// AutoPEFT's local search (arXiv 2301.12132): ten restarts, each from a random neighbour of a random member of the
/// front, of at most 200 evaluations; a round draws as many random neighbours as there are parameters and moves to
/// the best where it is better. With `evaluates_start` the restart's *start* is returned with the value of its end,
/// as the published code does by an error.
pub(crate) fn published(
    space: &Space,
    good: &[Configuration],
    taken: &dyn Fn(&Configuration) -> bool,
    evaluates_start: bool,
    counter: &mut Counter,
    evaluate: Evaluate<'_>,
) -> Result<Option<(Configuration, f64)>, SearchError> {
    const RESTARTS: usize = 10;
    const EVALUATIONS: usize = 200;
    let mut best: Option<(Configuration, f64)> = None;
    for _ in 0..RESTARTS {
        let parent = good.get(counter.below(good.len()));
        let start = match parent {
            Some(parent) => space.mutate(parent, counter),
            None => space.random(counter),
        };
        let Some(start) = start.filter(|start| !taken(start)) else {
            continue;
        };
        let mut here = start.clone();
        let mut value = evaluate(std::slice::from_ref(&here))?[0];
        let mut used = 1;
        while used < EVALUATIONS {
            let draws = space.parameters().len().min(EVALUATIONS - used);
            used += draws;
            let near: Vec<Configuration> = (0..draws)
                .filter_map(|_| space.mutate(&here, counter).filter(|near| !taken(near)))
                .collect();
            let around = evaluate(&near)?;
            if let Some(index) = largest(&around)
                && around[index] > value
            {
                (here, value) = (near[index].clone(), around[index]);
            }
        }
        if best.as_ref().is_none_or(|(_, best)| value > *best) {
            best = Some((if evaluates_start { start } else { here }, value));
        }
    }
    Ok(best)
}
