//! One job: pack a block of the right-hand side, stage rows in front of it, run the tiles.

use core::cell::Cell;
use core::ops::Range;

use half::{bf16, f16};

use super::pack::{Rows, pack, pack_blocks, stage};
use super::plan::{Job, Plan, Segment};
use super::sets::Tile;
use super::tile::{COLUMN_STRIDE, MAX_ROWS, Panel, STAGE};
use super::{Matrix, Operand, Real, Vector};

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
pub unsafe fn run<T: Real, V: Vector<Elem = T>>(
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
        let in_place = direct.map_or(0, |_| job.cols.len() / width);
        let mut row = 0;
        for s in segments {
            let first = job.cols.start + in_place * width;
            // SAFETY: the scratch holds `depth` rows of every panel.
            unsafe {
                let to = packed.add(in_place * width * depth + row * width);
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
            let mut ahead = Ahead::new(plan, segments, first + height..job.rows.end, panels);
            for p in 0..panels {
                ahead.fetch::<V>();
                let col = job.cols.start + p * width;
                let cols = width.min(job.cols.end - col);
                let panel = match direct {
                    Some((start, stride)) if p < in_place => Panel {
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

/// The rows of the next tile, on their way into the cache while this one is computed: they lie in memory, and staging them
/// would wait for it.
struct Ahead<T> {
    rows: Matrix<T>,
    row: usize,
    column: usize,
    /// Cache lines that are asked for at once.
    lines: usize,
}

impl<T: Real> Ahead<T> {
    /// Numbers of a cache line.
    const LINE: usize = 64 / size_of::<T>();

    #[inline(always)]
    fn new(plan: &Plan<'_, T>, segments: &[Segment], left: Range<usize>, panels: usize) -> Self {
        let s = segments[0];
        let a = plan.terms[s.term].a;
        // Rows that lie column by column are neighbours of those that were read.
        let count = if a.col_stride == 1 {
            left.len().min(MAX_ROWS)
        } else {
            0
        };
        let rows = a.part(left.start..left.start + count, s.from..s.from + s.depth);
        Self {
            rows,
            row: 0,
            column: 0,
            lines: (count * s.depth.div_ceil(Self::LINE)).div_ceil(panels),
        }
    }

    #[inline(always)]
    fn fetch<V: Vector<Elem = T>>(&mut self) {
        for _ in 0..self.lines {
            let row = self
                .rows
                .start
                .wrapping_offset(self.row as isize * self.rows.row_stride);
            V::prefetch_far(row.wrapping_add(self.column));
            self.column += Self::LINE;
            if self.column >= self.rows.cols {
                (self.row, self.column) = (self.row + 1, 0);
            }
        }
    }
}

fn depth_of(segments: &[Segment]) -> usize {
    segments.iter().map(|s| s.depth).sum()
}

impl<T: Real> Plan<'_, T> {
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
        cols: Range<usize>,
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
                Operand::Blocks(b) => pack_blocks::<V>(b, rows, cols, to, width, panel_len),
            }
        }
    }
}
