//! Laying operands out for the tiles.

use core::ops::Range;

use half::{bf16, f16};
use peft_blocks::floats::{widen_bf16, widen_half};

use super::super::blocks::{Blocks, CHUNK, Room};
use super::tile::COLUMN_STRIDE;
use super::vector::Vector;
use super::{Matrix, Real};

/// A number as a weight stores it, widened exactly to the type of the sums.
pub trait Stored<T>: Copy + 'static {
    /// Whether it is that type.
    const SAME: bool = false;
    /// The number.
    fn widen(self) -> T;
}

impl<T: Real> Stored<T> for T {
    const SAME: bool = true;
    #[inline(always)]
    fn widen(self) -> T {
        self
    }
}

impl<T: Real> Stored<T> for bf16 {
    #[inline(always)]
    fn widen(self) -> T {
        T::of_single(widen_bf16(self.to_bits()))
    }
}

impl<T: Real> Stored<T> for f16 {
    #[inline(always)]
    fn widen(self) -> T {
        T::of_single(widen_half(self.to_bits()))
    }
}

/// Lays `b` into panels of `width` columns, row behind row, the last one filled up with zeros.
/// Consecutive panels begin `panel_len` numbers apart.
///
/// # Safety
/// `b` must be readable, and `to` writable for `b.rows` rows of every panel.
#[inline(always)]
pub unsafe fn pack<V: Vector, S: Stored<V::Elem>>(
    b: Matrix<S>,
    to: *mut V::Elem,
    width: usize,
    panel_len: usize,
) {
    let whole = if b.col_stride == 1 {
        b.cols / width * width
    } else {
        0
    };
    if whole > 0 {
        let b = Matrix { cols: whole, ..b };
        // SAFETY: the caller's promise.
        unsafe { copy_rows::<V, S>(b, to, width, panel_len) };
    }
    for first in (whole..b.cols).step_by(width) {
        let panel = Matrix {
            start: b.start.wrapping_offset(first as isize * b.col_stride),
            cols: width.min(b.cols - first),
            ..b
        };
        // SAFETY: the caller's promise, panel by panel.
        unsafe {
            let to = to.add(first / width * panel_len);
            if panel.cols.is_multiple_of(V::LANES) && b.row_stride == 1 {
                fill_tail::<V>(to, panel, width);
                transpose::<V, S>(panel, to, width);
            } else {
                fill_tail::<V>(to, panel, width);
                copy_each::<V, S>(panel, to, width, 0);
            }
        }
    }
}

/// Whole panels of a matrix whose rows are contiguous. Row by row, for the rows of a wide matrix lie
/// in different pages.
#[inline(always)]
unsafe fn copy_rows<V: Vector, S: Stored<V::Elem>>(
    b: Matrix<S>,
    to: *mut V::Elem,
    width: usize,
    panel_len: usize,
) {
    for k in 0..b.rows {
        let from = b.start.wrapping_offset(k as isize * b.row_stride);
        for panel in 0..b.cols / width {
            // SAFETY: inside the matrix and the panel.
            unsafe {
                let from = from.add(panel * width);
                let to = to.add(panel * panel_len + k * width);
                for j in (0..width).step_by(V::LANES) {
                    if S::SAME {
                        V::load(from.cast::<V::Elem>().add(j)).store(to.add(j));
                    } else {
                        for j in j..j + V::LANES {
                            *to.add(j) = (*from.add(j)).widen();
                        }
                    }
                }
            }
        }
    }
}

