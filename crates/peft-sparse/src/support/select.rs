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
