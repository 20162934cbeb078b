use peft_core::{places, randperm::randperm_prefix};

use super::{Support, tiles::tile_count};
use crate::SparseError;

fn check(shape: [usize; 2], tile: [usize; 2], count: usize) -> Result<(), SparseError> {
    let available = tile_count(shape, tile)?;
    match (1..=available).contains(&count) {
        true => Ok(()),
        false => Err(SparseError::Count { count, available }),
    }
}

/// `count` entries, every set of them equally likely: a function of `key` and the shape only. A
/// smaller draw is part of a larger one.
///
/// # Errors
/// If `count` does not fit.
pub fn random(shape: [usize; 2], count: usize, key: u64) -> Result<Support, SparseError> {
    check(shape, [1, 1], count)?;
    Support::entries(shape, places::drawn(shape, count, key))
}

/// The entries that `torch.randperm(out · in)` of a generator seeded with `seed` begins with, as
/// PEFT's `random_mask` draws them.
///
/// # Errors
/// If `count` does not fit.
pub fn torch_random(shape: [usize; 2], count: usize, seed: u64) -> Result<Support, SparseError> {
    check(shape, [1, 1], count)?;
    let mut drawn = randperm_prefix((shape[0] * shape[1]) as u64, count, seed);
    drawn.sort_unstable();
    Support::entries(shape, drawn)
}

/// The `count` entries of largest magnitude, of equal ones the first; `score` gives the value of a flat
/// place.
///
/// # Errors
/// If `count` does not fit, or a score is not finite.
pub fn strongest(
    shape: [usize; 2],
    count: usize,
    score: impl Fn(usize) -> f64 + Sync,
) -> Result<Support, SparseError> {
    strongest_tiles(shape, [1, 1], count, score)
}

/// The `count` tiles of largest score, of equal ones the first; `score` gives the value of a tile.
///
/// # Errors
/// If `count` does not fit, or a score is not finite.
pub fn strongest_tiles(
    shape: [usize; 2],
    tile: [usize; 2],
    count: usize,
    score: impl Fn(usize) -> f64 + Sync,
) -> Result<Support, SparseError> {
    check(shape, tile, count)?;
    let grid = [shape[0].div_ceil(tile[0]), shape[1].div_ceil(tile[1])];
    let chosen = places::strongest(grid, count, score).map_err(|place| {
        let across = grid[1] as u64;
        SparseError::NotFinite {
            row: (place / across) as usize * tile[0],
            col: (place % across) as usize * tile[1],
        }
    })?;
    Support::new(shape, tile, chosen)
}

/// The places of the `count` values of largest magnitude, rising, of equal ones the first; all, if there
/// are no more.
///
/// In time proportional to their number, on one thread.
#[must_use]
pub fn largest(values: &[f64], count: usize) -> Vec<usize> {
    if count >= values.len() {
        return (0..values.len()).collect();
    }
    if count == 0 {
        return Vec::new();
    }
    // Ascending in the order of falling magnitude: the bits of a non-negative double grow with it.
    let rank = |value: &f64| !value.abs().to_bits();
    let mut order: Vec<u64> = values.iter().map(rank).collect();
    let bound = *order.select_nth_unstable(count - 1).1;
    let above = order[..count].iter().filter(|&&rank| rank < bound).count();
    let mut ties = count - above;
    let mut chosen = Vec::with_capacity(count);
    for (place, value) in values.iter().enumerate() {
        match rank(value).cmp(&bound) {
            std::cmp::Ordering::Less => chosen.push(place),
            std::cmp::Ordering::Equal if ties > 0 => {
                ties -= 1;
                chosen.push(place);
            }
            _ => {}
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use peft_core::kernels::normal;

    use super::*;

    #[test]
    fn the_largest_are_the_strongest() {
        let values: Vec<f64> = normal(8, 300)
            .into_iter()
            .map(|v| f64::from(v).round())
            .collect();
        for count in [0, 1, 17, 299, 300, 400] {
            let found: Vec<u64> = largest(&values, count).iter().map(|&p| p as u64).collect();
            let wanted = peft_core::places::strongest([10, 30], count.min(300), |p| values[p]);
            assert_eq!(Ok(found), wanted, "{count}");
        }
    }
}
