//! Laying operands out for the tiles.

use half::{bf16, f16};

use super::tile::StageOrder;
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

// Bit by bit, because the library's conversions branch and these must vectorise.
impl<T: Real> Stored<T> for bf16 {
    #[inline(always)]
    fn widen(self) -> T {
        T::of_single(f32::from_bits(u32::from(self.to_bits()) << 16))
    }
}

impl<T: Real> Stored<T> for f16 {
    #[inline(always)]
    fn widen(self) -> T {
        let bits = u32::from(self.to_bits());
        // The biases of the exponents differ by 112; the product also normalises what is subnormal.
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let special = if bits & 0x7c00 == 0x7c00 {
            0x7f80_0000
        } else {
            0
        };
        let sign = (bits & 0x8000) << 16;
        T::of_single(f32::from_bits(magnitude.to_bits() | special | sign))
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

/// Copies the rows of a tile, times `scale`, from column `first` of the stage on.
///
/// # Safety
/// `a` must be readable and fit into the stage.
#[inline(always)]
pub unsafe fn stage<T: Real>(a: Matrix<T>, scale: T, order: StageOrder, to: *mut T, first: usize) {
    let (row_stride, col_stride) = order.strides();
    let to = to.wrapping_add(first * col_stride);
    let plain = scale == T::ONE;
    // Runs along the direction that is contiguous in the stage.
    let (runs, len, run_stride, step, to_stride) = match order {
        StageOrder::Rows => (a.rows, a.cols, a.row_stride, a.col_stride, row_stride),
        StageOrder::Columns => (a.cols, a.rows, a.col_stride, a.row_stride, col_stride),
    };
    for run in 0..runs {
        // SAFETY: the caller's promise.
        unsafe {
            let from = a.start.offset(run as isize * run_stride);
            let to = to.add(run * to_stride);
            if step == 1 && plain {
                core::ptr::copy_nonoverlapping(from, to, len);
            } else {
                for i in 0..len {
                    *to.add(i) = scale * *from.offset(i as isize * step);
                }
            }
        }
    }
}
