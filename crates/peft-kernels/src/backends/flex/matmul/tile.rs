//! The innermost loop: a tile of the output, its sums in registers from the first product to the
//! last.

use super::{Real, vector::Vector};

/// Longest run of products for which the rows of a tile are staged.
pub const DEPTH: usize = 768;
/// Products that may be added to a full run, so that a narrow second term costs no pass of its own.
pub const EXTRA: usize = 128;
/// Rows of the tallest tile of any instruction set.
pub const MAX_ROWS: usize = 14;
/// Rows of a panel, and columns of a stage, that are fetched ahead of their use.
const AHEAD: usize = 8;
/// Distance of staged columns.
pub const COLUMN_STRIDE: usize = 16;
/// Numbers of a stage: the columns, and room for one more before them. Multiples of a cache line, so
/// that what lies behind is aligned.
pub const STAGE: usize = COLUMN_STRIDE * (1 + DEPTH + EXTRA);
const _: () = assert!(MAX_ROWS <= COLUMN_STRIDE);

/// Where a tile's results go, and what they are added to.
#[derive(Clone, Copy)]
pub struct Sink<T> {
    /// First element.
    pub to: *mut T,
    /// Distance of rows.
    pub row_stride: isize,
    /// Distance of columns.
    pub col_stride: isize,
    /// First addend; null for none.
    pub start: *const T,
    /// Distance of the addends' rows.
    pub start_row_stride: isize,
    /// Distance of the addends' columns.
    pub start_col_stride: isize,
    /// Rows to write, at most those of the tile.
    pub rows: usize,
    /// Columns to write, at most those of the tile.
    pub cols: usize,
}

impl<T> Sink<T> {
    /// The same for the transposed result.
    pub fn transposed(self) -> Self {
        Self {
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            start_row_stride: self.start_col_stride,
            start_col_stride: self.start_row_stride,
            rows: self.cols,
            cols: self.rows,
            ..self
        }
    }

    /// The part that a tile writes; `again` if it adds to what an earlier pass wrote.
    pub fn part(self, row: usize, col: usize, rows: usize, cols: usize, again: bool) -> Self {
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

impl<T: Real> Sink<T> {
    /// Writes an element, with what it is added to.
    ///
    /// # Safety
    /// It must be inside the sink, and so writable, and its addend readable.
    #[inline(always)]
    pub unsafe fn put(&self, i: usize, j: usize, value: T) {
        let (i, j) = (i as isize, j as isize);
        // SAFETY: the caller's promise.
        unsafe {
            *self.to.offset(i * self.row_stride + j * self.col_stride) = match self.start.is_null()
            {
                true => value,
                false => {
                    let at = i * self.start_row_stride + j * self.start_col_stride;
                    *self.start.offset(at) + value
                }
            };
        }
    }
}

// SAFETY: whoever shares a sink between threads writes disjoint parts of it, and numbers have no
// drop or interior of their own.
unsafe impl<T: Sync> Sync for Sink<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Sink<T> {}

/// The right-hand side of a tile: rows of `WIDTH · LANES` numbers, `stride` apart.
#[derive(Clone, Copy)]
pub struct Panel<T> {
    /// First row.
    pub start: *const T,
    /// Distance of rows.
    pub stride: usize,
    /// Rows.
    pub depth: usize,
}

/// Expands `$row!(i)` for every row a tile may have; the loops must unroll, or the sums would live
/// in memory.
macro_rules! each_row {
    ($row:ident) => {
        $row!(0);
        $row!(1);
        $row!(2);
        $row!(3);
        $row!(4);
        $row!(5);
        $row!(6);
        $row!(7);
        $row!(8);
        $row!(9);
        $row!(10);
        $row!(11);
        $row!(12);
        $row!(13);
    };
}

/// `sink = start + stage · panel` for `ROWS × WIDTH·LANES` outputs.
///
/// # Safety
/// The stage must hold `depth` columns of `ROWS` numbers, the panel must be readable, and
/// the sink's rows and columns writable (its start readable).
#[inline(always)]
pub unsafe fn tile<V: Vector, const ROWS: usize, const WIDTH: usize>(
    stage: *const V::Elem,
    panel: Panel<V::Elem>,
    sink: &Sink<V::Elem>,
) {
    let zero = V::Elem::default();
    let mut sums = [[V::splat(zero); WIDTH]; ROWS];
    // The addends arrive while the sums are made.
    if !sink.start.is_null() && sink.start_col_stride == 1 {
        for i in 0..ROWS {
            for j in 0..WIDTH {
                let row = i as isize * sink.start_row_stride;
                V::prefetch(sink.start.wrapping_offset(row).wrapping_add(j * V::LANES));
            }
        }
    }
    let (mut a, mut b) = (stage, panel.start);
    for _ in 0..panel.depth {
        // SAFETY: inside the stage and the panel, by the caller's promise.
        unsafe {
            let mut right = [V::load(b); WIDTH];
            V::prefetch(b.wrapping_add(AHEAD * panel.stride));
            V::prefetch(a.wrapping_add(AHEAD * COLUMN_STRIDE));
            for (j, right) in right.iter_mut().enumerate().skip(1) {
                *right = V::load(b.add(j * V::LANES));
                V::prefetch(b.wrapping_add(AHEAD * panel.stride + j * V::LANES));
            }
            macro_rules! row {
                ($i:literal) => {
                    if $i < ROWS {
                        let left = V::splat(*a.add($i));
                        for j in 0..WIDTH {
                            sums[$i][j] = left.multiply_add(right[j], sums[$i][j]);
                        }
                    }
                };
            }
            each_row!(row);
            a = a.add(COLUMN_STRIDE);
            b = b.add(panel.stride);
        }
    }
    let whole = sink.rows == ROWS && sink.cols == WIDTH * V::LANES && sink.col_stride == 1;
    let plain_start = sink.start.is_null() || sink.start_col_stride == 1;
    if whole && plain_start {
        for (i, row) in sums.into_iter().enumerate() {
            for (j, sum) in row.into_iter().enumerate() {
                let column = j * V::LANES;
                // SAFETY: the whole tile lies inside the sink, and its start if there is one.
                unsafe {
                    let sum = if sink.start.is_null() {
                        sum
                    } else {
                        let from = sink.start.offset(i as isize * sink.start_row_stride);
                        V::load(from.add(column)).plus(sum)
                    };
                    sum.store(sink.to.offset(i as isize * sink.row_stride).add(column));
                }
            }
        }
        return;
    }
    // At the edges, and where the output lies transposed.
    let mut line = [zero; 32];
    assert!(WIDTH * V::LANES <= line.len());
    for (i, row) in sums.into_iter().enumerate().take(sink.rows) {
        for (j, sum) in row.into_iter().enumerate() {
            // SAFETY: the line is long enough, checked above.
            unsafe { sum.store(line.as_mut_ptr().add(j * V::LANES)) };
        }
        for (j, &sum) in line[..sink.cols].iter().enumerate() {
            // SAFETY: (i, j) lies inside the sink, and its start if there is one.
            unsafe { sink.put(i, j, sum) };
        }
    }
}
