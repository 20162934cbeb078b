use rayon::prelude::*;

use super::{Basis, Transform};
use crate::Real;

/// Lines that are taken out of a matrix's columns together: enough of them to use two cache lines
/// at every visit of a row (each visit is another page), few enough to stay in the second-level
/// cache.
const LINES: usize = 32;

/// Space between two lines: widths are powers of two, and lines a power of two apart would all
/// compete for the same few places of the cache.
const GAP: usize = 16;

/// Up to `COUNT` columns of a row-major matrix, each as one contiguous line.
struct Columns<T> {
    length: usize,
    lines: Vec<T>,
}

impl<T: Copy + Default> Columns<T> {
    /// Space for columns of `length` values.
    fn new(length: usize) -> Self {
        Self {
            length,
            lines: vec![T::default(); LINES * (length + GAP)],
        }
    }

    /// Columns `first .. first + count` of `source`, a matrix of `stride` columns.
    fn take(
        &mut self,
        source: &[T],
        stride: usize,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = &[T]> {
        let line = self.length + GAP;
        // Eight rows at a time stay in the first-level cache, even where a power of two apart.
        for (tile, rows) in source.chunks(8 * stride).enumerate() {
            let height = rows.len() / stride;
            for i in 0..count {
                let out = &mut self.lines[i * line + 8 * tile..][..height];
                for (value, row) in out.iter_mut().zip(rows.chunks_exact(stride)) {
                    *value = row[first + i];
                }
            }
        }
        self.lines
            .chunks(line)
            .map(|line| &line[..self.length])
            .take(count)
    }
}

/// The two-dimensional spectrum of a matrix, `B_out W B_inᵀ`, one value per frequency pair.
///
/// `weight` is `[out_features, in_features]`, row-major, as is the result,
/// `[frequencies(out), frequencies(in)]`. For `Fourier` it is the real part of the unitary 2-D DFT,
/// the gradient of FourierFT's coefficients when `weight` is the weight's gradient; for any other
/// basis it holds every coefficient. One intermediate of the size of the result (twice that for
/// `Fourier`) is needed.
///
/// # Panics
/// If `weight` has not `out_features · in_features` values, or one of them is 0.
#[must_use]
pub fn spectrum<T: Real>(
    basis: Basis,
    weight: &[T],
    out_features: usize,
    in_features: usize,
) -> Vec<T> {
    assert_eq!(
        weight.len(),
        out_features * in_features,
        "the weight must be {out_features} x {in_features}"
    );
    let along_out = Transform::<T>::new(basis, out_features);
    let along_in = Transform::<T>::new(basis, in_features);
    let (rows, width) = (basis.frequencies(out_features), along_out.width());

    // Columns first, kept as rows: both passes then write whole rows.
    let mut columns = vec![T::zero(); in_features * width];
    columns
        .par_chunks_mut(LINES * width)
        .enumerate()
        .for_each_init(
            || (along_out.scratch(), Columns::new(out_features)),
            |(scratch, lines), (block, out)| {
                let lines = lines.take(weight, in_features, block * LINES, out.len() / width);
                for (line, out) in lines.zip(out.chunks_mut(width)) {
                    along_out.analyse_line(line, out, scratch);
                }
            },
        );

    let cols = basis.frequencies(in_features);
    let mut grid = vec![T::zero(); rows * cols];
    grid.par_chunks_mut(LINES * cols).enumerate().for_each_init(
        || {
            (
                along_in.scratch(),
                Columns::new(in_features),
                vec![T::zero(); along_in.width()],
            )
        },
        |(scratch, lines, full), (block, out)| {
            for part in 0..basis.parts() {
                let first = part * rows + block * LINES;
                let lines = lines.take(&columns, width, first, out.len() / cols);
                for (line, out) in lines.zip(out.chunks_mut(cols)) {
                    along_in.analyse_line(line, full, scratch);
                    let full = &full[part * cols..(part + 1) * cols];
                    for (out, &value) in out.iter_mut().zip(full) {
                        // cos·cos − sin·sin
                        *out = if part == 0 { value } else { *out - value };
                    }
                }
            }
        },
    );
    grid
}
