//! Rotary position embedding.

use core::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Matrix, build, contiguous, elements, with_lines};

/// The rotation of some rows.
struct Rotation<'a, T> {
    /// The rows, `x.rows` of them, their columns next to each other.
    x: Matrix<T>,
    y: &'a mut [MaybeUninit<T>],
    /// `[rows, R/2]`.
    cos: &'a [T],
    sin: &'a [T],
    /// 1, or −1 to turn back.
    sign: T,
    heads: usize,
    half: usize,
}

impl<T: Real> Kernel for Rotation<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (width, half) = (self.x.cols, self.half);
        let d = width / self.heads;
        let tables = self.cos.chunks_exact(half).zip(self.sin.chunks_exact(half));
        let rows = self.y.chunks_exact_mut(width).zip(tables);
        for (row, (y, (cos, sin))) in rows.enumerate() {
            // SAFETY: the matrix is made with lines below, and has as many rows as the output.
            let x = unsafe { self.x.line(row) };
            for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
                let (first, rest) = x.split_at(half);
                let (second, still) = rest.split_at(half);
                let (y_first, rest) = y.split_at_mut(half);
                let (y_second, y_still) = rest.split_at_mut(half);
                for i in 0..half {
                    let (a, b) = (first[i], second[i]);
                    let (c, s) = (cos[i], sin[i] * self.sign);
                    y_first[i].write(a * c - b * s);
                    y_second[i].write(b * c + a * s);
                }
                for (y, &v) in y_still.iter_mut().zip(still) {
                    y.write(v);
                }
            }
        }
    }
}

/// Every head of every row turned by the row's angles, or turned back.
pub fn rotated<T: Real>(
    x: &FlexTensor,
    [cos, sin]: [&FlexTensor; 2],
    heads: usize,
    back: bool,
) -> FlexTensor {
    let x = with_lines::<T>(x);
    let rows = Matrix::<T>::of(&x);
    let (cos, sin) = (contiguous(cos), contiguous(sin));
    let half = cos.layout().shape()[1];
    let (cos, sin) = (elements::<T>(&cos), elements::<T>(&sin));
    let sign = if back { -T::ONE } else { T::ONE };
    let width = rows.cols;
    let work = |first: usize, y: &mut [MaybeUninit<T>]| {
        let count = y.len() / width;
        let angles = first * half..(first + count) * half;
        dispatch(Rotation {
            x: rows.part(first..first + count, 0..width),
            y,
            cos: &cos[angles.clone()],
            sin: &sin[angles],
            sign,
            heads,
            half,
        });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe {
        build(x.layout().shape().clone(), |out| {
            over_rows(out, width, work)
        })
    }
}
