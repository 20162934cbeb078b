//! A few rows times a weight that lies transposed, as in generation: one dot product for each
//! element, for packing the weight would cost more than the product.

use half::bf16;
use rayon::prelude::*;

use super::super::blocks::{Blocks, CHUNK, Room};
use super::super::lanes::Running;
use super::super::simd::{Kernel, dispatch};
use super::pack::Stored;
use super::tile::Sink;
use super::{Matrix, Operand, Real, Term, Threads};

/// Most rows that are worth it.
const ROWS: usize = 4;
/// Columns of a task.
const COLS: usize = 64;

/// Whether both operands lie along `k`, and there are few rows.
pub fn suits<T: Copy>(term: &Term<T>) -> bool {
    let (along, cols) = match term.b {
        Operand::Same(b) => (b.row_stride == 1, b.cols),
        Operand::Bf16(b) => (b.row_stride == 1, b.cols),
        Operand::Blocks(b) => (b.upright, b.cols),
        Operand::F16(_) => return false,
    };
    term.a.rows <= ROWS && along && term.a.col_stride == 1 && cols > ROWS
}

/// The columns of a right-hand side, in the type of the sums.
trait Columns<T>: Copy {
    /// Shows a column in pieces, each with its place. All but the last are whole multiples of the lanes of a sum.
    ///
    /// # Safety
    /// There must be the column.
    unsafe fn show(self, column: usize, room: &mut Room<T>, take: impl FnMut(usize, &[T]));
}

impl<T: Real> Columns<T> for Matrix<T> {
    #[inline(always)]
    unsafe fn show(self, column: usize, _: &mut Room<T>, mut take: impl FnMut(usize, &[T])) {
        // SAFETY: a column is contiguous, by `suits`, and there, by the caller's promise.
        take(0, unsafe { self.transposed().line(column) });
    }
}

impl<T: Real> Columns<T> for Matrix<bf16> {
    #[inline(always)]
    unsafe fn show(self, column: usize, room: &mut Room<T>, mut take: impl FnMut(usize, &[T])) {
        let wide = &mut room.wide;
        // SAFETY: as above.
        let line = unsafe { self.transposed().line(column) };
        for (part, narrow) in line.chunks(CHUNK).enumerate() {
            for (wide, narrow) in wide.iter_mut().zip(narrow) {
                *wide = narrow.widen();
            }
            take(part * CHUNK, &wide[..narrow.len()]);
        }
    }
}

impl<T: Real> Columns<T> for Blocks {
    #[inline(always)]
    unsafe fn show(self, column: usize, room: &mut Room<T>, take: impl FnMut(usize, &[T])) {
        // SAFETY: lines are columns, by `suits`.
        unsafe { self.decode(column, 0..self.rows, room, take) };
    }
}

struct Dots<T, B> {
    a: Matrix<T>,
    b: B,
    first: usize,
    scale: T,
    sink: Sink<T>,
}

impl<T: Real, B: Columns<T>> Dots<T, B> {
    /// The products of one column with `N` rows.
    #[inline(always)]
    fn column<const N: usize>(&self, j: usize, room: &mut Room<T>) -> [T; N] {
        let mut sums = [Running::<T>::default(); N];
        // SAFETY: the rows of `a` are contiguous, by `suits`; the column is there.
        unsafe {
            let rows: [&[T]; N] = core::array::from_fn(|i| self.a.line(i));
            self.b.show(
                self.first + j,
                room,
                #[inline(always)]
                |at, column| {
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        sum.add(
                            &row[at..at + column.len()],
                            column,
                            #[inline(always)]
                            |x, y| x * y,
                        );
                    }
                },
            );
        }
        sums.map(Running::total)
    }

    #[inline(always)]
    fn put(&self, i: usize, j: usize, dot: T) {
        let (i, j, sink) = (i as isize, j as isize, &self.sink);
        let dot = dot * self.scale;
        // SAFETY: (i, j) lies inside the sink, and its start if there is one.
        unsafe {
            *sink.to.offset(i * sink.row_stride + j * sink.col_stride) = match sink.start.is_null()
            {
                true => dot,
                false => {
                    let at = i * sink.start_row_stride + j * sink.start_col_stride;
                    *sink.start.offset(at) + dot
                }
            };
        }
    }

    #[inline(always)]
    fn all<const N: usize>(&self) {
        let mut room = Room::default();
        for j in 0..self.sink.cols {
            for (i, dot) in self.column::<N>(j, &mut room).into_iter().enumerate() {
                self.put(i, j, dot);
            }
        }
    }
}

impl<T: Real, B: Columns<T>> Kernel for Dots<T, B> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.a.rows {
            1 => self.all::<1>(),
            2 => self.all::<2>(),
            3 => self.all::<3>(),
            _ => self.all::<ROWS>(),
        }
    }
}

/// `sink = start + scale · a · b`.
///
/// # Safety
/// As for [`multiply`](super::multiply), for a term that [`suits`].
pub unsafe fn dots<T: Real>(term: &Term<T>, sink: Sink<T>, threads: Threads) {
    match term.b {
        Operand::Same(b) => of_columns(term, b, b.cols, sink, threads),
        Operand::Bf16(b) => of_columns(term, b, b.cols, sink, threads),
        Operand::Blocks(b) => of_columns(term, b, b.cols, sink, threads),
        Operand::F16(_) => {}
    }
}

fn of_columns<T: Real, B: Columns<T> + Send + Sync>(
    term: &Term<T>,
    b: B,
    cols: usize,
    sink: Sink<T>,
    threads: Threads,
) {
    let (a, scale) = (term.a, term.scale);
    let task = |first: usize| {
        let count = COLS.min(cols - first);
        dispatch(Dots {
            a,
            b,
            first,
            scale,
            sink: sink.part(0, first, a.rows, count, false),
        });
    };
    let tasks = cols.div_ceil(COLS);
    match threads {
        Threads::Pool if a.cols * cols > super::plan::SMALL => {
            (0..tasks).into_par_iter().for_each(|i| task(i * COLS))
        }
        _ => (0..tasks).for_each(|i| task(i * COLS)),
    }
}
