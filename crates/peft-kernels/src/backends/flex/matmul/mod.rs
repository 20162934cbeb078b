//! Matrix products on strided operands: sums of products in one pass over the output, the weights
//! in whatever type they are stored.
//!
//! The blocking is that of BLIS with the roles of the operands chosen for a frozen weight: a block
//! of the right-hand side is packed once into the second-level cache, widened on the way, and every
//! few rows of the left-hand side are staged in the first-level cache and meet all of it.
//!
//! Each element of the output is one sum in the order of the terms and of `k`, whatever the number
//! of threads and the width of the vectors.

mod dots;
mod pack;
#[cfg(test)]
mod tests;
mod tile;
mod vector;

use core::cell::Cell;

use half::{bf16, f16};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
pub use self::vector::{F32x8, F32x16, F64x4, F64x8};
pub use self::vector::{Four, Vector};
use super::real::Real;
#[cfg(target_arch = "x86_64")]
use super::simd::Level;
use super::view::{Matrix, Target};
use pack::{Rows, pack, stage};
use tile::{COLUMN_STRIDE, DEPTH, EXTRA, MAX_ROWS, Panel, STAGE, Sink, tile};

/// Columns that one job packs: with [`DEPTH`] rows of `f32` a little over 1 MiB. Measured from 128 to
/// 384 on a second-level cache of 1 MiB; fewer make staging show.
const JOB_COLS: usize = 384;
/// Rows below which a job is not split for the sake of another thread: packing would show.
const JOB_ROWS: usize = 128;
/// Multiplications for which waking other threads does not pay.
const SMALL: usize = 1 << 17;

/// The right-hand side of a product.
#[derive(Clone, Copy)]
pub enum Operand<T> {
    /// In the type of the sums.
    Same(Matrix<T>),
    /// As bfloat16.
    Bf16(Matrix<bf16>),
    /// As half precision.
    F16(Matrix<f16>),
}

/// One product of a sum, `scale · a · b`.
#[derive(Clone, Copy)]
pub struct Term<T> {
    /// Left-hand side, `[rows, k]`.
    pub a: Matrix<T>,
    /// Right-hand side, `[k, cols]`.
    pub b: Operand<T>,
    /// Factor.
    pub scale: T,
}

impl<T: Real> Term<T> {
    /// `a · b` of one type.
    pub fn new(a: Matrix<T>, b: Matrix<T>) -> Self {
        Self {
            a,
            b: Operand::Same(b),
            scale: T::ONE,
        }
    }
}

/// Where the result goes.
#[derive(Clone, Copy)]
pub struct Output<T> {
    /// First element.
    pub to: Target<T>,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Distance of rows.
    pub row_stride: isize,
    /// Distance of columns.
    pub col_stride: isize,
}

impl<T> Output<T> {
    /// The output and what is added to it.
    fn sink(self, start: Start<T>) -> Sink<T> {
        let (start, start_row_stride, start_col_stride) = match start {
            Start::Zero => (core::ptr::null(), 0, 0),
            Start::Output => (self.to.0.cast_const(), self.row_stride, self.col_stride),
            Start::Row(row) => (row, 0, 1),
        };
        Sink {
            to: self.to.0,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
            start,
            start_row_stride,
            start_col_stride,
            rows: self.rows,
            cols: self.cols,
        }
    }
}

/// What the products are added to.
#[derive(Clone, Copy)]
pub enum Start<T> {
    /// Nothing: the output is not read.
    Zero,
    /// What stands in the output.
    Output,
    /// The same row for every row of the output.
    Row(*const T),
}

/// Whether a product may use the threads of the pool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// All of them.
    Pool,
    /// The caller's alone.
    Caller,
}

/// `out = start + Σ scale · a · b`.
///
/// # Safety
/// The operands must be readable and of fitting shapes, the output writable and disjoint from them
/// (for [`Start::Output`] initialised), a start row as long as the output has columns.
pub unsafe fn multiply<T: Real>(
    out: Output<T>,
    start: Start<T>,
    terms: &[Term<T>],
    threads: Threads,
) {
    // SAFETY: the caller's promise; the set is this machine's.
    unsafe { multiply_by(instructions(), out, start, terms, threads) }
}

