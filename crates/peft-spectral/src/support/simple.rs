use peft_core::places::drawn;

use super::{
    Support,
    list::{check_count, check_scores},
};
use crate::{Real, SpectralError};

/// The `count` entries of largest magnitude, ties by flat place.
///
/// With the weight's [`spectrum`](crate::transform::spectrum) this is selection by energy; with
/// the spectrum of the weight's gradient it is, for zero coefficients, the subset of `count`
/// entries along which the loss falls fastest.
///
/// # Errors
/// If `count` does not fit, `scores` is not `rows · cols` values, or one is not finite.
pub fn strongest<T: Real>(
    scores: &[T],
    rows: usize,
    cols: usize,
    count: usize,
) -> Result<Support, SpectralError> {
    check_count(rows, cols, count)?;
    check_scores(rows, cols, scores.len())?;
    let score = |place: usize| scores[place].wide();
    let places = peft_core::places::strongest([rows, cols], count, score);
    let places = places.map_err(|place| {
        let (row, col) = (
            (place / cols as u64) as usize,
            (place % cols as u64) as usize,
        );
        SpectralError::NotFinite { row, col }
    })?;
    Support::from_flat(rows, cols, places)
}

/// `count` entries, every set of them equally likely: those of the smallest words of the stream
/// `key`.
///
/// A function of `key` and the grid only; a smaller draw is a subset of a larger one. One word is
/// made per grid entry and `count` are kept.
///
/// # Errors
/// If `count` does not fit.
pub fn random(rows: usize, cols: usize, count: usize, key: u64) -> Result<Support, SpectralError> {
    check_count(rows, cols, count)?;
    Support::from_flat(rows, cols, drawn([rows, cols], count, key))
}

/// Rows and columns of the [`low_block`] of `count` entries that fit: `⌈√(count · rows / cols)⌉` rows,
/// at least as many as make the columns suffice, by `⌈count / rows⌉` columns.
#[must_use]
pub fn low_block_size([rows, cols]: [usize; 2], count: usize) -> [usize; 2] {
    let wanted = (count as f64 * rows as f64 / cols as f64).sqrt().ceil() as usize;
    let tall = wanted.clamp(count.div_ceil(cols), rows);
    [tall, count.div_ceil(tall)]
}

/// The `count` lowest frequencies as a block of [`low_block_size`], filled row by row.
///
/// # Errors
/// If `count` does not fit.
pub fn low_block(rows: usize, cols: usize, count: usize) -> Result<Support, SpectralError> {
    check_count(rows, cols, count)?;
    let [_, wide] = low_block_size([rows, cols], count);
    let entries = (0..count).map(|i| [(i / wide) as u32, (i % wide) as u32]);
    Support::new(rows, cols, entries.collect())
}

#[inline]
pub(crate) fn finite<T: Real>(score: T, row: usize, col: usize) -> Result<f64, SpectralError> {
    let score = score.wide();
    if score.is_finite() {
        Ok(score)
    } else {
        Err(SpectralError::NotFinite { row, col })
    }
}

pub(crate) fn sorted(
    rows: usize,
    cols: usize,
    places: impl Iterator<Item = u64>,
) -> Result<Support, SpectralError> {
    let mut places: Vec<u64> = places.collect();
    places.sort_unstable();
    Support::from_flat(rows, cols, places)
}
