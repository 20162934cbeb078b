//! Rows, rounded.

use super::super::Matrix;
use super::{RUN, SPAN};

/// The largest of the whole numbers.
const MOST: f32 = 127.0;
/// Numbers that are looked at together.
const LANES: usize = 8;

/// Rows of numbers as whole numbers of 8 bits, a run after the other and a row after the other; each row is filled up with zeros to
/// whole spans.
pub struct Rounded {
    /// Runs of a row.
    pub runs: usize,
    /// Runs from a row to the next.
    pub stride: usize,
    /// The whole numbers.
    pub codes: Vec<i8>,
    /// What a whole number of a run means.
    pub scales: Vec<f32>,
    /// The sum of a run, as what it means.
    pub sums: Vec<f32>,
}

impl Rounded {
    /// Of rows that are contiguous and whole runs.
    ///
    /// A run with a number that is not finite gets a scale that is none, so that all that it is multiplied with is NaN.
    ///
    /// # Safety
    /// The matrix must be readable.
    #[inline(always)]
    pub unsafe fn of(a: Matrix<f32>) -> Self {
        let runs = a.cols / RUN;
        let stride = runs.next_multiple_of(SPAN);
        let all = a.rows * stride;
        let mut rounded = Self {
            runs,
            stride,
            codes: vec![0; all * RUN],
            scales: vec![0.0; all],
            sums: vec![0.0; all],
        };
        let codes = rounded.codes.as_chunks_mut::<RUN>().0;
        for i in 0..a.rows {
            for j in 0..runs {
                // SAFETY: inside of the matrix, whose rows are contiguous.
                let run = unsafe {
                    let row = a.start.offset(i as isize * a.row_stride);
                    &*row.add(j * RUN).cast::<[f32; RUN]>()
                };
                let at = i * stride + j;
                let scale = of_run(run, &mut codes[at]);
                let total: i32 = codes[at].iter().map(|code| i32::from(*code)).sum();
                rounded.scales[at] = scale;
                rounded.sums[at] = scale * total as f32;
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
