//! A few rows times a weight that lies transposed, as in generation: one dot product for each
//! element, for packing the weight would cost more than the product.

use rayon::prelude::*;

use super::super::lanes::sum2;
use super::super::simd::{Kernel, dispatch};
use super::tile::Sink;
use super::{Matrix, Operand, Real, Term, Threads};

/// Most rows that are worth it.
const ROWS: usize = 4;
/// Columns of a task.
const COLS: usize = 64;

/// Whether both operands lie along `k`, and there are few rows.
pub fn suits<T: Copy>(term: &Term<T>) -> bool {
    let Operand::Same(b) = term.b else {
        return false;
    };
    term.a.rows <= ROWS && b.row_stride == 1 && term.a.col_stride == 1 && b.cols > ROWS
}

struct Dots<T> {
    a: Matrix<T>,
    b: Matrix<T>,
    scale: T,
    sink: Sink<T>,
}

impl<T: Real> Kernel for Dots<T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (a, b, sink) = (self.a, self.b, self.sink);
        for j in 0..b.cols as isize {
            // SAFETY: a column of `b` is contiguous, by `suits`.
            let column =
                unsafe { core::slice::from_raw_parts(b.start.offset(j * b.col_stride), b.rows) };
            for i in 0..a.rows as isize {
                // SAFETY: as above for a row of `a`; (i, j) lies inside the sink.
                unsafe {
                    let row = core::slice::from_raw_parts(a.start.offset(i * a.row_stride), a.cols);
                    let dot = sum2(row, column, |x, y| x * y) * self.scale;
                    *sink.to.offset(i * sink.row_stride + j * sink.col_stride) =
                        match sink.start.is_null() {
                            true => dot,
                            false => {
                                let at = i * sink.start_row_stride + j * sink.start_col_stride;
                                *sink.start.offset(at) + dot
                            }
                        };
                }
            }
        }
    }
}

/// `sink = start + scale · a · b`.
///
/// # Safety
/// As for [`multiply`](super::multiply), for a term that [`suits`].
pub unsafe fn dots<T: Real>(term: &Term<T>, sink: Sink<T>, threads: Threads) {
    let Operand::Same(b) = term.b else {
        return;
    };
    let (a, scale) = (term.a, term.scale);
    let task = |first: usize| {
        let cols = first..(first + COLS).min(b.cols);
        let part = sink.part(0, first, a.rows, cols.len(), false);
        dispatch(Dots {
            a,
            b: b.part(0..b.rows, cols),
            scale,
            sink: part,
        });
    };
    let tasks = b.cols.div_ceil(COLS);
    match threads {
        Threads::Pool if a.cols * b.cols > super::plan::SMALL => {
            (0..tasks).into_par_iter().for_each(|i| task(i * COLS))
        }
        _ => (0..tasks).for_each(|i| task(i * COLS)),
    }
}
