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

use self::units::{BLOCK, DEPTH, LINES, TILE};
pub use self::units::{Units, best};
use super::super::blocks::Room;
use super::pack::Stored;
use super::plan::{Job, SMALL, in_jobs};
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
        Threads::Pool if rows * cols * k > SMALL => rayon::current_num_threads(),
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
    // SAFETY: the caller's promise.
    in_jobs([rows, cols], [height, width], workers, |job| unsafe {
        (units.job)(&product, &job);
    });
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
    // The right factor, two groups of lines of the left one, and behind them a tile.
    let words = (columns + 2) * blocks * BLOCK;
    let mut scratch = SCRATCH.take();
    let lines = (words + TILE * TILE).div_ceil(16);
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 16]));
    }
    let room: *mut u32 = scratch.as_mut_ptr().cast();
    // SAFETY: the scratch is long enough; the rest is the caller's promise.
    unsafe {
        let out = room.add(words).cast::<f32>();
        let left = room.add(columns * blocks * BLOCK);
        U::begin();
        for from in (0..k).step_by(product.pass) {
            let depth = from..k.min(from + product.pass);
            let blocks = depth.len().div_ceil(DEPTH);
            lay_out::<U>(term.b, depth.clone(), job.cols.clone(), room);
            for row in job.rows.clone().step_by(TILE) {
                let rows = row..job.rows.end.min(row + TILE);
                pack::lines::<U>(term.a.part(rows.clone(), depth.clone()), left);
                for column in (0..columns).step_by(2) {
                    // The last group stands in for one behind it: those sums are dropped.
                    let beside = (column + 1).min(columns - 1);
                    let right = [column, beside].map(|group| room.add(group * blocks * BLOCK));
                    let left = [0, 1].map(|group| left.add(group * blocks * BLOCK));
                    U::tile(
                        left.map(<*mut u32>::cast_const),
                        right.map(<*mut u32>::cast_const),
                        blocks,
                        out,
                    );
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
                let (lines, along) = if b.upright {
                    (cols, depth)
                } else {
                    (depth, cols)
                };
                by_lines::<U>(
                    b.upright,
                    [lines.len(), along.len()],
                    to,
                    #[inline(always)]
                    |line, wide| {
                        b.decode_into::<U::V>(lines.start + line, along.clone(), &mut room, wide);
                    },
                );
            }
        }
    }
}

/// The same for floats of two bytes.
#[inline(always)]
unsafe fn widened<U: units::Unit, S: Stored<f32>>(b: Matrix<S>, to: *mut u32) {
    let upright = b.row_stride == 1;
    let lines = if upright { b.transposed() } else { b };
    // SAFETY: the caller's promise.
    unsafe {
        by_lines::<U>(
            upright,
            [lines.rows, lines.cols],
            to,
            #[inline(always)]
            |line, wide| {
                let from = lines.start.offset(line as isize * lines.row_stride);
                for (j, wide) in wide.iter_mut().enumerate() {
                    *wide = (*from.offset(j as isize * lines.col_stride)).widen();
                }
            },
        );
    }
}

/// Lays out a right factor whose lines, its columns if it is `upright`, else its rows, are widened by `fill`, as many at a
/// time as a block has.
#[inline(always)]
unsafe fn by_lines<U: units::Unit>(
    upright: bool,
    [lines, along]: [usize; 2],
    to: *mut u32,
    mut fill: impl FnMut(usize, &mut [f32]),
) {
    let depth = if upright { along } else { lines };
    let (step, blocks) = (if upright { LINES } else { DEPTH }, depth.div_ceil(DEPTH));
    let mut wide = vec![0.0; step * along];
    for first in (0..lines).step_by(step) {
        let some = first..lines.min(first + step);
        for (line, wide) in some.clone().zip(wide.chunks_exact_mut(along)) {
            fill(line, wide);
        }
        let wide = Matrix {
            start: wide.as_ptr(),
            rows: some.len(),
            cols: along,
            row_stride: along as isize,
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
                sink.put(i, j, *from.add(j) * scale);
            }
        }
    }
}

#[cfg(test)]
mod tests;