/// Blocks of `LANES × LANES`; what is left of the rows one by one.
#[inline(always)]
unsafe fn transpose<V: Vector, S: Stored<V::Elem>>(b: Matrix<S>, to: *mut V::Elem, width: usize) {
    let blocks = b.rows / V::LANES;
    let mut wide = [V::Elem::default(); 256];
    assert!(V::LANES * V::LANES <= wide.len());
    for column in (0..b.cols).step_by(V::LANES) {
        let line = b.start.wrapping_offset(column as isize * b.col_stride);
        for k in (0..blocks * V::LANES).step_by(V::LANES) {
            // SAFETY: the block lies inside the matrix and the panel.
            unsafe {
                let (from, to) = (line.add(k), to.add(k * width + column));
                if S::SAME {
                    V::transpose(from.cast(), b.col_stride, to, width);
                } else {
                    for i in 0..V::LANES {
                        let from = from.offset(i as isize * b.col_stride);
                        for (j, wide) in wide[i * V::LANES..][..V::LANES].iter_mut().enumerate() {
                            *wide = (*from.add(j)).widen();
                        }
                    }
                    V::transpose(wide.as_ptr(), V::LANES as isize, to, width);
                }
            }
        }
    }
    // SAFETY: as above.
    unsafe { copy_each::<V, S>(b, to, width, blocks * V::LANES) };
}

/// The same for a part of a matrix of blocks, which are decoded on the way.
///
/// # Safety
/// `b` must have these rows and columns, and `to` be writable for the rows of every panel.
#[inline(always)]
pub unsafe fn pack_blocks<V: Vector>(
    b: Blocks,
    rows: Range<usize>,
    cols: Range<usize>,
    to: *mut V::Elem,
    width: usize,
    panel_len: usize,
) {
    let mut room = Room::default();
    // SAFETY: the caller's promise, here and below.
    unsafe {
        let (last, filled) = (cols.len() / width, cols.len() % width);
        if filled > 0 {
            for k in 0..rows.len() {
                let end = to.add(last * panel_len + k * width);
                for j in filled..width {
                    *end.add(j) = V::Elem::default();
                }
            }
        }
        if b.upright {
            let mut wide = [V::Elem::default(); MOST * CHUNK];
            for first in (0..cols.len()).step_by(V::LANES) {
                let panel = to.add(first / width * panel_len + first % width);
                let group = first + cols.start..cols.end.min(first + cols.start + V::LANES);
                pack_lines::<V>(b, rows.clone(), group, panel, width, (&mut room, &mut wide));
            }
            return;
        }
        for k in 0..rows.len() {
            b.decode(
                rows.start + k,
                cols.clone(),
                &mut room,
                #[inline(always)]
                |mut at, mut values| {
                    while !values.is_empty() {
                        let (panel, column) = (at / width, at % width);
                        let count = values.len().min(width - column);
                        let to = to.add(panel * panel_len + k * width + column);
                        core::ptr::copy_nonoverlapping(values.as_ptr(), to, count);
                        (at, values) = (at + count, &values[count..]);
                    }
                },
            );
        }
    }
}

/// Numbers of the widest vector.
const MOST: usize = 16;

/// Up to `LANES` lines of blocks as columns of a panel.
#[inline(always)]
unsafe fn pack_lines<V: Vector>(
    b: Blocks,
    rows: Range<usize>,
    lines: Range<usize>,
    to: *mut V::Elem,
    width: usize,
    (room, wide): (&mut Room<V::Elem>, &mut [V::Elem; MOST * CHUNK]),
) {
    assert!(V::LANES <= MOST);
    for from in (0..rows.len()).step_by(CHUNK) {
        let count = CHUNK.min(rows.len() - from);
        let part = rows.start + from..rows.start + from + count;
        // SAFETY: the caller's promise.
        unsafe {
            for (i, line) in lines.clone().enumerate() {
                let to = &mut wide[i * CHUNK..][..count];
                b.decode_into::<V>(line, part.clone(), room, to);
            }
            let to = to.add(from * width);
            let mut done = 0;
            if lines.len() == V::LANES {
                done = count / V::LANES * V::LANES;
                for k in (0..done).step_by(V::LANES) {
                    let from = wide.as_ptr().add(k);
                    V::transpose(from, CHUNK as isize, to.add(k * width), width);
                }
            }
            for k in done..count {
                for i in 0..lines.len() {
                    *to.add(k * width + i) = wide[i * CHUNK + k];
                }
            }
        }
    }
}

