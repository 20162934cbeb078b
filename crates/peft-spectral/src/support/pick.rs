use std::collections::BinaryHeap;

use rayon::prelude::*;

/// The `keep` smallest of a stream, in memory of `keep` items.
///
/// Items are totally ordered and distinct, so the result does not depend on the order of arrival,
/// nor on how a stream was cut into parts.
#[derive(Debug, Clone)]
pub(crate) struct Smallest<I: Ord> {
    keep: usize,
    heap: BinaryHeap<I>,
}

impl<I: Ord> Smallest<I> {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            keep,
            heap: BinaryHeap::new(),
        }
    }

    #[inline]
    pub(crate) fn offer(&mut self, item: I) {
        if self.heap.len() < self.keep {
            self.heap.push(item);
        } else if self.heap.peek().is_some_and(|worst| item < *worst) {
            self.replace(item);
        }
    }

    /// Rare once the heap is full, and kept out of the loop over all entries for that.
    #[cold]
    fn replace(&mut self, item: I) {
        if let Some(mut worst) = self.heap.peek_mut() {
            *worst = item;
        }
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        for item in other.heap {
            self.offer(item);
        }
    }

    /// The kept items, smallest first.
    pub(crate) fn into_sorted(self) -> Vec<I> {
        self.heap.into_sorted_vec()
    }
}

/// An entry by falling magnitude, ties by flat place: the smaller item is the stronger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Strong {
    weakness: u64,
    pub(crate) place: u64,
}

impl Strong {
    /// Magnitude order is energy order without the squares' underflow. The bits of a non-negative
    /// double, inverted, fall as it grows.
    #[inline]
    pub(crate) fn new(score: f64, place: u64) -> Self {
        Self {
            weakness: !score.abs().to_bits(),
            place,
        }
    }
}

/// Visits the lines `0 .. count` in parallel parts, each with its own state, and joins the states.
pub(crate) fn over_rows<S: Send, E: Send>(
    count: usize,
    new: impl Fn() -> S + Sync,
    visit: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
    join: impl Fn(&mut S, S) + Sync,
) -> Result<S, E> {
    (0..count)
        .into_par_iter()
        .with_min_len(64)
        .try_fold(&new, |mut state, row| {
            visit(&mut state, row)?;
            Ok(state)
        })
        .try_reduce(&new, |mut left, right| {
            join(&mut left, right);
            Ok(left)
        })
}
