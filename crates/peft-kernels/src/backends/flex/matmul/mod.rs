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
mod integer;
mod job;
#[cfg(target_arch = "x86_64")]
mod lookup;
mod pack;
mod plan;
mod rounded;
mod sets;
#[cfg(test)]
mod tests;
mod tile;
mod vector;

use core::any::TypeId;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
pub use self::vector::{F32x8, F32x16, F64x4, F64x8};
pub use self::vector::{Four, Vector};
use super::blocks::Blocks;
use super::real::Real;
use super::view::{Matrix, Target};
use plan::{Plan, segments};
use sets::Instructions;
use tile::{MAX_ROWS, Sink};

use crate::Compute;

/// The right-hand side of a product.
#[derive(Clone, Copy)]
pub enum Operand<T> {
    /// In the type of the sums.
    Same(Matrix<T>),
    /// As bfloat16.
    Bf16(Matrix<bf16>),
    /// As half precision.
    F16(Matrix<f16>),
    /// In quantised blocks.
    Blocks(Blocks),
}

impl<T> Operand<T> {
    /// The transpose.
    pub fn transposed(self) -> Self {
        match self {
            Self::Same(m) => Self::Same(m.transposed()),
            Self::Bf16(m) => Self::Bf16(m.transposed()),
            Self::F16(m) => Self::F16(m.transposed()),
            Self::Blocks(m) => Self::Blocks(m.transposed()),
        }
    }
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
    let set = sets::best();
    let compute = crate::compute();
    if TypeId::of::<T>() != TypeId::of::<f32>() || compute == Compute::F32 {
        // SAFETY: the caller's promise; the set is this machine's.
        return unsafe { multiply_by(set, out, start, terms, threads) };
    }
    let mut start = start;
    // One by one, so that none depends on which others there are.
    for part in 0..terms.len().max(1) {
        let term = &terms[part.min(terms.len())..terms.len().min(part + 1)];
        // SAFETY: as above; what is cast is of the very type.
        unsafe {
            match term {
                [term]
                    if compute == Compute::Bf16
                        && !dots::suits(term)
                        && rounded::suits(term, out.cols) =>
                {
                    let sink = out.sink(start);
                    let (term, sink) = (&raw const *term, &raw const sink);
                    rounded::multiply(
                        rounded::best(),
                        &*term.cast::<Term<f32>>(),
                        *sink.cast::<Sink<f32>>(),
                        threads,
                    );
                }
                [term]
                    if compute == Compute::Int8
                        && let Some(weight) = integer::weight(term) =>
                {
                    let sink = out.sink(start);
                    let (term, sink) = (&raw const *term, &raw const sink);
                    integer::multiply(
                        integer::best(),
                        &*term.cast::<Term<f32>>(),
                        weight,
                        *sink.cast::<Sink<f32>>(),
                        threads,
                    );
                }
                _ => multiply_by(set, out, start, term, threads),
            }
        }
        start = Start::Output;
    }
}

/// [`multiply`] in the type of the sums, whatever was [chosen](crate::set_compute).
///
/// # Safety
/// As for [`multiply`].
pub unsafe fn multiply_unrounded<T: Real>(
    out: Output<T>,
    start: Start<T>,
    terms: &[Term<T>],
    threads: Threads,
) {
    // SAFETY: the caller's promise; the set is this machine's.
    unsafe { multiply_by(sets::best(), out, start, terms, threads) }
}

/// What the units for products in bfloat16 could do at most: products of registers alone, on the calling thread. Returns the
/// multiplications and additions of a round.
pub fn bf16_spin(rounds: usize) -> usize {
    // SAFETY: the units are this machine's.
    unsafe { (rounded::best().spin)(rounds) }
}

/// The units for products in bfloat16; `None` if the machine has none.
pub fn bf16_units() -> Option<&'static str> {
    let units = rounded::best();
    units.native.then_some(units.name)
}

/// The units for products in whole numbers of 8 bits; `None` if the machine has none.
pub fn int8_units() -> Option<&'static str> {
    let units = integer::best();
    units.native.then_some(units.name)
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
            dots::dots(set, first, out.sink(start), threads);
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
                sink: sink.transposed(),
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
