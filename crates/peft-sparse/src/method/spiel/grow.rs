//! Where entries go.

use burn::Tensor;
use peft_core::{Fields, Values};

use crate::{adam::floats, support::largest};

/// What rows and columns of a weight have seen of gradients.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    rows: Vec<f64>,
    cols: Vec<f64>,
}

impl Seen {
    pub fn recall(memory: &Fields<Values>, [rows, cols]: [usize; 2]) -> Self {
        let known = |name: &str, count: usize| match memory.get(name) {
            Some(values) => values.float().into_data().iter::<f64>().collect(),
            None => vec![0.0; count],
        };
        Self {
            rows: known("rows", rows),
            cols: known("cols", cols),
        }
    }

    pub fn remember(&self, memory: &mut Fields<Values>, like: &Tensor<1>) {
        memory.insert("rows".into(), floats(&self.rows, like));
        memory.insert("cols".into(), floats(&self.cols, like));
    }

    /// Take in the gradients of some places.
    pub fn add(&mut self, places: &[usize], gradient: &[f64]) {
        let width = self.cols.len();
        let (mut rows, mut cols) = (vec![0.0_f64; self.rows.len()], vec![0.0_f64; width]);
        for (&place, g) in places.iter().zip(gradient) {
            let (row, col) = (place / width, place % width);
            let value = self.rows[row].min(self.cols[col]) + g * g;
            rows[row] = rows[row].max(value);
            cols[col] = cols[col].max(value);
        }
        // A row without a place has seen nothing new.
        let keep = |old: &mut Vec<f64>, new: Vec<f64>| {
            for (old, new) in old.iter_mut().zip(new) {
                *old = old.max(new);
            }
        };
        keep(&mut self.rows, rows);
        keep(&mut self.cols, cols);
    }

    /// The score of a flat place.
    pub fn score(&self, place: usize) -> f64 {
        let width = self.cols.len();
        self.rows[place / width] * self.cols[place % width]
    }
}

/// Give up the `count` places of smallest values, the first of equals last, and take as many of the
/// highest scores among all `entries` of the weight, the first of equals first. Gives the places, rising,
/// each with where it was before.
pub(super) fn exchange(
    places: &[usize],
    values: &[f64],
    count: usize,
    entries: usize,
    score: impl Fn(usize) -> f64,
) -> Vec<(usize, Option<usize>)> {
    let kept = largest(values, places.len() - count.min(places.len()));
    let mut staying = vec![false; entries];
    kept.iter().for_each(|&at| staying[places[at]] = true);
    let free: Vec<usize> = (0..entries).filter(|&place| !staying[place]).collect();
    let scores: Vec<f64> = free.iter().map(|&place| score(place)).collect();
    let grown = largest(&scores, places.len() - kept.len());
    let mut all: Vec<(usize, Option<usize>)> = kept
        .into_iter()
        .map(|at| (places[at], Some(at)))
        .chain(grown.into_iter().map(|at| (free[at], None)))
        .collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_where_rows_and_columns_saw_much() {
        let mut seen = Seen::recall(&Fields::new(), [3, 4]);
        // Places (0, 1), (1, 2), (2, 1) of a weight 3 x 4.
        let places = [1, 6, 9];
        seen.add(&places, &[2.0, 0.1, 1.0]);
        assert_eq!(seen.rows, [4.0, 0.1 * 0.1, 1.0]);
        assert_eq!(seen.cols, [0.0, 4.0, 0.1 * 0.1, 0.0]);
        let exchanged = |seen: &Seen, count| {
            exchange(&places, &[1.0, 0.2, -0.5], count, 12, |place| {
                seen.score(place)
            })
        };
        // The second is the smallest; of what is free (1, 1) scores highest: 0.01 · 4 over 0.01 · 4 of
        // (0, 2), which comes before it.
        let moved = exchanged(&seen, 1);
        assert_eq!(moved, [(1, Some(0)), (2, None), (9, Some(2))]);
        let all = exchanged(&seen, 3);
        assert_eq!(all, [(1, None), (2, None), (9, None)]);
        assert_eq!(exchanged(&seen, 0).len(), 3);
    }
}
