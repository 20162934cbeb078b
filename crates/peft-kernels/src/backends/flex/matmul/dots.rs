//! A few rows times a weight that lies transposed, as in generation: one dot product for each
//! element, for packing the weight would cost more than the product.

use core::slice::from_raw_parts;

use half::{bf16, f16};
use rayon::prelude::*;

use super::super::blocks::{self, Blocks};
use super::pack::Stored;
use super::sets::Instructions;
use super::tile::Sink;
use super::{Matrix, Operand, Real, Term, Threads, Vector};

/// Most rows that are worth it.
const ROWS: usize = 4;
/// Most columns of a task.
const COLS: usize = 64;
/// Tasks for each thread: the last ones even out what the first took longer.
const TASKS: usize = 4;
/// Numbers of a column that are decoded together. A multiple of every block.
const CHUNK: usize = 1024;
/// Numbers in blocks for which waking other threads does not pay.
const FEW: usize = 1 << 15;
/// Sums of a dot product that do not wait for each other.
const CHAINS: usize = 4;
/// Numbers of the widest vector.
const MOST: usize = 16;
// Chunks are whole runs of all chains, so that how a column is cut does not show.
const _: () = assert!(CHUNK.is_multiple_of(CHAINS * MOST));

type Room<T> = blocks::Room<T, CHUNK>;

/// Whether both operands lie along `k`, and there are few rows.
pub fn suits<T: Copy>(term: &Term<T>) -> bool {
    let (along, cols) = match term.b {
        Operand::Same(b) => (b.row_stride == 1, b.cols),
        Operand::Bf16(b) => (b.row_stride == 1, b.cols),
        Operand::F16(b) => (b.row_stride == 1, b.cols),
        Operand::Blocks(b) => (b.upright, b.cols),
    };
    term.a.rows <= ROWS && along && term.a.col_stride == 1 && cols > ROWS
}

/// The columns of a right-hand side, in the type of the sums.
trait Columns<T>: Copy {
    /// `count` numbers of a column from the place `from` on, at most a chunk and from the start of one.
    ///
    /// # Safety
    /// They must be there.
    unsafe fn chunk<V: Vector<Elem = T>>(
        self,
        column: usize,
        from: usize,
        count: usize,
        room: &mut Room<T>,
    ) -> *const T;

    /// The chains of the products of a whole column with rows, where they need no chunks.
    ///
    /// # Safety
    /// The rows must be as long.
    #[inline(always)]
    unsafe fn at_once<V: Vector<Elem = T>, const N: usize>(
        self,
        column: usize,
        rows: [*const T; N],
    ) -> Option<[[V; N]; CHAINS]> {
        let _ = (column, rows);
        None
    }
}

impl<T: Real> Columns<T> for Matrix<T> {
    #[inline(always)]
    unsafe fn chunk<V: Vector<Elem = T>>(
        self,
        column: usize,
        from: usize,
        _: usize,
        _: &mut Room<T>,
    ) -> *const T {
        let line = self
            .start
            .wrapping_offset(column as isize * self.col_stride);
        line.wrapping_add(from)
    }
}

/// Columns of narrower floats.
#[derive(Clone, Copy)]
struct Narrow<S>(Matrix<S>);

impl<T: Real, S: Stored<T>> Columns<T> for Narrow<S> {
    #[inline(always)]
    unsafe fn chunk<V: Vector<Elem = T>>(
        self,
        column: usize,
        from: usize,
        count: usize,
        room: &mut Room<T>,
    ) -> *const T {
        let line = self
            .0
            .start
            .wrapping_offset(column as isize * self.0.col_stride);
        // SAFETY: a column is contiguous, by `suits`, and there, by the caller's promise.
        let narrow = unsafe { from_raw_parts(line.wrapping_add(from), count) };
        for (wide, narrow) in room.wide.iter_mut().zip(narrow) {
            *wide = narrow.widen();
        }
        room.wide.as_ptr()
    }
}

impl<T: Real> Columns<T> for Blocks {
    #[inline(always)]
    unsafe fn chunk<V: Vector<Elem = T>>(
        self,
        column: usize,
        from: usize,
        count: usize,
        room: &mut Room<T>,
    ) -> *const T {
        // SAFETY: lines are columns, by `suits`; the rest by the caller's promise.
        unsafe { self.decode_chunk::<V, CHUNK>(column, from, count, room) };
        room.wide.as_ptr()
    }

    #[inline(always)]
    unsafe fn at_once<V: Vector<Elem = T>, const N: usize>(
        self,
        column: usize,
        rows: [*const T; N],
    ) -> Option<[[V; N]; CHAINS]> {
        // SAFETY: the caller's promise; lines are columns.
        unsafe { V::block_dots(self.kind(), self.line(column), self.rows, rows) }
    }
}

/// Columns of the output that one task computes.
pub struct Task<'a, T> {
    term: &'a Term<T>,
    first: usize,
    sink: Sink<T>,
}

/// Does a task with the vectors `V`.
///
/// # Safety
/// The instructions of `V` must be there, and the operands and the sink as for [`multiply`](super::multiply).
#[inline(always)]
pub unsafe fn run<T: Real, V: Vector<Elem = T>>(task: &Task<'_, T>) {
    // SAFETY: the caller's promise.
    unsafe {
        match task.term.b {
            Operand::Same(b) => task.by_rows::<V, _>(b),
            Operand::Bf16(b) => task.by_rows::<V, _>(Narrow::<bf16>(b)),
            Operand::F16(b) => task.by_rows::<V, _>(Narrow::<f16>(b)),
            Operand::Blocks(b) => task.by_rows::<V, _>(b),
        }
    }
}

