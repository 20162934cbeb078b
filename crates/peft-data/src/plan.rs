//! The order of batches: similar lengths together, everything else random.

use crate::error::DataError;
use crate::rng::{CounterRng, Permutation};
use crate::store::{SPILL_BYTES, Store, Writer};
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

/// Rows up to which the order is drawn as a list. Beyond, it is computed place by place, and the
/// plan is a temporary file.
const LISTED_ROWS: usize = 1 << 20;

/// Batches of row indices, each row exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlan {
    rows: Store<usize>,
    size: usize,
    order: Order,
}

/// In which order the batches, cut from the rows one after another, come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Ascending,
    Listed(Vec<usize>),
    Computed(Permutation),
}

impl BatchPlan {
    /// The batches of one epoch: rows are shuffled, cut into groups of 50 batches, sorted by length
    /// within a group, cut into batches of `batch_size` rows, and the batches shuffled. One batch
    /// may be smaller.
    ///
    /// A function of its arguments alone, so a [`Cursor`] is enough to resume.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] if `batch_size` is 0; [`DataError::Spill`] for more than a million
    /// rows and no room for a temporary file.
    pub fn new(
        lengths: &[usize],
        batch_size: usize,
        seed: u64,
        epoch: u64,
    ) -> Result<Self, DataError> {
        Self::draw(lengths.len(), &|row| lengths[row], batch_size, seed, epoch)
    }

    /// As [`BatchPlan::new`], for `n` rows whose lengths are asked for one by one.
    pub(crate) fn draw(
        n: usize,
        length: &dyn Fn(usize) -> usize,
        size: usize,
        seed: u64,
        epoch: u64,
    ) -> Result<Self, DataError> {
        Self::draw_from(n, length, size, (seed, epoch), LISTED_ROWS)
    }

    fn draw_from(
        n: usize,
        length: &dyn Fn(usize) -> usize,
        size: usize,
        (seed, epoch): (u64, u64),
        listed: usize,
    ) -> Result<Self, DataError> {
        let batches = count(n, size)?;
        let mega = size.saturating_mul(MEGA_BATCH);
        let rng = CounterRng::new(seed, "rows", epoch);
        let batch_rng = CounterRng::new(seed, "batches", epoch);
        // Stable: rows of one length stay in shuffled order.
        let sort = |rows: &mut [usize]| rows.sort_by_key(|&row| Reverse(length(row)));
        if n <= listed {
            let mut rows = rng.shuffle((0..n).collect());
            rows.chunks_mut(mega).for_each(sort);
            let order = Order::Listed(batch_rng.shuffle((0..batches).collect()));
            let rows = rows.into();
            return Ok(Self { rows, size, order });
        }
        let drawn = Permutation::new(rng, n);
        let mut rows = Writer::new(SPILL_BYTES);
        let mut group = Vec::new();
        for place in 0..n {
            group.push(drawn.at(place));
            if group.len() == mega || place + 1 == n {
                sort(&mut group);
                rows.extend(&group)?;
                group.clear();
            }
        }
        Ok(Self {
            rows: rows.finish()?,
            size,
            order: Order::Computed(Permutation::new(batch_rng, batches)),
        })
    }

    /// Batches for evaluation: all rows from the longest to the shortest, so that memory peaks at
    /// the first batch and similar lengths meet. Indices tell the caller how to restore the order.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] if `batch_size` is 0.
    pub fn sequential(lengths: &[usize], batch_size: usize) -> Result<Self, DataError> {
        count(lengths.len(), batch_size)?;
        let mut rows: Vec<usize> = (0..lengths.len()).collect();
        rows.sort_by_key(|&row| Reverse(lengths[row]));
        Ok(Self {
            rows: rows.into(),
            size: batch_size,
            order: Order::Ascending,
        })
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.rows.len().div_ceil(self.size)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row indices of one batch.
    pub fn get(&self, batch: usize) -> Option<&[usize]> {
        let cut = match &self.order {
            _ if batch >= self.len() => return None,
            Order::Ascending => batch,
            Order::Listed(order) => *order.get(batch)?,
            Order::Computed(order) => order.at(batch),
        };
        let start = cut * self.size;
        let end = self.rows.len().min(start.saturating_add(self.size));
        self.rows.get(start..end)
    }

    /// The batches from number `first` on; 0 for all of them.
    pub fn iter_from(&self, first: usize) -> impl Iterator<Item = &[usize]> {
        (first..self.len()).filter_map(|batch| self.get(batch))
    }
}

fn count(rows: usize, size: usize) -> Result<usize, DataError> {
    match size {
        0 => Err(DataError::BatchSize),
        size => Ok(rows.div_ceil(size)),
    }
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
    fn a_plan_beyond_the_list_covers_all_rows_and_differs_by_epoch() {
        let length = |row: usize| 8 + row * 7919 % 120;
        let plan = |epoch| BatchPlan::draw_from(5003, &length, 16, (7, epoch), 100).unwrap();
        let mut rows: Vec<usize> = plan(0).iter_from(0).flatten().copied().collect();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..5003));
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(0), plan(1));
        let padded = |b: &[usize]| b.len() * b.iter().map(|&r| length(r)).max().unwrap_or(0);
        let waste = plan(0).iter_from(0).map(padded).sum::<usize>() as f64
            / (0..5003).map(length).sum::<usize>() as f64;
        assert!(waste < 1.05, "{waste}");
    }

    /// The plan of release 0.1.0: a run of then must be resumable now.
    #[test]
    fn orders_are_pinned() {
        let plan = BatchPlan::new(&[3, 1, 4, 1, 5, 9, 2, 6], 3, 42, 0).unwrap();
        let batches: Vec<_> = plan.iter_from(0).map(<[usize]>::to_vec).collect();
        assert_eq!(batches, [vec![5, 7, 4], vec![2, 0, 6], vec![3, 1]]);
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
