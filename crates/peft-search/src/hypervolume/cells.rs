//! The region of two objectives that a front does not dominate, as disjoint cells.

use crate::normal::{expected_excess, ln_expected_excess, ln_sum_exp};

/// `[low, high) × [floor, ∞)`: everything in it improves on the front.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Lower bound of the first objective.
    pub low: f64,
    /// Upper bound of the first objective, +∞ of the last cell.
    pub high: f64,
    /// Lower bound of the second objective.
    pub floor: f64,
}

/// The box decomposition of the region above a reference point that a front of two maximised objectives does not
/// dominate: `n + 1` cells for `n` points (Yang, Emmerich, Deutz and Bäck, "Efficient computation of expected
/// hypervolume improvement using box decomposition algorithms", 2019).
///
/// With the front's points `p₁ … pₙ` in ascending order of the first objective, cell `k = 0 … n` has
/// `low = p_{k,1}` (the reference's first value for k = 0), `high = p_{k+1,1}` (+∞ for k = n) and
/// `floor = p_{k+1,2}` (the reference's second value for k = n).
#[derive(Debug, Clone, PartialEq)]
pub struct Cells(Vec<Cell>);

impl Cells {
    /// The cells of the rows' front above the reference; rows not above it are left out.
    pub fn new(rows: &[[f64; 2]], reference: [f64; 2]) -> Self {
        let mut above: Vec<[f64; 2]> = rows
            .iter()
            .copied()
            .filter(|row| row[0] > reference[0] && row[1] > reference[1])
            .collect();
        above.sort_by(|a, b| b[0].total_cmp(&a[0]).then(b[1].total_cmp(&a[1])));
        let mut cells = Vec::with_capacity(above.len() + 1);
        let (mut high, mut floor) = (f64::INFINITY, reference[1]);
        for [first, second] in above {
            if second > floor {
                cells.push(Cell {
                    low: first,
                    high,
                    floor,
                });
                (high, floor) = (first, second);
            }
        }
        cells.push(Cell {
            low: reference[0],
            high,
            floor,
        });
        cells.reverse();
        Self(cells)
    }

    /// The cells in ascending order of the first objective.
    pub fn as_slice(&self) -> &[Cell] {
        &self.0
    }

    /// `HVI(y) = Σ_k (min(y₁, high_k) − low_k)₊ (y₂ − floor_k)₊`.
    pub fn improvement(&self, y: [f64; 2]) -> f64 {
        let width = |cell: &Cell| (y[0].min(cell.high) - cell.low).max(0.0);
        self.0
            .iter()
            .map(|cell| width(cell) * (y[1] - cell.floor).max(0.0))
            .sum()
    }

    /// Expected improvement of the hypervolume where the first objective is *known*, `c`, and the second is normal:
    /// `Σ_k (min(c, high_k) − low_k)₊ σ h₁((μ − floor_k)/σ)`, with `h₁` of
    /// [`expected_excess`](crate::normal::expected_excess).
    pub fn expected_known(&self, known: f64, mean: f64, deviation: f64) -> f64 {
        let mut sum = 0.0;
        for cell in self.0.iter().take_while(|cell| cell.low < known) {
            sum += (known.min(cell.high) - cell.low)
                * expected_excess((mean - cell.floor) / deviation);
        }
        sum * deviation
    }

    /// The logarithm of [`expected_known`](Self::expected_known), finite where that underflows; −∞ where the known
    /// value is not above the reference.
    pub fn ln_expected_known(&self, known: f64, mean: f64, deviation: f64) -> f64 {
        let terms: Vec<f64> = self
            .0
            .iter()
            .take_while(|cell| cell.low < known)
            .map(|cell| {
                (known.min(cell.high) - cell.low).ln()
                    + ln_expected_excess((mean - cell.floor) / deviation)
            })
            .collect();
        ln_sum_exp(&terms) + deviation.ln()
    }

    /// Expected improvement of the hypervolume of two independent normals,
    /// `Σ_k (h(low_k; μ₁, σ₁) − h(high_k; μ₁, σ₁)) h(floor_k; μ₂, σ₂)` with `h(a; μ, σ) = σ h₁((μ − a)/σ)`.
    pub fn expected(&self, mean: [f64; 2], deviation: [f64; 2]) -> f64 {
        let h = |a: f64, i: usize| deviation[i] * expected_excess((mean[i] - a) / deviation[i]);
        let mut sum = 0.0;
        let mut upper = 0.0;
        for cell in self.0.iter().rev() {
            let lower = h(cell.low, 0);
            sum += (lower - upper).max(0.0) * h(cell.floor, 1);
            upper = lower;
        }
        sum
    }

    /// The logarithm of [`expected`](Self::expected), finite where that underflows.
    pub fn ln_expected(&self, mean: [f64; 2], deviation: [f64; 2]) -> f64 {
        let ln_h =
            |a: f64, i: usize| deviation[i].ln() + ln_expected_excess((mean[i] - a) / deviation[i]);
        let mut upper = f64::NEG_INFINITY;
        let terms: Vec<f64> = self
            .0
            .iter()
            .rev()
            .map(|cell| {
                let lower = ln_h(cell.low, 0);
                // Rounding must not make the upper bound the more probable one.
                let width = lower + (-(upper - lower).exp().min(1.0)).ln_1p();
                upper = lower;
                width + ln_h(cell.floor, 1)
            })
            .collect();
        ln_sum_exp(&terms)
    }
}
