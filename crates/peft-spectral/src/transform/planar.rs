use rayon::prelude::*;

use super::{Basis, Transform};
use crate::Real;

/// Lines that are taken out of a matrix's columns together: enough of them to use whole cache
/// lines of the source, few enough to stay in the second-level cache.
pub(crate) const COLUMNS: usize = 16;

/// Copies columns `first .. first + count` of a row-major matrix of `stride` columns into rows of
/// `lines`.
pub(crate) fn gather_columns<S: Copy, T>(
    source: &[S],
    stride: usize,
    first: usize,
    lines: &mut [T],
    line: usize,
    convert: impl Fn(S) -> T,
) {
    let count = lines.len() / line;
    for (j, row) in source.chunks_exact(stride).enumerate() {
        for (i, &value) in row[first..first + count].iter().enumerate() {
            lines[i * line + j] = convert(value);
        }
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
        .par_chunks_mut(COLUMNS * width)
        .enumerate()
        .for_each_init(
            || (along_out.scratch(), vec![T::zero(); COLUMNS * out_features]),
            |(scratch, lines), (block, out)| {
                let lines = &mut lines[..out.len() / width * out_features];
                gather_columns(
                    weight,
                    in_features,
                    block * COLUMNS,
                    lines,
                    out_features,
                    |x| x,
                );
                for (line, out) in lines.chunks(out_features).zip(out.chunks_mut(width)) {
                    along_out.analyse_line(line, out, scratch);
                }
            },
        );

    let cols = basis.frequencies(in_features);
    let mut grid = vec![T::zero(); rows * cols];
    grid.par_chunks_mut(COLUMNS * cols)
        .enumerate()
        .for_each_init(
            || {
                (
                    along_in.scratch(),
                    vec![T::zero(); COLUMNS * in_features],
                    vec![T::zero(); along_in.width()],
                )
            },
            |(scratch, lines, full), (block, out)| {
                let lines = &mut lines[..out.len() / cols * in_features];
                for part in 0..basis.parts() {
                    let first = part * rows + block * COLUMNS;
                    gather_columns(&columns, width, first, lines, in_features, |x| x);
                    for (line, out) in lines.chunks(in_features).zip(out.chunks_mut(cols)) {
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
