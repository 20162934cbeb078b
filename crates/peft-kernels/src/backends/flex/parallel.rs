//! Splitting work over threads without splitting a sum.

use rayon::prelude::*;

/// Elements for which waking another thread pays.
const GRAIN: usize = 16 * 1024;

/// Runs `work` on pieces of whole rows of `out`, each with the index of its first row.
///
/// A piece must give the same result wherever the cuts are: then the thread count cannot show.
pub fn over_rows<T: Send>(out: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() {
        return;
    }
    let rows = (GRAIN / width).max(1);
    if out.len() <= rows * width {
        return work(0, out);
    }
    out.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(i, piece)| work(i * rows, piece));
}

/// As [`over_rows`], over two outputs of equally many rows.
pub fn over_rows2<T: Send, U: Send>(
    (a, a_width): (&mut [T], usize),
    (b, b_width): (&mut [U], usize),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    if a.is_empty() {
        return;
    }
    let rows = (GRAIN / a_width.max(b_width)).max(1);
    a.par_chunks_mut(rows * a_width)
        .zip(b.par_chunks_mut(rows * b_width))
        .enumerate()
        .for_each(|(i, (x, y))| work(i * rows, x, y));
}

/// As [`over_rows`] with one output for each row, where a row costs `cost` elements.
pub fn over_rows_of<T: Send>(out: &mut [T], cost: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let rows = (GRAIN / cost.max(1)).max(1);
    out.par_chunks_mut(rows)
        .enumerate()
        .for_each(|(i, piece)| work(i * rows, piece));
}