/// [`multiply`] with a set of instructions, which the machine must have.
unsafe fn multiply_by<T: Real>(
    set: Instructions<T>,
    out: Output<T>,
    start: Start<T>,
    terms: &[Term<T>],
    threads: Threads,
) {
    if out.rows == 0 || out.cols == 0 {
        return;
    }
    // Whether further terms follow must not change the bits of the first.
    if let [first, rest @ ..] = terms
        && dots::suits(first)
    {
        // SAFETY: the caller's promise.
        unsafe {
            dots::dots(first, out.sink(start), threads);
            if !rest.is_empty() {
                multiply_by(set, out, Start::Output, rest, threads);
            }
        }
        return;
    }
    let plan = Plan {
        sink: out.sink(start),
        terms,
        segments: &segments(terms),
    };
    match terms {
        [term] if let Some(turned) = turned(term) => {
            let sink = plan.sink;
            let plan = Plan {
                sink: Sink {
                    row_stride: sink.col_stride,
                    col_stride: sink.row_stride,
                    start_row_stride: sink.start_col_stride,
                    start_col_stride: sink.start_row_stride,
                    rows: sink.cols,
                    cols: sink.rows,
                    ..sink
                },
                terms: &[turned],
                segments: plan.segments,
            };
            plan.run(set, threads);
        }
        _ => plan.run(set, threads),
    }
}

/// The transposed product, where that suits the operands better.
fn turned<T: Real>(term: &Term<T>) -> Option<Term<T>> {
    let Operand::Same(b) = term.b else {
        return None;
    };
    let a = term.a;
    // Few columns over a left-hand side that lies column by column: it can be read as it lies.
    let narrow = b.cols <= MAX_ROWS && b.cols < a.rows && a.row_stride == 1 && a.col_stride != 1;
    narrow.then(|| Term {
        a: b.transposed(),
        b: Operand::Same(a.transposed()),
        scale: term.scale,
    })
}

/// A run of `k` of one term. Segments of one pass share the sums of the tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    pass: usize,
    term: usize,
    from: usize,
    depth: usize,
}

fn segments<T>(terms: &[Term<T>]) -> Vec<Segment> {
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

struct Plan<'a, T> {
    sink: Sink<T>,
    terms: &'a [Term<T>],
    segments: &'a [Segment],
}

/// A part of the output.
struct Job {
    rows: core::ops::Range<usize>,
    cols: core::ops::Range<usize>,
}

impl<T: Real> Plan<'_, T> {
    fn run(&self, set: Instructions<T>, threads: Threads) {
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
            while jobs(width, height) < enough && height >= 2 * JOB_ROWS {
                height = height.div_ceil(2);
            }
            while jobs(width, height) < enough && width >= 2 * set.width {
                width = (width / 2).next_multiple_of(set.width);
            }
        }
        let across = cols.div_ceil(width);
        let job = |index: usize| {
            let (row, col) = (index / across * height, index % across * width);
            let job = Job {
                rows: row..(row + height).min(rows),
                cols: col..(col + width).min(cols),
            };
            // SAFETY: the caller chose the set by what the machine has.
            unsafe { (set.job)(self, &job) }
        };
        let jobs = across * rows.div_ceil(height);
        if workers > 1 && jobs > 1 {
            (0..jobs).into_par_iter().with_max_len(1).for_each(job);
        } else {
            (0..jobs).for_each(job);
        }
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
}

