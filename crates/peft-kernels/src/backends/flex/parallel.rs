//! Splitting work over threads without splitting a sum.

use core::ops::Range;

use rayon::prelude::*;

use super::real::Real;

/// Elements for which waking another thread pays.
pub const GRAIN: usize = 16 * 1024;

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

/// Rows summed by one task. Fixed, so that the order of a sum over rows does not depend on the
/// threads.
const BLOCK: usize = 64;

/// `width` sums over the rows of a matrix of `elements` numbers, `d` a row: `add` adds the rows that
/// lie at a range of elements. Blocks of rows are summed in parallel, then the blocks in order.
pub fn sum_over_rows<T: Real>(
    elements: usize,
    d: usize,
    width: usize,
    add: impl Fn(Range<usize>, &mut [T]) + Sync,
) -> Vec<T> {
    let mut total = vec![T::ZERO; width];
    if elements == 0 {
        return total;
    }
    let block = BLOCK * d;
    let partial: Vec<Vec<T>> = (0..elements.div_ceil(block))
        .into_par_iter()
        .map(|i| {
            let mut sums = vec![T::ZERO; width];
            add(i * block..elements.min((i + 1) * block), &mut sums);
            sums
        })
        .collect();
    for block in partial {
        total.iter_mut().zip(block).for_each(|(t, b)| *t += b);
    }
    total
}
