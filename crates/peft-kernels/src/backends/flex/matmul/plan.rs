//! How a product is cut: runs of `k` into passes over the output, the output into jobs.

use core::ops::Range;

use rayon::prelude::*;

use super::sets::Instructions;
use super::tile::{DEPTH, EXTRA, Sink};
use super::{Operand, Real, Term, Threads};

/// Columns that one job packs: with [`DEPTH`] rows of `f32` a little over 1 MiB. Measured from 128 to
/// 384 on a second-level cache of 1 MiB; fewer make staging show.
const JOB_COLS: usize = 384;
/// Rows below which a job is not split for the sake of another thread: packing would show.
const JOB_ROWS: usize = 128;
/// Multiplications for which waking other threads does not pay.
pub const SMALL: usize = 1 << 17;

/// A run of `k` of one term. Segments of one pass share the sums of the tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which pass over the output.
    pub pass: usize,
    /// Which term.
    pub term: usize,
    /// First `k`.
    pub from: usize,
    /// Number of them.
    pub depth: usize,
}

/// The runs of all terms, in order.
pub fn segments<T>(terms: &[Term<T>]) -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::with_capacity(terms.len());
    let (mut pass, mut depth) = (0, 0);
    for (term, t) in terms.iter().enumerate() {
        let k = t.a.cols;
        if k == 0 {
            continue;
        }
        if depth > 0 && k <= EXTRA && depth + k <= DEPTH + EXTRA {
            all.push(Segment {
                pass,
                term,
                from: 0,
                depth: k,
            });
            depth += k;
            continue;
        }
        // Even runs, whole vectors of any width.
        let run = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(16);
        for from in (0..k).step_by(run) {
            pass += usize::from(!all.is_empty());
            depth = run.min(k - from);
            all.push(Segment {
                pass,
                term,
                from,
                depth,
            });
        }
    }
    all
}

/// A product and how it is cut.
pub struct Plan<'a, T> {
    /// The output and what the products are added to.
    pub sink: Sink<T>,
    /// The products.
    pub terms: &'a [Term<T>],
    /// Their runs.
    pub segments: &'a [Segment],
}

/// A part of the output.
pub struct Job {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub cols: Range<usize>,
}

/// Does an output of `[rows, cols]` in jobs of at most `[height, width]`, on the pool's threads if there are several workers.
pub fn in_jobs(
    [rows, cols]: [usize; 2],
    [height, width]: [usize; 2],
    workers: usize,
    run: impl Fn(Job) + Sync,
) {
    let across = cols.div_ceil(width);
    let job = |index: usize| {
        let (row, col) = (index / across * height, index % across * width);
        run(Job {
            rows: row..(row + height).min(rows),
            cols: col..(col + width).min(cols),
        });
    };
    let jobs = across * rows.div_ceil(height);
    if workers > 1 && jobs > 1 {
        (0..jobs).into_par_iter().with_max_len(1).for_each(job);
    } else {
        (0..jobs).for_each(job);
    }
}

impl<T: Real> Plan<'_, T> {
    /// Does all jobs.
    pub fn run(&self, set: Instructions<T>, threads: Threads) {
        let (rows, cols) = (self.sink.rows, self.sink.cols);
        if self.segments.is_empty() {
            return self.fill();
        }
        let k: usize = self.segments.iter().map(|s| s.depth).sum();
        let workers = match threads {
            Threads::Pool if rows * cols * k > SMALL => rayon::current_num_threads(),
            _ => 1,
        };
        let mut width = cols
            .div_ceil(cols.div_ceil(JOB_COLS))
            .next_multiple_of(set.width);
        let mut height = rows;
        if workers > 1 {
            let enough = 2 * workers;
            let jobs = |width: usize, height: usize| cols.div_ceil(width) * rows.div_ceil(height);
            let blocks = |term: &Term<T>| matches!(term.b, Operand::Blocks(_));
            let decodes = self.terms.iter().any(blocks);
            // Jobs of the same columns pack the same numbers: they do not decode them twice if they can help it.
            while decodes && jobs(width, height) < enough && width >= 4 * set.width {
                width = (width / 2).next_multiple_of(set.width);
            }
            while jobs(width, height) < enough && height >= 2 * JOB_ROWS {
                height = height.div_ceil(2);
            }
            while jobs(width, height) < enough && width >= 2 * set.width {
                width = (width / 2).next_multiple_of(set.width);
            }
        }
        // SAFETY: the caller chose the set by what the machine has.
        in_jobs([rows, cols], [height, width], workers, |job| unsafe {
            (set.job)(self, &job);
        });
    }

    /// The start alone: a product over no terms.
    fn fill(&self) {
        let sink = &self.sink;
        for i in 0..sink.rows as isize {
            for j in 0..sink.cols as isize {
                // SAFETY: inside the output, and its start if there is one.
                unsafe {
                    let at = i * sink.start_row_stride + j * sink.start_col_stride;
                    *sink.to.offset(i * sink.row_stride + j * sink.col_stride) =
                        if sink.start.is_null() {
                            T::ZERO
                        } else {
                            *sink.start.offset(at)
                        };
                }
            }
        }
    }

    /// The segments of each pass over the output.
    pub fn passes(&self) -> impl Iterator<Item = &[Segment]> {
        self.segments.chunk_by(|a, b| a.pass == b.pass)
    }
}
