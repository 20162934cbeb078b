use peft_core::{
    kernels::word,
    places::{Smallest, Strong, over_rows},
};

use super::{
    Bands, Metric, Reach, Support,
    list::{check_count, check_scores},
    simple::{finite, sorted},
};
use crate::{Real, SpectralError};

/// The settings of sDCTFT's selection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hierarchical {
    /// Distance bands, 3 in the paper.
    pub bands: u32,
    /// Share of every band's budget that goes to its strongest entries; the rest is drawn at
    /// random from the rest of the band. 0.7 in the paper.
    pub energy_share: f64,
    /// The distance.
    pub metric: Metric,
    /// Where the last band ends.
    pub reach: Reach,
}

impl Default for Hierarchical {
    fn default() -> Self {
        Self {
            bands: 3,
            energy_share: 0.7,
            metric: Metric::Corner,
            reach: Reach::Grid,
        }
    }
}

/// The entries that sDCTFT trains, from the spectrum of the pre-trained weight.
///
/// The budget is split evenly over the bands (one more for the first `count mod bands`), clipped to
/// their populations, what is clipped going to the next band. Of a band's `n_b`, `⌊δ n_b⌋` are
/// its entries of largest magnitude (ties by place) and the others a uniform draw from the rest of
/// the band: those of the smallest words of the stream `key`.
///
/// `scores` is read once, in rows; beyond it memory is a few times `count`.
///
/// # Errors
/// If `count` does not fit the grid, `scores` has another shape or a value that is not finite, or
/// a setting is out of range.
pub fn hierarchical<T: Real>(
    scores: &[T],
    rows: usize,
    cols: usize,
    count: usize,
    settings: &Hierarchical,
    key: u64,
) -> Result<Support, SpectralError> {
    let all = |side: usize| (0..side).collect::<Vec<_>>();
    within(
        scores,
        [rows, cols],
        [&all(rows), &all(cols)],
        count,
        settings,
        key,
    )
}

/// [`hierarchical`] among the entries of the given rows and columns.
pub(crate) fn within<T: Real>(
    scores: &[T],
    [rows, cols]: [usize; 2],
    [some_rows, some_cols]: [&[usize]; 2],
    count: usize,
    settings: &Hierarchical,
    key: u64,
) -> Result<Support, SpectralError> {
    check_count(some_rows.len(), some_cols.len(), count)?;
    check_scores(rows, cols, scores.len())?;
    let share = settings.energy_share;
    if !(0.0..=1.0).contains(&share) {
        return Err(SpectralError::Share(share));
    }
    let bands = Bands::new(rows, cols, settings.bands, settings.metric, settings.reach)?;
    let budgets = budgets(&populations(&bands, some_rows, some_cols), count);

    // The smallest `n_b` words of a band include at least as many entries that are not among the
    // strongest as the random part needs, so one pass over the scores finds both.
    let picks = over_rows(
        some_rows.len(),
        || {
            let pick = |&budget| (Smallest::new(energy(budget, share)), Smallest::new(budget));
            budgets.iter().map(pick).collect::<Vec<_>>()
        },
        |picks, index| {
            let row = some_rows[index];
            let in_row = bands.row(row);
            for &col in some_cols {
                let flat = row * cols + col;
                let score = finite(scores[flat], row, col)?;
                let (strong, drawn) = &mut picks[in_row.band(col)];
                strong.offer(Strong::new(score, flat as u64));
                drawn.offer((word(key, flat as u64), flat as u64));
            }
            Ok(())
        },
        |left, right| {
            for (left, right) in left.iter_mut().zip(right) {
                left.0.absorb(right.0);
                left.1.absorb(right.1);
            }
        },
    )?;

    let mut places = Vec::with_capacity(count);
    for ((strong, drawn), budget) in picks.into_iter().zip(budgets) {
        let mut strong: Vec<u64> = strong.into_sorted().iter().map(|item| item.place).collect();
        strong.sort_unstable();
        let random = drawn.into_sorted().into_iter().map(|(_, place)| place);
        places.extend(
            random
                .filter(|place| strong.binary_search(place).is_err())
                .take(budget - strong.len()),
        );
        places.extend(strong);
    }
    sorted(rows, cols, places.into_iter())
}

/// `⌊share · budget⌋`, of the decimal share that was meant: 0.7 · 90 is 63, though its double is
/// a little less.
fn energy(budget: usize, share: f64) -> usize {
    ((share * budget as f64 + 1e-9).floor() as usize).min(budget)
}

fn populations(bands: &Bands, some_rows: &[usize], some_cols: &[usize]) -> Vec<u64> {
    let mut populations = vec![0; bands.count()];
    for &row in some_rows {
        let in_row = bands.row(row);
        for &col in some_cols {
            populations[in_row.band(col)] += 1;
        }
    }
    populations
}

/// Splits `count` over bands: evenly, low bands first, what does not fit into the next one that
/// has room.
pub(crate) fn budgets(populations: &[u64], count: usize) -> Vec<usize> {
    let bands = populations.len();
    let mut budgets = vec![0; bands];
    let mut spill = 0;
    // Twice around: what the last band cannot hold goes to the first ones again.
    for i in 0..2 * bands {
        let band = i % bands;
        let share = if i < bands {
            count / bands + usize::from(band < count % bands)
        } else {
            0
        };
        let room = usize::try_from(populations[band]).unwrap_or(usize::MAX) - budgets[band];
        let taken = (share + spill).min(room);
        budgets[band] += taken;
        spill = share + spill - taken;
    }
    budgets
}
