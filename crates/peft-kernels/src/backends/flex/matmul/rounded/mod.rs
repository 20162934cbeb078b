//! Products of factors that are rounded to bfloat16, with sums in `f32`: what the units of a processor for them compute.
//!
//! `k` is cut into passes and each pass into blocks of 32, 16 pairs; both factors are laid into blocks of 16 lines
//! (rows of the left one, columns of the right one) times 16 pairs, and a tile of 32 × 32 outputs is a run over such blocks.
//! Each element of the output is one sum in the order of the terms and of `k`, whatever the number of threads.

mod pack;
mod units;

use core::cell::Cell;
use core::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;

use self::units::{BLOCK, DEPTH, LINES, TILE};
pub use self::units::{Units, best};
use super::super::blocks::Room;
use super::pack::Stored;
use super::tile::Sink;
use super::{Matrix, Operand, Term, Threads, Vector};

/// Most of `k` in a pass.
const PASS: usize = 1536;
/// Numbers of the right factor that a job lays out at once: two bytes each, a part of the second-level cache.
const PANEL: usize = 400 << 10;
/// Most columns of a job: more would not save reading the left factor, fewer can be given to more threads.
const COLS: usize = 512;
/// Fewest rows of a job that shares its columns with another, which lays them out, too.
const ROWS: usize = 256;
/// Multiplications below which the factors' layout costs more than it saves.
const FEW: usize = 1 << 14;

/// Whether a product is worth the layout.
pub fn suits<T: Copy>(term: &Term<T>, cols: usize) -> bool {
    term.a.rows > 4 && term.a.rows * term.a.cols * cols >= FEW
}

/// A cache line, so that blocks are aligned.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "only its size and place matter")] [u32; 16]);

thread_local! {
    /// Where a thread lays out factors; kept, for mapping memory may take longer than a product.
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// One term and how it is cut.
pub struct Product<'a> {
    term: &'a Term<f32>,
    sink: Sink<f32>,
    /// Of `k` in each pass but the last, whole blocks.
    pass: usize,
}

/// A part of the output.
pub struct Job {
    rows: Range<usize>,
    cols: Range<usize>,
}

/// `sink = start + scale · a · b`, the factors rounded.
///
/// # Safety
/// As for [`multiply`](super::multiply), and the machine must have the units.
pub unsafe fn multiply(units: Units, term: &Term<f32>, sink: Sink<f32>, threads: Threads) {
    if let (Operand::Same(b), true) = (term.b, sink.row_stride == 1 && sink.col_stride != 1) {
        // Rows are written: those of the transposed product are the columns of this one.
        let turned = Term {
            a: b.transposed(),
            b: Operand::Same(term.a.transposed()),
            ..*term
        };
        // SAFETY: the caller's promise.
        return unsafe { multiply(units, &turned, sink.transposed(), threads) };
    }
    let (rows, cols, k) = (sink.rows, sink.cols, term.a.cols);
    let passes = k.div_ceil(PASS);
    let pass = k.div_ceil(passes).next_multiple_of(DEPTH);
    let widest = (PANEL / pass / TILE * TILE).clamp(TILE, COLS);
    let strips = cols.div_ceil(widest);
    let width = cols.div_ceil(strips).next_multiple_of(TILE);
    let workers = match threads {
        Threads::Pool if rows * cols * k > super::plan::SMALL => rayon::current_num_threads(),
        _ => 1,
    };
    let (mut width, mut height) = (width, rows);
    if workers > 1 {
        let jobs = |width: usize, height: usize| cols.div_ceil(width) * rows.div_ceil(height);
        while jobs(width, height) < 2 * workers && height >= 2 * ROWS {
            height = height.div_ceil(2).next_multiple_of(TILE);
        }
        while jobs(width, height) < workers && width > TILE {
            width = (width / 2).next_multiple_of(TILE);
        }
    }
    let product = Product { term, sink, pass };
    let across = cols.div_ceil(width);
    let job = |index: usize| {
        let (row, col) = (index / across * height, index % across * width);
        let job = Job {
            rows: row..(row + height).min(rows),
            cols: col..(col + width).min(cols),
        };
        // SAFETY: the caller's promise.
        unsafe { (units.job)(&product, &job) }
    };
    let jobs = across * rows.div_ceil(height);
    if workers > 1 && jobs > 1 {
        (0..jobs).into_par_iter().with_max_len(1).for_each(job);
    } else {
        (0..jobs).for_each(job);
    }
}

/// Does a job with the units `U`.
///
/// # Safety
/// The instructions of `U` must be there, and the promises of [`multiply`] hold.
#[inline(always)]
unsafe fn run<U: units::Unit>(product: &Product<'_>, job: &Job) {
    let (term, k) = (product.term, product.term.a.cols);
    let columns = job.cols.len().div_ceil(LINES);
    let blocks = product.pass.min(k).div_ceil(DEPTH);
    // The right factor, a row of tiles of the left one, and a line of tiles that starts on two cache lines.
    let words = (columns.next_multiple_of(2) + 2) * blocks * BLOCK;
    let mut scratch = SCRATCH.take();
    let lines = (words + TILE * TILE).div_ceil(16);
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 16]));
    }
    let room: *mut u32 = scratch.as_mut_ptr().cast();
    // SAFETY: the scratch is long enough; the rest is the caller's promise.
    unsafe {
        let out = room.add(words).cast::<f32>();
        let left = room.add(columns.next_multiple_of(2) * blocks * BLOCK);
        U::begin();
        for from in (0..k).step_by(product.pass) {
            let depth = from..k.min(from + product.pass);
            let blocks = depth.len().div_ceil(DEPTH);
            lay_out::<U>(term.b, depth.clone(), job.cols.clone(), room);
            for row in job.rows.clone().step_by(TILE) {
                let rows = row..job.rows.end.min(row + TILE);
                pack::lines::<U>(term.a.part(rows.clone(), depth.clone()), left);
                for column in (0..columns).step_by(2) {
                    let right = room.add(column * blocks * BLOCK);
                    U::tile(left, right, (blocks, column + 1 < columns), out);
                    let col = job.cols.start + column * LINES;
                    let cols = TILE.min(job.cols.end - col);
                    let sink = product.sink.part(row, col, rows.len(), cols, from > 0);
                    put::<U::V>(out, term.scale, &sink);
                }
            }
        }
        U::end();
    }
    SCRATCH.set(scratch);
}