impl<T: Real> Task<'_, T> {
    #[inline(always)]
    unsafe fn by_rows<V: Vector<Elem = T>, B: Columns<T>>(&self, b: B) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.term.a.rows {
                1 => self.all::<V, B, 1>(b),
                2 => self.all::<V, B, 2>(b),
                3 => self.all::<V, B, 3>(b),
                _ => self.all::<V, B, ROWS>(b),
            }
        }
    }

    #[inline(always)]
    unsafe fn all<V: Vector<Elem = T>, B: Columns<T>, const N: usize>(&self, b: B) {
        let mut room = Room::default();
        for j in 0..self.sink.cols {
            // SAFETY: the caller's promise.
            let sums = unsafe { self.column::<V, B, N>(b, self.first + j, &mut room) };
            for (i, sum) in sums.into_iter().enumerate() {
                // SAFETY: (i, j) lies inside the sink.
                unsafe { self.sink.put(i, j, sum * self.term.scale) };
            }
        }
    }

    /// The products of one column with `N` rows.
    ///
    /// Number `k` belongs to lane `k mod LANES` of chain `k / LANES mod CHAINS`. Lanes and chains are added in pairs, what is
    /// left behind the last whole vector comes last.
    #[inline(always)]
    unsafe fn column<V: Vector<Elem = T>, B: Columns<T>, const N: usize>(
        &self,
        b: B,
        column: usize,
        room: &mut Room<T>,
    ) -> [T; N] {
        let a = self.term.a;
        let mut rows = [a.start; N];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = a.start.wrapping_offset(i as isize * a.row_stride);
        }
        // SAFETY: the caller's promise.
        if let Some(chains) = unsafe { b.at_once::<V, N>(column, rows) } {
            return sums_of(chains, [T::ZERO; N]);
        }
        let mut chains = [[V::splat(T::ZERO); N]; CHAINS];
        let mut rest = [T::ZERO; N];
        for from in (0..a.cols).step_by(CHUNK) {
            let count = CHUNK.min(a.cols - from);
            // SAFETY: inside the operands, whose rows and columns are contiguous, by `suits`.
            unsafe {
                let weights = b.chunk::<V>(column, from, count, room);
                let mut rows = rows;
                for row in &mut rows {
                    *row = row.add(from);
                }
                let (run, whole) = (CHAINS * V::LANES, count / V::LANES * V::LANES);
                let runs = count / run * run;
                for at in (0..runs).step_by(run) {
                    for (chain, sums) in chains.iter_mut().enumerate() {
                        add(sums, &rows, weights, at + chain * V::LANES);
                    }
                }
                for (at, sums) in (runs..whole).step_by(V::LANES).zip(&mut chains) {
                    add(sums, &rows, weights, at);
                }
                for at in whole..count {
                    for i in 0..N {
                        rest[i] += *rows[i].add(at) * *weights.add(at);
                    }
                }
            }
        }
        sums_of(chains, rest)
    }
}

/// The chains' sums, and what is added last.
#[inline(always)]
fn sums_of<V: Vector, const N: usize>(
    chains: [[V; N]; CHAINS],
    mut rest: [V::Elem; N],
) -> [V::Elem; N] {
    let [first, second, third, fourth] = chains;
    for (i, rest) in rest.iter_mut().enumerate() {
        let pairs = (first[i].plus(second[i]), third[i].plus(fourth[i]));
        // SAFETY: a vector has at most so many numbers.
        *rest += unsafe { total(pairs.0.plus(pairs.1)) };
    }
    rest
}

/// Adds the products of a vector of weights with each row.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn add<V: Vector, const N: usize>(
    sums: &mut [V; N],
    rows: &[*const V::Elem; N],
    weights: *const V::Elem,
    at: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let weight = V::load(weights.add(at));
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = V::load(row.add(at)).multiply_add(weight, *sum);
        }
    }
}

/// The sum of the numbers of a vector, in pairs.
///
/// # Safety
/// The vector must have at most [`MOST`] numbers.
#[inline(always)]
unsafe fn total<V: Vector>(sums: V) -> V::Elem {
    let mut lanes = [V::Elem::ZERO; MOST];
    // SAFETY: the caller's promise.
    unsafe { sums.store(lanes.as_mut_ptr()) };
    let mut width = V::LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `sink = start + scale · a · b`.
///
/// # Safety
/// As for [`multiply`](super::multiply), for a term that [`suits`], and a set that the machine has.
pub unsafe fn dots<T: Real>(set: Instructions<T>, term: &Term<T>, sink: Sink<T>, threads: Threads) {
    in_columns(term, sink.cols, threads, |first, cols| {
        let task = Task {
            term,
            first,
            sink: sink.part(0, first, term.a.rows, cols, false),
        };
        // SAFETY: the caller's promise.
        unsafe { (set.dots)(&task) }
    });
}

/// Does the columns of a product of few rows in tasks, each from a column on and so many of them, on as many threads as pay.
pub fn in_columns<T: Real>(
    term: &Term<T>,
    cols: usize,
    threads: Threads,
    task: impl Fn(usize, usize) + Sync,
) {
    let few = match term.b {
        Operand::Blocks(_) => FEW,
        _ => super::plan::SMALL,
    };
    let alone = matches!(threads, Threads::Caller) || term.a.cols * cols <= few;
    let width = match alone {
        true => COLS,
        false => cols
            .div_ceil(TASKS * rayon::current_num_threads())
            .clamp(1, COLS),
    };
    let part = |index: usize| {
        let first = index * width;
        task(first, width.min(cols - first));
    };
    let tasks = 0..cols.div_ceil(width);
    match alone {
        true => tasks.for_each(part),
        false => tasks.into_par_iter().for_each(part),
    }
}
