//! Hypervolume: what a set of points dominates, above a reference point. All objectives are maximised.

mod cells;

pub use cells::{Cell, Cells};

use crate::pareto::front;

/// The volume dominated by `rows` above `reference`: the measure of the union of the boxes `[reference, row]`.
///
/// Rows not strictly above the reference in every objective, and rows with a NaN, add nothing. One objective: the
/// largest gap. Two: a sweep, O(n log n). More: WFG, the sum over rows of what each dominates and those after it do
/// not (While, Bradstreet and Barone, "A fast way of calculating exact hypervolumes", 2012).
///
/// # Panics
///
/// Where a row has not as many objectives as the reference.
pub fn hypervolume(rows: &[Vec<f64>], reference: &[f64]) -> f64 {
    let above = |row: &&Vec<f64>| {
        assert_eq!(
            row.len(),
            reference.len(),
            "a row and the reference differ in objectives"
        );
        row.iter().zip(reference).all(|(value, low)| value > low)
    };
    let gaps: Vec<Vec<f64>> = rows
        .iter()
        .filter(above)
        .map(|row| {
            row.iter()
                .zip(reference)
                .map(|(value, low)| value - low)
                .collect()
        })
        .collect();
    volume(gaps)
}

/// What a point adds to the hypervolume of `rows`: `HV(rows ∪ point) − HV(rows)`, computed without the difference of
/// two large numbers as `∏(point − reference) − HV({min(point, row)})`.
pub fn improvement(rows: &[Vec<f64>], reference: &[f64], point: &[f64]) -> f64 {
    if !point.iter().zip(reference).all(|(value, low)| value > low) {
        return 0.0;
    }
    let own: f64 = point
        .iter()
        .zip(reference)
        .map(|(value, low)| value - low)
        .product();
    (own - hypervolume(&limited(rows, point), reference)).max(0.0)
}

/// The rows, cut down to what lies below `point`.
fn limited(rows: &[Vec<f64>], point: &[f64]) -> Vec<Vec<f64>> {
    rows.iter()
        .map(|row| row.iter().zip(point).map(|(a, b)| a.min(*b)).collect())
        .collect()
}

/// Hypervolume above the origin of positive rows.
fn volume(mut rows: Vec<Vec<f64>>) -> f64 {
    let Some(objectives) = rows.first().map(Vec::len) else {
        return 0.0;
    };
    match objectives {
        0 => 1.0,
        1 => rows.iter().map(|row| row[0]).fold(0.0, f64::max),
        2 => {
            rows.sort_by(|a, b| b[0].total_cmp(&a[0]));
            let (mut sum, mut height) = (0.0, 0.0);
            for row in &rows {
                if row[1] > height {
                    sum += row[0] * (row[1] - height);
                    height = row[1];
                }
            }
            sum
        }
        _ => {
            let kept = front(&rows);
            let mut rows: Vec<Vec<f64>> = kept.into_iter().map(|i| rows[i].clone()).collect();
            // Ascending in the last objective: what comes after a row is cut down to it there and so soon dominated.
            rows.sort_by(|a, b| a[objectives - 1].total_cmp(&b[objectives - 1]));
            let exclusive = |index: usize| {
                let row = &rows[index];
                // The rows after this one reach at least as high in the last objective: that factor is common.
                let flat: Vec<Vec<f64>> = limited(&rows[index + 1..], row)
                    .into_iter()
                    .map(|mut cut| {
                        cut.pop();
                        cut
                    })
                    .collect();
                let base: f64 = row[..objectives - 1].iter().product();
                row[objectives - 1] * (base - volume(flat))
            };
            (0..rows.len()).map(exclusive).sum()
        }
    }
}

/// A reference point from the best rows known (BoTorch's `infer_reference_point`): the worst value of the front in
/// each objective, less a tenth of the front's range there; of a front of one row, the value less a tenth of its size.
pub fn infer_reference(rows: &[Vec<f64>]) -> Option<Vec<f64>> {
    let kept = front(rows);
    let objectives = rows.get(*kept.first()?)?.len();
    let reference = |objective: usize| {
        let values = kept.iter().map(|&row| rows[row][objective]);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let range = if kept.len() == 1 {
            low.abs()
        } else {
            high - low
        };
        low - 0.1 * range.max(1e-7)
    };
    Some((0..objectives).map(reference).collect())
}

#[cfg(test)]
mod tests;