/// Number by number, from row `first` on.
#[inline(always)]
unsafe fn copy_each<V: Vector, S: Stored<V::Elem>>(
    b: Matrix<S>,
    to: *mut V::Elem,
    width: usize,
    first: usize,
) {
    for k in first..b.rows {
        for j in 0..b.cols {
            let at = k as isize * b.row_stride + j as isize * b.col_stride;
            // SAFETY: inside the matrix and the panel.
            unsafe { *to.add(k * width + j) = (*b.start.offset(at)).widen() };
        }
    }
}

/// Zeros behind the columns of a panel that is not full.
#[inline(always)]
unsafe fn fill_tail<V: Vector>(to: *mut V::Elem, panel: Matrix<impl Copy>, width: usize) {
    for k in 0..panel.rows {
        for j in panel.cols..width {
            // SAFETY: inside the panel.
            unsafe { *to.add(k * width + j) = V::Elem::default() };
        }
    }
}

/// The rows that a tile stages, as a part of the matrix they come from.
#[derive(Clone, Copy)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Matrix<T>,
    /// Rows of the whole matrix above them.
    pub above: usize,
    /// Rows of the whole matrix below them.
    pub below: usize,
}

/// Lays the rows of a tile column behind column, [`COLUMN_STRIDE`] apart, times `scale`, from column
/// `first` of the stage on.
///
/// # Safety
/// The whole matrix must be readable, and the stage hold the columns and [`COLUMN_STRIDE`] numbers
/// before the first.
#[inline(always)]
pub unsafe fn stage<V: Vector>(
    from: Rows<V::Elem>,
    scale: V::Elem,
    stage: *mut V::Elem,
    first: usize,
) {
    let a = from.rows;
    let to = stage.wrapping_add(first * COLUMN_STRIDE);
    // SAFETY: the caller's promise.
    unsafe {
        if a.row_stride == 1 {
            for k in 0..a.cols {
                let from = a.start.offset(k as isize * a.col_stride);
                core::ptr::copy_nonoverlapping(from, to.add(k * COLUMN_STRIDE), a.rows);
            }
        } else {
            let done = transpose_rows::<V>(from, to);
            for k in done..a.cols {
                for i in 0..a.rows {
                    let at = i as isize * a.row_stride + k as isize * a.col_stride;
                    *to.add(k * COLUMN_STRIDE + i) = *a.start.offset(at);
                }
            }
        }
        if scale != V::Elem::ONE {
            for i in (0..a.cols * COLUMN_STRIDE).step_by(V::LANES) {
                let at = to.add(i);
                V::load(at)
                    .multiply_add(V::splat(scale), V::splat(V::Elem::ZERO))
                    .store(at);
            }
        }
    }
}

/// Stages whole blocks of columns by transposing registers; gives how many columns that were.
///
/// The blocks are taller than a tile. What lies below the tile's rows in the same matrix fills them
/// up; at its end, what lies above: the block then begins early, and its first numbers land behind
/// the rows of the column before, where no tile looks.
#[inline(always)]
unsafe fn transpose_rows<V: Vector>(from: Rows<V::Elem>, to: *mut V::Elem) -> usize {
    let a = from.rows;
    let tall = a.rows.next_multiple_of(V::LANES);
    let missing = (tall - a.rows).saturating_sub(from.below);
    let early = match missing {
        0 => 0,
        _ if tall == V::LANES && from.above + a.rows >= V::LANES => V::LANES - a.rows,
        _ => return 0,
    };
    if a.col_stride != 1 || tall > COLUMN_STRIDE {
        return 0;
    }
    let columns = a.cols / V::LANES * V::LANES;
    for row in (0..tall).step_by(V::LANES) {
        let start = a
            .start
            .wrapping_offset((row as isize - early as isize) * a.row_stride);
        for k in (0..columns).step_by(V::LANES) {
            let to = to.wrapping_add(k * COLUMN_STRIDE + row).wrapping_sub(early);
            // SAFETY: the block lies inside the whole matrix, and the stage by the caller's promise.
            unsafe { V::transpose(start.wrapping_add(k), a.row_stride, to, COLUMN_STRIDE) };
        }
    }
    columns
}
