//! Laying factors out in blocks of pairs of rounded numbers.

use super::super::{Matrix, Vector};
use super::units::{BLOCK, DEPTH, LINES, Unit};

/// Pairs of a line in a block.
const PAIRS: usize = DEPTH / 2;

/// How words lie in a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Those of a line beside each other: the left factor.
    Lines,
    /// Those of a pair beside each other: the right factor.
    Pairs,
}

/// Lays rows of a left factor into blocks: line groups behind each other, of two groups all blocks, zeros beyond the rows.
///
/// # Safety
/// `a` must be readable, and have at most two groups of rows; `to` writable for them.
#[inline(always)]
pub unsafe fn lines<U: Unit>(a: Matrix<f32>, to: *mut u32) {
    let blocks = a.cols.div_ceil(DEPTH);
    for group in 0..2 {
        let first = (group * LINES).min(a.rows);
        let rows = a.part(first..a.rows.min(first + LINES), 0..a.cols);
        // SAFETY: the caller's promise.
        unsafe { lay::<U>(rows, Order::Lines, to.add(group * blocks * BLOCK)) };
    }
}

/// Lays columns of a right factor into blocks: a group of columns with all its blocks behind the other.
///
/// # Safety
/// `b` must be readable, and `to` writable for it.
#[inline(always)]
pub unsafe fn columns<U: Unit>(b: Matrix<f32>, to: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe { some_columns::<U>(b, to, b.rows.div_ceil(DEPTH)) }
}

/// The same for a part of the rows, where groups are so many `blocks` apart.
///
/// # Safety
/// As for [`columns`].
#[inline(always)]
pub unsafe fn some_columns<U: Unit>(b: Matrix<f32>, to: *mut u32, blocks: usize) {
    for (group, first) in (0..b.cols).step_by(LINES).enumerate() {
        let columns = b.part(0..b.rows, first..b.cols.min(first + LINES));
        // SAFETY: the caller's promise.
        unsafe {
            lay::<U>(
                columns.transposed(),
                Order::Pairs,
                to.add(group * blocks * BLOCK),
            )
        };
    }
}

/// Lays up to [`LINES`] lines, the rows of a matrix, into blocks.
#[inline(always)]
unsafe fn lay<U: Unit>(lines: Matrix<f32>, order: Order, to: *mut u32) {
    for (block, from) in (0..lines.cols).step_by(DEPTH).enumerate() {
        let part = lines.part(0..lines.rows, from..lines.cols.min(from + DEPTH));
        let to = to.wrapping_add(block * BLOCK);
        let whole = part.rows == LINES && part.cols == DEPTH;
        // SAFETY: the caller's promise.
        unsafe {
            if whole && part.col_stride == 1 {
                from_lines::<U>(part, order, to);
            } else if whole && part.row_stride == 1 {
                from_pairs::<U>(part, order, to);
            } else {
                let mut edge = [0.0; LINES * DEPTH];
                for i in 0..part.rows {
                    for j in 0..part.cols {
                        let at = i as isize * part.row_stride + j as isize * part.col_stride;
                        edge[i * DEPTH + j] = *part.start.offset(at);
                    }
                }
                let edge = Matrix {
                    start: edge.as_ptr(),
                    rows: LINES,
                    cols: DEPTH,
                    row_stride: DEPTH as isize,
                    col_stride: 1,
                };
                from_lines::<U>(edge, order, to);
            }
        }
    }
}

/// A whole block of which the numbers of a line are neighbours.
#[inline(always)]
unsafe fn from_lines<U: Unit>(lines: Matrix<f32>, order: Order, to: *mut u32) {
    let mut turned = Words([0; BLOCK]);
    let words = match order {
        Order::Lines => to,
        Order::Pairs => turned.0.as_mut_ptr(),
    };
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..LINES {
            let from = lines.start.offset(i as isize * lines.row_stride);
            U::pairs(from, words.add(i * PAIRS));
        }
        if order == Order::Pairs {
            transpose::<U>(&turned, to);
        }
    }
}

/// A whole block of which the lines are neighbours.
#[inline(always)]
unsafe fn from_pairs<U: Unit>(lines: Matrix<f32>, order: Order, to: *mut u32) {
    let mut turned = Words([0; BLOCK]);
    let words = match order {
        Order::Lines => turned.0.as_mut_ptr(),
        Order::Pairs => to,
    };
    // SAFETY: the caller's promise.
    unsafe {
        for pair in 0..PAIRS {
            let first = lines.start.offset(2 * pair as isize * lines.col_stride);
            let (first, second) = (
                first.cast::<[f32; LINES]>().read_unaligned(),
                first
                    .offset(lines.col_stride)
                    .cast::<[f32; LINES]>()
                    .read_unaligned(),
            );
            let words = &mut *words.add(pair * LINES).cast::<[u32; LINES]>();
            for ((word, first), second) in words.iter_mut().zip(first).zip(second) {
                *word = word_of(first, second);
            }
        }
        if order == Order::Lines {
            transpose::<U>(&turned, to);
        }
    }
}

/// A block on the stack, aligned.
#[repr(align(64))]
struct Words([u32; BLOCK]);

#[inline(always)]
unsafe fn transpose<U: Unit>(words: &Words, to: *mut u32) {
    if U::V::LANES == LINES {
        // Moves of bits, whatever they mean.
        // SAFETY: both are a block.
        unsafe {
            U::V::transpose(words.0.as_ptr().cast(), LINES as isize, to.cast(), LINES);
        }
        return;
    }
    for i in 0..LINES {
        for j in 0..LINES {
            // SAFETY: as above.
            unsafe { *to.add(j * LINES + i) = words.0[i * LINES + j] };
        }
    }
}

/// Two numbers, rounded, the first in the low half.
#[inline(always)]
pub fn word_of(first: f32, second: f32) -> u32 {
    rounded(first) >> 16 | rounded(second) & 0xffff_0000
}

/// The bits of a number, the upper half of them rounded to nearest, ties to even. A NaN stays one.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    match bits & 0x7fff_ffff > 0x7f80_0000 {
        true => bits | 0x0040_0000,
        false => nearest,
    }
}
