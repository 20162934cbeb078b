use peft_core::places::Strong;

use super::{
    Hierarchical, Support, hierarchical::budgets, hierarchical::within, list::check_scores,
};
use crate::{Real, SpectralError};

/// sDCTFT's selection inside a small product of rows and columns.
///
/// A random support touches nearly as many distinct rows and columns as it has entries, and each
/// costs a basis row in the factored product. Here `max_rows` rows and `max_cols` columns are chosen
/// first, an equal number from every band of their axis, by their energy; then
/// [`hierarchical`](super::hierarchical) chooses `count` entries among their crossings. The update has rank at most
/// `min(max_rows, max_cols)` and costs what LoRA of that rank does. This deviates from the paper.
///
/// # Errors
/// If `count` is 0 or more than `max_rows · max_cols` or the grid has places, `scores` has another shape or a
/// value that is not finite, or a setting is out of range.
pub fn product<T: Real>(
    scores: &[T],
    rows: usize,
    cols: usize,
    [max_rows, max_cols]: [usize; 2],
    count: usize,
    settings: &Hierarchical,
    key: u64,
) -> Result<Support, SpectralError> {
    check_scores(rows, cols, scores.len())?;
    if settings.bands == 0 {
        return Err(SpectralError::Bands(0));
    }
    let mut row_energy = vec![0.0; rows];
    let mut col_energy = vec![0.0; cols];
    for (row, line) in row_energy.iter_mut().zip(scores.chunks(cols.max(1))) {
        for (col, &score) in col_energy.iter_mut().zip(line) {
            let energy = score.wide() * score.wide();
            *row += energy;
            *col += energy;
        }
    }
    let bands = settings.bands as usize;
    let some_rows = strongest_lines(&row_energy, max_rows.min(rows), bands);
    let some_cols = strongest_lines(&col_energy, max_cols.min(cols), bands);
    within(
        scores,
        [rows, cols],
        [&some_rows, &some_cols],
        count,
        settings,
        key,
    )
}

/// `count` lines of an axis, the strongest of every band (equal thirds of the axis, for three),
/// in rising order.
fn strongest_lines(energy: &[f64], count: usize, bands: usize) -> Vec<usize> {
    let edges: Vec<usize> = (0..=bands).map(|i| energy.len() * i / bands).collect();
    let populations: Vec<u64> = edges
        .windows(2)
        .map(|edge| (edge[1] - edge[0]) as u64)
        .collect();
    let mut lines = Vec::with_capacity(count);
    for (edge, budget) in edges.windows(2).zip(budgets(&populations, count)) {
        let mut band: Vec<Strong> = (edge[0]..edge[1])
            .map(|line| Strong::new(energy[line], line as u64))
            .collect();
        band.sort_unstable();
        lines.extend(band[..budget].iter().map(|item| item.place as usize));
    }
    lines.sort_unstable();
    lines
}
