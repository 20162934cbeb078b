//! The order of batches: similar lengths together, everything else random.

use crate::error::DataError;
use crate::rng::CounterRng;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Batches sorted by length together. More would waste less and shuffle less.
const MEGA_BATCH: usize = 50;

/// Where training stands; all that is needed to go on from there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batches of that epoch already done.
    pub batch: usize,
}

/// Batches of row indices, each row exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlan {
    rows: Vec<usize>,
    /// Batches as `(start, end)` in `rows`.
    batches: Vec<(usize, usize)>,
}

impl BatchPlan {
    /// The batches of one epoch: rows are shuffled, cut into groups of 50 batches, sorted by length
    /// within a group, cut into batches of `batch_size` rows, and the batches shuffled. One batch
    /// may be smaller.
    ///
    /// A function of its arguments alone, so a [`Cursor`] is enough to resume.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] if `batch_size` is 0.
    pub fn new(
        lengths: &[usize],
        batch_size: usize,
        seed: u64,
        epoch: u64,
    ) -> Result<Self, DataError> {
        let mut rows = CounterRng::new(seed, "rows", epoch).shuffle((0..lengths.len()).collect());
        for mega in rows.chunks_mut(batch_size.saturating_mul(MEGA_BATCH).max(1)) {
            // Stable: rows of one length stay in shuffled order.
            mega.sort_by_key(|&row| Reverse(lengths[row]));
        }
        let batches = cut(rows.len(), batch_size)?;
        let order = CounterRng::new(seed, "batches", epoch).shuffle((0..batches.len()).collect());
        let batches = order.into_iter().map(|b| batches[b]).collect();
        Ok(Self { rows, batches })
    }

    /// Batches for evaluation: all rows from the longest to the shortest, so that memory peaks at
    /// the first batch and similar lengths meet. Indices tell the caller how to restore the order.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] if `batch_size` is 0.
    pub fn sequential(lengths: &[usize], batch_size: usize) -> Result<Self, DataError> {
        let mut rows: Vec<usize> = (0..lengths.len()).collect();
        rows.sort_by_key(|&row| Reverse(lengths[row]));
        let batches = cut(rows.len(), batch_size)?;
        Ok(Self { rows, batches })
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Row indices of one batch.
    pub fn get(&self, batch: usize) -> Option<&[usize]> {
        self.batches
            .get(batch)
            .map(|&(start, end)| &self.rows[start..end])
    }

    /// The batches from number `first` on; 0 for all of them.
    pub fn iter_from(&self, first: usize) -> impl Iterator<Item = &[usize]> {
        self.batches
            .iter()
            .skip(first)
            .map(|&(start, end)| &self.rows[start..end])
    }
}

fn cut(rows: usize, size: usize) -> Result<Vec<(usize, usize)>, DataError> {
    if size == 0 {
        return Err(DataError::BatchSize);
    }
    Ok((0..rows)
        .step_by(size)
        .map(|start| (start, rows.min(start.saturating_add(size))))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_once_and_a_function_of_its_arguments(
            lengths in prop::collection::vec(1usize..64, 0..400),
            size in 1usize..9, seed: u64, epoch in 0u64..4,
        ) {
            let plan = BatchPlan::new(&lengths, size, seed, epoch).unwrap();
            let eval = BatchPlan::sequential(&lengths, size).unwrap();
            for plan in [&plan, &eval] {
                let mut rows: Vec<usize> = plan.iter_from(0).flatten().copied().collect();
                prop_assert_eq!(plan.len(), lengths.len().div_ceil(size));
                prop_assert!(plan.iter_from(0).filter(|b| b.len() != size).count() <= 1);
                prop_assert!(plan.iter_from(0).all(|b| !b.is_empty() && b.len() <= size));
                rows.sort_unstable();
                prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            }
            prop_assert_eq!(&BatchPlan::new(&lengths, size, seed, epoch).unwrap(), &plan);
            if lengths.len() > 100 {
                prop_assert_ne!(&BatchPlan::new(&lengths, size, seed, epoch + 1).unwrap(), &plan);
            }
            let cursor = plan.len() / 2;
            let whole: Vec<_> = plan.iter_from(0).skip(cursor).collect();
            prop_assert_eq!(plan.iter_from(cursor).collect::<Vec<_>>(), whole);
        }
    }

    #[test]
    fn lengths_meet_within_batches() {
        let lengths: Vec<usize> = (0..4000).map(|i| 8 + i * 7919 % 120).collect();
        let plan = BatchPlan::new(&lengths, 16, 1, 0).unwrap();
        let padded: usize = plan
            .iter_from(0)
            .map(|b| b.len() * b.iter().map(|&r| lengths[r]).max().unwrap_or(0))
            .sum();
        let waste = padded as f64 / lengths.iter().sum::<usize>() as f64 - 1.0;
        assert!(waste < 0.03, "{waste}");
        let eval = BatchPlan::sequential(&lengths, 16).unwrap();
        let order: Vec<_> = eval.iter_from(0).flatten().map(|&r| lengths[r]).collect();
        assert!(order.is_sorted_by(|a, b| a >= b));
        assert!(BatchPlan::new(&lengths, 0, 1, 0).is_err());
        assert!(BatchPlan::new(&[], 4, 1, 0).unwrap().is_empty());
        assert_eq!(plan.get(plan.len()), None);
    }
}