/// The functions for one instruction set.
#[derive(Clone, Copy)]
struct Instructions<T> {
    job: unsafe fn(&Plan<'_, T>, &Job),
    /// Columns of a tile.
    width: usize,
}

type Tile<T> = unsafe fn(*const T, Panel<T>, &Sink<T>);

/// The least tile of at least so many rows, of those listed.
macro_rules! least_tile {
    ($rows:ident, $wide:ident: $last:literal) => {{
        debug_assert!($rows <= $last);
        least_tile!(@ $wide, $last)
    }};
    ($rows:ident, $wide:ident: $n:literal $($more:literal)+) => {
        if $rows <= $n {
            least_tile!(@ $wide, $n)
        } else {
            least_tile!($rows, $wide: $($more)+)
        }
    };
    (@ $wide:ident, $n:literal) => {
        if $wide { at::<T, $n, 2> } else { at::<T, $n, 1> }
    };
}

/// The functions of one instruction set, with the heights of its tiles.
macro_rules! instruction_set {
    ($module:ident: $vector:ident, [$($rows:literal)+] $(, $features:literal)?) => {
        mod $module {
            use super::*;

            type V<T> = <T as Real>::$vector;

            pub fn functions<T: Real>() -> Instructions<T> {
                Instructions {
                    job: job::<T>,
                    width: 2 * V::<T>::LANES,
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn job<T: Real>(plan: &Plan<'_, T>, job: &Job) {
                // SAFETY: the caller detected the instructions.
                unsafe { run::<T, V<T>>(plan, job, select::<T>) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn at<T: Real, const ROWS: usize, const WIDTH: usize>(
                stage: *const T,
                panel: Panel<T>,
                sink: &Sink<T>,
            ) {
                // SAFETY: the caller's promise.
                unsafe { tile::<V<T>, ROWS, WIDTH>(stage, panel, sink) }
            }

            fn select<T: Real>(rows: usize, wide: bool) -> Tile<T> {
                least_tile!(rows, wide: $($rows)+)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(avx512: Wide, [1 2 4 6 8 10 12 13 14], "avx512f,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
instruction_set!(avx2: Middle, [1 2 4 6], "avx2,fma");
#[cfg(not(target_arch = "aarch64"))]
instruction_set!(common: Narrow, [1 2 4 6]);
#[cfg(target_arch = "aarch64")]
instruction_set!(common: Narrow, [1 2 4 6 8 10 12 13 14]);

/// The best of this machine.
fn instructions<T: Real>() -> Instructions<T> {
    #[cfg(target_arch = "x86_64")]
    match super::simd::level() {
        Level::Avx512 => return avx512::functions(),
        Level::Avx2 => return avx2::functions(),
        Level::Common => {}
    }
    common::functions()
}

/// A cache line, so that scratch is aligned.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "only its size and place matter")] [u8; 64]);

thread_local! {
    /// Where a thread packs. Kept, for a product may take less time than to map memory.
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Does a job with the vectors `V`.
///
/// # Safety
/// The instructions of `V` must be there, and the plan's promises hold.
#[inline(always)]
unsafe fn run<T: Real, V: Vector<Elem = T>>(
    plan: &Plan<'_, T>,
    job: &Job,
    select: impl Fn(usize, bool) -> Tile<T>,
) {
    let width = 2 * V::LANES;
    let panels = job.cols.len().div_ceil(width);
    let deepest = plan.passes().map(depth_of).max().unwrap_or(0);
    let mut scratch = SCRATCH.take();
    let numbers = STAGE + panels * width * deepest;
    let lines = (numbers * size_of::<T>()).div_ceil(size_of::<Line>());
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 64]));
    }
    // Old numbers may be read where a tile is taller than what is left of the rows: its sums there
    // are dropped.
    let room: *mut T = scratch.as_mut_ptr().cast();
    let (staged, packed) = (room.wrapping_add(COLUMN_STRIDE), room.wrapping_add(STAGE));

    for (pass, segments) in plan.passes().enumerate() {
        let depth = depth_of(segments);
        // Two tiles or fewer: reading the operand as it lies is cheaper than packing it first.
        let direct = match segments {
            [s] if job.rows.len() <= 2 * V::ROWS => plan.direct(s, job.cols.start),
            _ => None,
        };
        let from_scratch = direct.map_or(0, |_| job.cols.len() / width);
        let mut row = 0;
        for s in segments {
            let first = job.cols.start + from_scratch * width;
            // SAFETY: the scratch holds `depth` rows of every panel.
            unsafe {
                let to = packed.add(from_scratch * width * depth + row * width);
                let cols = first..job.cols.end;
                plan.pack::<V>(s, cols, to, width, width * depth);
            }
            row += s.depth;
        }
        let tiles = job.rows.len().div_ceil(V::ROWS);
        let (least, taller) = (job.rows.len() / tiles, job.rows.len() % tiles);
        let mut first = job.rows.start;
        for index in 0..tiles {
            let height = least + usize::from(index < taller);
            let mut column = 0;
            for s in segments {
                let term = &plan.terms[s.term];
                let rows = Rows {
                    rows: term.a.part(first..first + height, s.from..s.from + s.depth),
                    above: first,
                    below: term.a.rows - first - height,
                };
                // SAFETY: the operands are readable, and a pass has at most DEPTH + EXTRA columns.
                unsafe { stage::<V>(rows, term.scale, staged, column) };
                column += s.depth;
            }
            for p in 0..panels {
                let col = job.cols.start + p * width;
                let cols = width.min(job.cols.end - col);
                let panel = match direct {
                    Some((start, stride)) if p < from_scratch => Panel {
                        start: start.wrapping_add(p * width),
                        stride,
                        depth,
                    },
                    _ => Panel {
                        start: packed.wrapping_add(p * width * depth),
                        stride: width,
                        depth,
                    },
                };
                let sink = plan.sink.part(first, col, height, cols, pass > 0);
                // SAFETY: the stage and the panel were filled above, the sink is of this job.
                unsafe { select(height, cols > V::LANES)(staged, panel, &sink) };
            }
            first += height;
        }
    }
    SCRATCH.set(scratch);
}

fn depth_of(segments: &[Segment]) -> usize {
    segments.iter().map(|s| s.depth).sum()
}

impl<T: Real> Plan<'_, T> {
    /// The segments of each pass over the output.
    fn passes(&self) -> impl Iterator<Item = &[Segment]> {
        self.segments.chunk_by(|a, b| a.pass == b.pass)
    }

    /// The right-hand side as panels without packing, if it lies so: its start and row stride.
    fn direct(&self, s: &Segment, col: usize) -> Option<(*const T, usize)> {
        let Operand::Same(b) = self.terms[s.term].b else {
            return None;
        };
        let stride = usize::try_from(b.row_stride).ok()?;
        (b.col_stride == 1).then(|| {
            let part = b.part(s.from..s.from + s.depth, col..b.cols);
            (part.start, stride)
        })
    }

    /// # Safety
    /// As for [`pack()`].
    #[inline(always)]
    unsafe fn pack<V: Vector<Elem = T>>(
        &self,
        s: &Segment,
        cols: core::ops::Range<usize>,
        to: *mut T,
        width: usize,
        panel_len: usize,
    ) {
        let rows = s.from..s.from + s.depth;
        // SAFETY: the caller's promise.
        unsafe {
            match self.terms[s.term].b {
                Operand::Same(b) => pack::<V, T>(b.part(rows, cols), to, width, panel_len),
                Operand::Bf16(b) => pack::<V, bf16>(b.part(rows, cols), to, width, panel_len),
                Operand::F16(b) => pack::<V, f16>(b.part(rows, cols), to, width, panel_len),
            }
        }
    }
}

impl<T: Real> Sink<T> {
    /// The part that a tile writes; `again` if it adds to what an earlier pass wrote.
    fn part(self, row: usize, col: usize, rows: usize, cols: usize, again: bool) -> Self {
        let (row, col) = (row as isize, col as isize);
        let to = self
            .to
            .wrapping_offset(row * self.row_stride + col * self.col_stride);
        if again {
            return Self {
                to,
                start: to.cast_const(),
                start_row_stride: self.row_stride,
                start_col_stride: self.col_stride,
                rows,
                cols,
                ..self
            };
        }
        let start = if self.start.is_null() {
            self.start
        } else {
            let at = row * self.start_row_stride + col * self.start_col_stride;
            self.start.wrapping_offset(at)
        };
        Self {
            to,
            start,
            rows,
            cols,
            ..self
        }
    }
}
