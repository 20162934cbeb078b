//! Choosing entries of a matrix: the largest, or some at random.

use std::collections::BinaryHeap;

use peft_kernels::word;
use rayon::prelude::*;

/// The places `row · cols + col` of the `count` entries of largest magnitude, rising; of equal ones
/// the first. `score` gives an entry's value.
///
/// # Errors
/// The place of an entry that is not finite.
///
/// # Panics
/// If `count` is more than the matrix has.
pub fn strongest(
    [rows, cols]: [usize; 2],
    count: usize,
    score: impl Fn(usize) -> f64 + Sync,
) -> Result<Vec<u64>, u64> {
    assert!(count <= rows * cols, "{count} entries of {rows} x {cols}");
    let best = over_rows(
        rows,
        || Smallest::new(count),
        |best, row| {
            for place in row * cols..(row + 1) * cols {
                let (score, place) = (score(place), place as u64);
                if !score.is_finite() {
                    return Err(place);
                }
                best.offer(Strong::new(score, place));
            }
            Ok(())
        },
        Smallest::absorb,
    )?;
    let mut places: Vec<u64> = best.into_sorted().iter().map(|item| item.place).collect();
    places.sort_unstable();
    Ok(places)
}

/// `count` places of a matrix, rising, every set of them equally likely: those of the smallest words
/// of the stream `key`.
///
/// A function of `key` and the shape only; a smaller draw is a subset of a larger one. One word is
/// made per entry and `count` are kept.
///
/// # Panics
/// If `count` is more than the matrix has.
#[must_use]
pub fn drawn([rows, cols]: [usize; 2], count: usize, key: u64) -> Vec<u64> {
    assert!(count <= rows * cols, "{count} entries of {rows} x {cols}");
    let kept = over_rows(
        rows,
        || Smallest::new(count),
        |kept, row| {
            let first = row as u64 * cols as u64;
            for place in first..first + cols as u64 {
                kept.offer((word(key, place), place));
            }
            Ok::<_, std::convert::Infallible>(())
        },
        Smallest::absorb,
    );
    let Ok(kept) = kept;
    let mut places: Vec<u64> = kept.into_sorted().iter().map(|item| item.1).collect();
    places.sort_unstable();
    places
}

/// The `keep` smallest of a stream, in memory of `keep` items.
///
/// Items are totally ordered and distinct, so the result does not depend on the order of arrival,
/// nor on how a stream was cut into parts.
#[derive(Debug, Clone)]
pub struct Smallest<I: Ord> {
    keep: usize,
    heap: BinaryHeap<I>,
}

impl<I: Ord> Smallest<I> {
    /// Of a stream of which nothing has been seen.
    pub fn new(keep: usize) -> Self {
        Self {
            keep,
            heap: BinaryHeap::new(),
        }
    }

    /// Look at one item.
    #[inline]
    pub fn offer(&mut self, item: I) {
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

    /// Take over what another part of the stream left.
    pub fn absorb(&mut self, other: Self) {
        for item in other.heap {
            self.offer(item);
        }
    }

    /// The kept items, smallest first.
    pub fn into_sorted(self) -> Vec<I> {
        self.heap.into_sorted_vec()
    }
}

/// An entry by falling magnitude, ties by flat place: the smaller item is the stronger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strong {
    weakness: u64,
    /// The entry's flat place.
    pub place: u64,
}

impl Strong {
    /// The entry of a score.
    ///
    /// Magnitude order is energy order without the squares' underflow. The bits of a non-negative
    /// double, inverted, fall as it grows.
    #[inline]
    pub fn new(score: f64, place: u64) -> Self {
        Self {
            weakness: !score.abs().to_bits(),
            place,
        }
    }
}

/// Visits the lines `0 .. count` in parallel parts, each with its own state, and joins the states.
///
/// # Errors
/// The first of `visit`'s that is seen.
pub fn over_rows<S: Send, E: Send>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_are_those_of_a_full_sort() {
        let scores = peft_kernels::normal(3, 7 * 31);
        let mut order: Vec<u64> = (0..7 * 31).collect();
        order.sort_by(|&a, &b| {
            scores[b as usize]
                .abs()
                .total_cmp(&scores[a as usize].abs())
        });
        for count in [0, 1, 40, 217] {
            let mut wanted = order[..count].to_vec();
            wanted.sort_unstable();
            let found = strongest([7, 31], count, |place| f64::from(scores[place]));
            assert_eq!(found, Ok(wanted), "{count}");
        }
        // Of equals the first.
        assert_eq!(strongest([2, 3], 2, |_| -1.0), Ok(vec![0, 1]));
        let broken = strongest([2, 3], 2, |place| if place == 4 { f64::NAN } else { 0.0 });
        assert_eq!(broken, Err(4));
    }

    #[test]
    fn a_smaller_draw_is_part_of_a_larger_one() {
        let (few, many) = (drawn([40, 70], 9, 5), drawn([40, 70], 300, 5));
        assert_eq!((few.len(), many.len()), (9, 300));
        assert!(few.iter().all(|place| many.contains(place)));
        assert!(many.is_sorted_by(|a, b| a < b) && many[299] < 2800);
        assert_ne!(few, drawn([40, 70], 9, 6));
    }
}
