//! Matrix products by the `gemm` crate, on strided operands.

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::real::Real;
use super::view::{Matrix, Target, contiguous, elements, wrap};

/// `dst = scale · a · b`, or `dst += scale · a · b` if `accumulate`.
///
/// Each element of `dst` is one sum over `k` in an order that depends on the shapes only: the
/// threads share out the elements.
///
/// # Safety
/// `dst` must be valid for the writes of an `a.rows × b.cols` matrix with the given row stride and
/// unit column stride, and initialised if `accumulate`.
pub unsafe fn gemm<T: Real>(
    dst: *mut T,
    dst_stride: usize,
    accumulate: bool,
    a: Matrix<T>,
    b: Matrix<T>,
    scale: T,
    parallelism: gemm::Parallelism,
) {
    debug_assert_eq!(a.cols, b.rows);
    // SAFETY: the operands are views of live tensors, the destination is the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            dst,
            1,
            dst_stride as isize,
            accumulate,
            a.start,
            a.col_stride,
            a.row_stride,
            b.start,
            b.col_stride,
            b.row_stride,
            // In this crate alpha scales what is read and beta the product.
            if accumulate { T::ONE } else { T::ZERO },
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `x · w (+ bias)`. The bias is laid into the output before the product is added to it.
pub fn product<T: Real>(x: &FlexTensor, w: &FlexTensor, bias: Option<&FlexTensor>) -> FlexTensor {
    let (a, b) = (Matrix::<T>::of(x), Matrix::<T>::of(w));
    let shape = Shape::new([a.rows, b.cols]);
    let n = a.rows * b.cols;
    let mut out: Vec<T> = Vec::with_capacity(n);
    if n > 0 {
        if let Some(bias) = bias {
            let bias = contiguous(bias);
            let bias = elements::<T>(&bias);
            let rows = out.spare_capacity_mut()[..n].par_chunks_exact_mut(b.cols);
            rows.with_min_len(16).for_each(|row| {
                for (y, &v) in row.iter_mut().zip(bias) {
                    y.write(v);
                }
            });
        }
        let dst = Target(out.as_mut_ptr());
        // SAFETY: the capacity holds the matrix; with a bias it was initialised just above, without
        // one gemm does not read.
        unsafe {
            gemm(
                dst.at(0),
                b.cols,
                bias.is_some(),
                a,
                b,
                T::ONE,
                gemm::Parallelism::Rayon(0),
            )
        };
    }
    // SAFETY: gemm wrote every element.
    unsafe { out.set_len(n) };
    wrap(out, shape)
}