/// Lays out the right factor as columns.
#[inline(always)]
unsafe fn lay_out<U: units::Unit>(
    b: Operand<f32>,
    depth: Range<usize>,
    cols: Range<usize>,
    to: *mut u32,
) {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        match b {
            Operand::Same(b) => pack::columns::<U>(b.part(depth, cols), to),
            Operand::Bf16(b) => widened::<U, bf16>(b.part(depth, cols), to),
            Operand::F16(b) => widened::<U, f16>(b.part(depth, cols), to),
            Operand::Blocks(b) => {
                let mut room = Room::default();
                // Lines along which blocks run, a few at a time.
                let (lines, along) = if b.upright {
                    (cols.clone(), depth.clone())
                } else {
                    (depth.clone(), cols.clone())
                };
                let step = if b.upright { LINES } else { DEPTH };
                let mut wide = vec![0.0; step * along.len()];
                for first in lines.clone().step_by(step) {
                    let some = first..lines.end.min(first + step);
                    for (line, wide) in some.clone().zip(wide.chunks_exact_mut(along.len())) {
                        b.decode_into::<U::V>(line, along.clone(), &mut room, wide);
                    }
                    let wide = Matrix {
                        start: wide.as_ptr(),
                        rows: some.len(),
                        cols: along.len(),
                        row_stride: along.len() as isize,
                        col_stride: 1,
                    };
                    let at = first - lines.start;
                    let blocks = depth.len().div_ceil(DEPTH);
                    if b.upright {
                        pack::columns::<U>(wide.transposed(), to.add(at / LINES * blocks * BLOCK));
                    } else {
                        pack::some_columns::<U>(wide, to.add(at / DEPTH * BLOCK), blocks);
                    }
                }
            }
        }
    }
}

/// The same for floats of two bytes.
#[inline(always)]
unsafe fn widened<U: units::Unit, S: Stored<f32>>(b: Matrix<S>, to: *mut u32) {
    let blocks = b.rows.div_ceil(DEPTH);
    // The longer way is the one along which numbers are neighbours.
    let upright = b.row_stride == 1;
    let lines = if upright { b.transposed() } else { b };
    let step = if upright { LINES } else { DEPTH };
    let mut wide = vec![0.0; step * lines.cols];
    for first in (0..lines.rows).step_by(step) {
        let some = first..lines.rows.min(first + step);
        for (line, wide) in some.clone().zip(wide.chunks_exact_mut(lines.cols)) {
            let from = lines
                .start
                .wrapping_offset(line as isize * lines.row_stride);
            for (j, wide) in wide.iter_mut().enumerate() {
                // SAFETY: inside of the matrix.
                *wide = unsafe { *from.offset(j as isize * lines.col_stride) }.widen();
            }
        }
        let wide = Matrix {
            start: wide.as_ptr(),
            rows: some.len(),
            cols: lines.cols,
            row_stride: lines.cols as isize,
            col_stride: 1,
        };
        // SAFETY: the caller's promise.
        unsafe {
            if upright {
                pack::columns::<U>(wide.transposed(), to.add(first / LINES * blocks * BLOCK));
            } else {
                pack::some_columns::<U>(wide, to.add(first / DEPTH * BLOCK), blocks);
            }
        }
    }
}

/// Writes a tile, with its scale and what it is added to.
#[inline(always)]
unsafe fn put<V: Vector<Elem = f32>>(out: *const f32, scale: f32, sink: &Sink<f32>) {
    let plain = sink.col_stride == 1 && (sink.start.is_null() || sink.start_col_stride == 1);
    for i in 0..sink.rows {
        let from = out.wrapping_add(i * TILE);
        let to = sink.to.wrapping_offset(i as isize * sink.row_stride);
        let start = sink
            .start
            .wrapping_offset(i as isize * sink.start_row_stride);
        let whole = if plain {
            sink.cols / V::LANES * V::LANES
        } else {
            0
        };
        // SAFETY: rows and columns of the sink, and of its start if there is one.
        unsafe {
            for j in (0..whole).step_by(V::LANES) {
                let scaled = V::load(from.add(j)).multiply_add(V::splat(scale), V::splat(0.0));
                let sum = match sink.start.is_null() {
                    true => scaled,
                    false => V::load(start.add(j)).plus(scaled),
                };
                sum.store(to.add(j));
            }
            for j in whole..sink.cols {
                let scaled = *from.add(j) * scale;
                let sum = match sink.start.is_null() {
                    true => scaled,
                    false => *start.offset(j as isize * sink.start_col_stride) + scaled,
                };
                *to.offset(j as isize * sink.col_stride) = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests;
