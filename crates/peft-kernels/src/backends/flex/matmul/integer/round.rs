//! Rows, rounded.

use super::super::Matrix;
use super::kinds::Layout;
use super::{GROUP, NUMBERS, RUN};

/// The largest of the whole numbers.
const MOST: f32 = 127.0;
/// Numbers that are looked at together.
const LANES: usize = 8;

/// Rows of numbers as whole numbers of 8 bits, a group of runs after the other and a row after the other; each row is filled up
/// with zeros to whole groups.
pub struct Rounded {
    /// Runs of a row.
    pub runs: usize,
    /// Groups of a row.
    pub groups: usize,
    /// The whole numbers, in each group as the codes of a weight lie.
    pub codes: Vec<i8>,
    /// Of each run what a whole number means, and the sum of the run.
    pub pairs: Vec<f32>,
}

impl Rounded {
    /// Of rows that are contiguous and whole runs.
    ///
    /// A run with a number that is not finite gets a scale that is none, so that all that it is multiplied with is NaN.
    ///
    /// # Safety
    /// The matrix must be readable.
    #[inline(always)]
    pub unsafe fn of(a: Matrix<f32>, layout: Layout) -> Self {
        let runs = a.cols / RUN;
        let groups = runs.div_ceil(GROUP);
        let mut rounded = Self {
            runs,
            groups,
            codes: vec![0; a.rows * groups * NUMBERS],
            pairs: vec![0.0; a.rows * groups * 2 * GROUP],
        };
        let mut places = [0; 2 * GROUP];
        for (place, half) in layout.halves().into_iter().enumerate() {
            places[half] = place;
        }
        let all = rounded.codes.as_chunks_mut::<NUMBERS>().0.iter_mut();
        let all = all.zip(rounded.pairs.as_chunks_mut::<{ 2 * GROUP }>().0);
        for (at, (codes, pairs)) in all.enumerate() {
            let (i, first) = (at / groups, at % groups * GROUP);
            let halves = codes.as_chunks_mut::<{ RUN / 2 }>().0;
            for j in first..runs.min(first + GROUP) {
                // SAFETY: inside of the matrix, whose rows are contiguous.
                let run = unsafe {
                    let row = a.start.offset(i as isize * a.row_stride);
                    &*row.add(j * RUN).cast::<[f32; RUN]>()
                };
                let mut whole = [0; RUN];
                let scale = of_run(run, &mut whole);
                let total: i32 = whole.iter().map(|code| i32::from(*code)).sum();
                for (h, half) in whole.as_chunks::<{ RUN / 2 }>().0.iter().enumerate() {
                    halves[places[2 * (j - first) + h]] = *half;
                }
                pairs[2 * (j - first)] = scale;
                pairs[2 * (j - first) + 1] = scale * total as f32;
            }
        }
        rounded
    }
}

/// The whole numbers of a run; what one of them means.
#[inline(always)]
fn of_run(run: &[f32; RUN], codes: &mut [i8; RUN]) -> f32 {
    let mut largest = [0f32; LANES];
    // Zero times what is not finite is NaN.
    let mut broken = [0f32; LANES];
    for part in run.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(part[lane].abs());
            broken[lane] += part[lane] * 0.0;
        }
    }
    let largest = largest.into_iter().fold(0.0, f32::max);
    let broken: f32 = broken.iter().sum();
    let scale = largest / MOST + broken;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // The inverse of a scale below the least normal number may be infinite.
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(run) {
        let whole = (x * inverse).round_ties_even().clamp(-MOST, MOST);
        *code = whole as i32 as i8;
    }
    scale
}
