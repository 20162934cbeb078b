//! Products of matrices, and of a matrix with a weight and its low-rank companion.

use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;

use super::blocks::Blocks;
use super::matmul::{Operand, Output, Start, Term, Threads, multiply};
use super::real::Real;
use super::view::{Matrix, Target, contiguous, elements, wrap};

/// The right-hand side of a product as it is stored: in the type of the sums, in half precision, or in blocks.
pub fn operand<T: Real>(x: &FlexTensor) -> Operand<T> {
    if let Some(blocks) = Blocks::of(x) {
        return Operand::Blocks(blocks);
    }
    match x.dtype() {
        DType::BF16 => Operand::Bf16(Matrix::of(x)),
        DType::F16 => Operand::F16(Matrix::of(x)),
        _ => Operand::Same(Matrix::of(x)),
    }
}

/// A new matrix, `start + Σ terms`.
fn sum<T: Real>(rows: usize, cols: usize, start: Start<T>, terms: &[Term<T>]) -> FlexTensor {
    let n = rows * cols;
    let mut out: Vec<T> = Vec::with_capacity(n);
    let to = Output {
        to: Target(out.as_mut_ptr()),
        rows,
        cols,
        row_stride: cols as isize,
        col_stride: 1,
    };
    // SAFETY: the terms are views of live tensors whose shapes the callers checked, the output is
    // new and not read.
    unsafe {
        multiply(to, start, terms, Threads::Pool);
        out.set_len(n);
    }
    wrap(out, Shape::new([rows, cols]))
}

/// Runs `then` with a bias as the start of a product; an empty one is none.
fn with_bias<T: Real, R>(bias: Option<&FlexTensor>, then: impl FnOnce(Start<T>) -> R) -> R {
    match bias.map(contiguous) {
        Some(bias) if bias.layout().num_elements() > 0 => {
            then(Start::Row(elements::<T>(&bias).as_ptr()))
        }
        _ => then(Start::Zero),
    }
}

/// `scale · x · w (+ bias)`.
pub fn product<T: Real>(
    x: &FlexTensor,
    w: &FlexTensor,
    bias: Option<&FlexTensor>,
    scale: f64,
) -> FlexTensor {
    let a = Matrix::<T>::of(x);
    let term = Term {
        a,
        b: operand(w),
        scale: T::of(scale),
    };
    let cols = w.layout().shape()[1];
    with_bias(bias, |start| sum(a.rows, cols, start, &[term]))
}

/// `x · w + y · v`, the sums of both products in one pass over the output.
pub fn product_sum<T: Real>(
    x: &FlexTensor,
    w: &FlexTensor,
    y: &FlexTensor,
    v: &FlexTensor,
    bias: Option<&FlexTensor>,
) -> FlexTensor {
    let terms = [(x, w), (y, v)].map(|(a, b)| Term {
        a: Matrix::<T>::of(a),
        b: operand(b),
        scale: T::ONE,
    });
    let cols = w.layout().shape()[1];
    with_bias(bias, |start| sum(terms[0].a.rows, cols, start, &terms))
}
