use super::list::check_grid;
use crate::SpectralError;

/// How far an entry `(u, v)` of an `M × N` grid is from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// `√(u² + v²)`: from the constant term in the corner. The default.
    Corner,
    /// `√((u/(M−1))² + (v/(N−1))²)`: each axis scaled to `[0, 1]`, for oblong weights.
    Normalized,
    /// `√((u−⌊M/2⌋)² + (v−⌊N/2⌋)²)`: from the middle of the grid, as the code released with MaCP.
    /// The middle means nothing to a cosine transform; kept to reproduce that geometry.
    Centre,
}

/// The distance at which the last band ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The largest distance of the grid. The default.
    Grid,
    /// `√((M/2)² + (N/2)²)`, as the paper; whatever lies beyond belongs to the last band.
    Paper,
}

/// Distance bands that partition a grid: band `i` of `B` holds the entries with
/// `i/B · d_max < d ≤ (i+1)/B · d_max`, the first also `d = 0`, the last also everything beyond.
///
/// Distances are compared squared and in integers, so an entry on an edge falls on the same side
/// everywhere (sDCTFT / MaCP, arXiv 2410.09103, 2505.23870).
#[derive(Debug, Clone)]
pub struct Bands {
    rows: usize,
    cols: usize,
    count: u32,
    origin: [u64; 2],
    /// What a squared step along either axis is worth in the integers' unit.
    weight: [u128; 2],
    /// `d_max²` in the integers' unit.
    reach: u128,
}

impl Bands {
    /// `count` bands of a grid of `rows` by `cols`.
    ///
    /// [`Reach::Paper`] with [`Metric::Normalized`] ends at `√(1/2)`, half of each axis.
    ///
    /// # Errors
    /// If the grid is empty or too large, or `count` is not 1 to 64.
    pub fn new(
        rows: usize,
        cols: usize,
        count: u32,
        metric: Metric,
        reach: Reach,
    ) -> Result<Self, SpectralError> {
        check_grid(rows, cols)?;
        // With sides of at most 2²⁸ this keeps every product below within 128 bits.
        if !(1..=64).contains(&count) {
            return Err(SpectralError::Bands(count));
        }
        let (m, n) = (rows as u64, cols as u64);
        let origin = match metric {
            Metric::Corner | Metric::Normalized => [0, 0],
            Metric::Centre => [m / 2, n / 2],
        };
        // In units of half a step, so that M/2 of an odd M is whole.
        let weight = match metric {
            Metric::Corner | Metric::Centre => [4, 4],
            Metric::Normalized => [4 * square((n - 1).max(1)), 4 * square((m - 1).max(1))],
        };
        let reach = match (reach, metric) {
            (Reach::Grid, _) => {
                let farthest = [
                    origin[0].max(m - 1 - origin[0]),
                    origin[1].max(n - 1 - origin[1]),
                ];
                weight[0] * square(farthest[0]) + weight[1] * square(farthest[1])
            }
            (Reach::Paper, Metric::Normalized) => {
                (weight[0] * square(m - 1) + weight[1] * square(n - 1)) / 4
            }
            (Reach::Paper, _) => square(m) + square(n),
        };
        Ok(Self {
            rows,
            cols,
            count,
            origin,
            weight,
            reach,
        })
    }

    /// Output frequencies of the grid.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input frequencies of the grid.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of bands.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The band of an entry.
    #[must_use]
    pub fn band(&self, row: usize, col: usize) -> usize {
        self.row(row).band(col)
    }

    /// The bands of a row's entries.
    pub(crate) fn row(&self, row: usize) -> RowBands {
        let along = self.weight[0] * square((row as u64).abs_diff(self.origin[0]));
        // d ≤ i/B · d_max, squared; along a row that is a greatest distance from the origin's column.
        let inside = |edge: u32, offset: u64| {
            let distance = along + self.weight[1] * square(offset);
            distance * square(self.count.into()) <= self.reach * square(edge.into())
        };
        let columns = self.cols as u64;
        RowBands {
            origin: self.origin[1],
            ends: (1..self.count)
                .map(|edge| first_false(columns, |offset| inside(edge, offset)))
                .collect(),
        }
    }

    /// Entries of the grid in each band.
    #[must_use]
    pub fn populations(&self) -> Vec<u64> {
        let mut populations = vec![0; self.count()];
        for row in 0..self.rows {
            let bands = self.row(row);
            for col in 0..self.cols {
                populations[bands.band(col)] += 1;
            }
        }
        populations
    }
}

/// The bands of one row: three comparisons an entry instead of wide products.
pub(crate) struct RowBands {
    origin: u64,
    /// Of every band but the last, the first distance from the origin's column beyond it; rising.
    ends: Vec<u64>,
}

impl RowBands {
    #[inline]
    pub(crate) fn band(&self, col: usize) -> usize {
        let offset = (col as u64).abs_diff(self.origin);
        self.ends.iter().filter(|&&end| offset >= end).count()
    }
}

/// The first of `0 .. limit` for which `holds` is false, where it never is true again.
fn first_false(limit: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, limit);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn square(x: u64) -> u128 {
    u128::from(x) * u128::from(x)
}
