//! The keys or values of a head: those of the prefix, then those of the sequence, read where they
//! lie.

use core::ops::Range;

use super::matmul::{Output, Start, Term, Threads, multiply};
use super::real::Real;
use super::view::{Matrix, Target};

/// `to (+)= scale · a · b` on the thread of the task.
///
/// # Safety
/// As for [`multiply`]; rows of the output are `stride` apart.
unsafe fn product<T: Real>(
    to: *mut T,
    stride: usize,
    start: Start<T>,
    a: Matrix<T>,
    b: Matrix<T>,
    scale: T,
) {
    let out = Output {
        to: Target(to),
        rows: a.rows,
        cols: b.cols,
        row_stride: stride as isize,
        col_stride: 1,
    };
    let term = Term {
        scale,
        ..Term::new(a, b)
    };
    // SAFETY: the caller's promise.
    unsafe { multiply(out, start, &[term], Threads::Caller) }
}

/// The part of a packed matrix that one head of some rows owns.
pub fn head_of<T: Real>(m: Matrix<T>, rows: Range<usize>, head: usize, d: usize) -> Matrix<T> {
    m.part(rows, head * d..(head + 1) * d)
}

/// Rows of the prefix above rows of the sequence, as one matrix.
#[derive(Clone, Copy)]
pub struct Stacked<T> {
    prefix: Matrix<T>,
    own: Matrix<T>,
}

impl<T: Real> Stacked<T> {
    /// One head: all rows of `prefix`, some of `all`.
    pub fn head(
        prefix: Matrix<T>,
        all: Matrix<T>,
        rows: Range<usize>,
        head: usize,
        d: usize,
    ) -> Self {
        Self {
            prefix: head_of(prefix, 0..prefix.rows, head, d),
            own: head_of(all, rows, head, d),
        }
    }

    /// The prefix and some rows of the sequence.
    pub fn near(self, rows: Range<usize>) -> Self {
        let own = self.own.part(rows, 0..self.own.cols);
        Self { own, ..self }
    }

    /// Rows of both parts.
    pub fn rows(self) -> usize {
        self.prefix.rows + self.own.rows
    }

    /// `to = scale · a · selfᵀ`, the rows of `to` right behind each other.
    ///
    /// # Safety
    /// `to` must have room for as many rows as `a` has, and no one else may use it.
    pub unsafe fn scores(self, a: Matrix<T>, scale: T, to: *mut T) {
        let (p, stride) = (self.prefix.rows, self.rows());
        let (prefix, own) = (self.prefix.transposed(), self.own.transposed());
        // SAFETY: the columns of the prefix are the first `p` of each row, the others follow.
        unsafe {
            product(to, stride, Start::Zero, a, prefix, scale);
            product(to.add(p), stride, Start::Zero, a, own, scale);
        }
    }

    /// `to = scale · weights · self`, the rows of `to` being `stride` apart.
    ///
    /// # Safety
    /// `to` must have room for as many rows as there are weights, and no one else may use them.
    pub unsafe fn weighted(self, weights: Matrix<T>, scale: T, to: *mut T, stride: usize) {
        let (m, p) = (weights.rows, self.prefix.rows);
        let own = weights.part(0..m, p..self.rows());
        // SAFETY: the caller's promise.
        unsafe {
            product(to, stride, Start::Zero, own, self.own, scale);
            if p > 0 {
                let prefix = weights.part(0..m, 0..p);
                product(to, stride, Start::Output, prefix, self.prefix, scale);
            }
        }
    }
}

/// Where the gradients of a [`Stacked`] go, those that are wanted; rows lie `stride` apart.
#[derive(Clone, Copy)]
pub struct StackedTarget<T> {
    /// First element for the rows of the prefix.
    pub prefix: Option<Target<T>>,
    /// First element for the rows of the sequence.
    pub own: Option<Target<T>>,
    /// Distance of rows.
    pub stride: usize,
    /// Rows of the prefix.
    pub prefix_rows: usize,
}

impl<T: Real> StackedTarget<T> {
    /// The same for the rows of the sequence from one on.
    ///
    /// # Safety
    /// The sequence must have that row.
    pub unsafe fn after_rows(self, row: usize) -> Self {
        // SAFETY: the caller's promise.
        let at = |to: Target<T>| unsafe { Target(to.at(row * self.stride)) };
        Self {
            own: self.own.map(at),
            ..self
        }
    }

    /// `self += scale · weightsᵀ · rows`.
    ///
    /// # Safety
    /// The places must be initialised and hold as many rows as `weights` has columns, and no one
    /// else may use them.
    pub unsafe fn add(self, weights: Matrix<T>, rows: Matrix<T>, scale: T) {
        let (m, p) = (weights.rows, self.prefix_rows);
        let parts = [(self.prefix, 0..p), (self.own, p..weights.cols)];
        for (to, columns) in parts {
            if let Some(to) = to.filter(|_| !columns.is_empty()) {
                let weights = weights.part(0..m, columns).transposed();
                // SAFETY: the caller's promise.
                unsafe { product(to.0, self.stride, Start::Output, weights, rows, scale) };
            }
        }
    }
}
