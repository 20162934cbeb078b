//! Walking over a space: all of it, its neighbourhoods, random members.

use super::{Configuration, Domain, Space};
use crate::Counter;

/// Every configuration of a space, in lexicographic order of the levels.
#[derive(Debug, Clone)]
pub struct Configurations<'a> {
    space: &'a Space,
    next: Option<Configuration>,
}

impl Iterator for Configurations<'_> {
    type Item = Configuration;

    fn next(&mut self) -> Option<Configuration> {
        loop {
            let current = self.next.take()?;
            self.next = self.space.successor(&current);
            if self.space.check(&current).is_ok() {
                return Some(current);
            }
        }
    }
}

impl Space {
    /// Every configuration of the space, in lexicographic order of the levels.
    pub fn enumerate(&self) -> Configurations<'_> {
        Configurations {
            space: self,
            next: Some(Configuration(vec![0; self.parameters.len()])),
        }
    }

    fn successor(&self, configuration: &Configuration) -> Option<Configuration> {
        let mut next = configuration.clone();
        for index in (0..next.0.len()).rev() {
            if next.0[index] + 1 < self.parameters[index].levels() {
                next.0[index] += 1;
                return Some(next);
            }
            next.0[index] = 0;
        }
        None
    }

    /// The full one-exchange neighbourhood of a configuration, without itself: one parameter at another level (all
    /// its other levels, or ±1, ±2, ±4 … where it has more than 33 in order), and nothing else changed except what
    /// becomes inactive.
    pub fn neighbours(&self, configuration: &Configuration) -> Vec<Configuration> {
        let mut found = Vec::new();
        for (index, parameter) in self.parameters.iter().enumerate() {
            if !self.is_active(configuration, index) {
                continue;
            }
            for level in parameter.exchanges(configuration.0[index]) {
                let mut levels = configuration.0.clone();
                levels[index] = level;
                self.keep(configuration, levels, &mut found);
            }
        }
        found
    }

    /// Two-exchange moves that leave a sum as it is: a binary parameter off and another on, and one ordered
    /// parameter a level up with another a level down. One-exchange ascent cannot make them where cost decides.
    pub fn pair_moves(&self, configuration: &Configuration) -> Vec<Configuration> {
        let levels = &configuration.0;
        let active = |index: &usize| self.is_active(configuration, *index);
        let of = |kind: fn(&Domain) -> bool| -> Vec<usize> {
            let all = 0..self.parameters.len();
            all.filter(|&index| kind(&self.parameters[index].domain))
                .filter(active)
                .collect()
        };
        let bits = of(|domain| matches!(domain, Domain::Binary));
        let sizes = of(|domain| !matches!(domain, Domain::Binary | Domain::Categorical { .. }));
        let mut found = Vec::new();
        for &on in bits.iter().filter(|&&bit| levels[bit] == 1) {
            for &off in bits.iter().filter(|&&bit| levels[bit] == 0) {
                let mut moved = levels.clone();
                moved[on] = 0;
                moved[off] = 1;
                self.keep(configuration, moved, &mut found);
            }
        }
        for &up in sizes
            .iter()
            .filter(|&&i| levels[i] + 1 < self.parameters[i].levels())
        {
            for &down in sizes.iter().filter(|&&down| down != up && levels[down] > 0) {
                let mut moved = levels.clone();
                moved[up] += 1;
                moved[down] -= 1;
                self.keep(configuration, moved, &mut found);
            }
        }
        found
    }

    fn keep(&self, from: &Configuration, levels: Vec<u32>, found: &mut Vec<Configuration>) {
        let moved = self.canonical(Configuration(levels));
        if moved != *from && self.allows(&moved) {
            found.push(moved);
        }
    }

    /// A configuration with every level uniform (then canonical), drawn again until none of its combinations is
    /// forbidden; none where 1000 draws in a row were.
    pub fn random(&self, counter: &mut Counter) -> Option<Configuration> {
        (0..1000).find_map(|_| {
            let draw =
                |parameter: &super::Parameter| counter.below(parameter.levels() as usize) as u32;
            let drawn = Configuration(self.parameters.iter().map(draw).collect());
            Some(self.canonical(drawn)).filter(|configuration| self.allows(configuration))
        })
    }

    /// One random neighbour: a parameter uniform among the active ones, then another level of it: uniform for
    /// binary and categorical parameters, from a rounded normal with a standard deviation of 0.2 of the range
    /// otherwise (AutoPEFT's mutation, arXiv 2301.12132). None where 1000 draws in a row are forbidden.
    pub fn mutate(&self, from: &Configuration, counter: &mut Counter) -> Option<Configuration> {
        let active: Vec<usize> = (0..self.parameters.len())
            .filter(|&index| self.is_active(from, index))
            .collect();
        (0..1000).find_map(|_| {
            let index = active[counter.below(active.len())];
            let (count, level) = (self.parameters[index].levels(), from.0[index]);
            let other = match self.parameters[index].domain {
                Domain::Binary | Domain::Categorical { .. } => {
                    let other = counter.below(count as usize - 1) as u32;
                    other + u32::from(other >= level)
                }
                _ => {
                    let range = f64::from(count - 1);
                    let moved = (f64::from(level) / range + 0.2 * counter.normal()) * range;
                    moved.round().clamp(0.0, range) as u32
                }
            };
            let mut levels = from.0.clone();
            levels[index] = other;
            let moved = self.canonical(Configuration(levels));
            Some(moved).filter(|moved| moved != from && self.allows(moved))
        })
    }
}
