//! Sums of table rows and their layer normalisation, forward.

use core::mem::MaybeUninit;

use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::layer_norm::{Affine, normalise};
use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements, indices};

/// A table and the rows to take; no rows for a table that is not there.
pub struct Rows {
    table: FlexTensor,
    ids: Vec<usize>,
}

impl Rows {
    /// Reads and checks the ids. A table without columns is none.
    pub fn new(name: &str, table: &FlexTensor, ids: FlexTensor) -> Self {
        let entries = table.layout().shape()[0];
        Self {
            table: contiguous(table),
            ids: indices(ids, entries, || format!("embedding_layer_norm: {name} id")),
        }
    }

    fn view<T: Real>(&self) -> View<'_, T> {
        let numbers = match self.table.dtype() {
            DType::BF16 => Numbers::Bf16(elements_of(&self.table)),
            DType::F16 => Numbers::F16(elements_of(&self.table)),
            _ => Numbers::Same(elements::<T>(&self.table)),
        };
        View {
            numbers,
            ids: &self.ids,
        }
    }
}

fn elements_of<E: burn::tensor::Element + bytemuck::Pod>(x: &FlexTensor) -> &[E] {
    x.as_slice::<E>()
        .expect("a contiguous tensor of the type that was looked at")
}

#[derive(Clone, Copy)]
enum Numbers<'a, T> {
    Same(&'a [T]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

#[derive(Clone, Copy)]
struct View<'a, T> {
    numbers: Numbers<'a, T>,
    ids: &'a [usize],
}

impl<T: Real> View<'_, T> {
    /// Calls `put` with the place and number of every column of a row.
    #[inline(always)]
    fn each(self, row: usize, d: usize, mut put: impl FnMut(usize, T)) {
        let id = match self.ids {
            [] => return,
            [one] => *one,
            ids => ids[row],
        };
        let range = id * d..(id + 1) * d;
        match self.numbers {
            Numbers::Same(x) => x[range].iter().enumerate().for_each(|(i, &v)| put(i, v)),
            Numbers::Bf16(x) => (x[range].iter().enumerate()).for_each(|(i, v)| {
                put(
                    i,
                    T::of_single(f32::from_bits(u32::from(v.to_bits()) << 16)),
                )
            }),
            Numbers::F16(x) => {
                (x[range].iter().enumerate()).for_each(|(i, v)| put(i, T::of_single(v.to_f32())))
            }
        }
    }

    /// Writes the sum of a row of each table.
    #[inline(always)]
    fn sum(tables: [Self; 3], row: usize, out: &mut [MaybeUninit<T>]) {
        let d = out.len();
        let [first, rest @ ..] = tables;
        first.each(row, d, |i, v| {
            out[i].write(v);
        });
        for table in rest {
            table.each(row, d, |i, v| {
                // SAFETY: the first table has written every column.
                let sum = unsafe { out[i].assume_init() };
                out[i].write(sum + v);
            });
        }
    }
}

struct Sums<'a, T> {
    tables: [View<'a, T>; 3],
    first: usize,
    out: &'a mut [MaybeUninit<T>],
    d: usize,
}

impl<T: Real> Kernel for Sums<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (i, out) in self.out.chunks_exact_mut(self.d).enumerate() {
            View::sum(self.tables, self.first + i, out);
        }
    }
}

struct Normalised<'a, T> {
    tables: [View<'a, T>; 3],
    first: usize,
    y: &'a mut [MaybeUninit<T>],
    affine: Affine<'a, T>,
    scratch: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for Normalised<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.scratch.len();
        for (i, y) in self.y.chunks_exact_mut(d).enumerate() {
            View::sum(self.tables, self.first + i, self.scratch);
            // SAFETY: the sum writes every column.
            let row = unsafe { self.scratch.assume_init_ref() };
            normalise::<T, FMA>(row, y, self.affine);
        }
    }
}

fn shape(tables: &[Rows; 3]) -> [usize; 2] {
    [tables[0].ids.len(), tables[0].table.layout().shape()[1]]
}

/// The normalised sums, `[rows, d]`.
pub fn embedding_norm<T: Real>(
    tables: &[Rows; 3],
    gamma: &FlexTensor,
    beta: &FlexTensor,
    eps: f64,
) -> FlexTensor {
    let (gamma, beta) = (contiguous(gamma), contiguous(beta));
    let affine = Affine {
        gamma: elements::<T>(&gamma),
        beta: elements::<T>(&beta),
        eps: T::of(eps),
    };
    let (views, [rows, d]) = (tables.each_ref().map(Rows::view), shape(tables));
    let work = |first: usize, y: &mut [MaybeUninit<T>]| {
        let mut scratch = Vec::with_capacity(d);
        dispatch(Normalised {
            tables: views,
            first,
            y,
            affine,
            scratch: &mut scratch.spare_capacity_mut()[..d],
        });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe { build(Shape::new([rows, d]), |out| over_rows(out, d, work)) }
}

/// The sums themselves, `[rows, d]`.
pub fn embedding_sum<T: Real>(tables: &[Rows; 3]) -> FlexTensor {
    let (views, [rows, d]) = (tables.each_ref().map(Rows::view), shape(tables));
    let work = |first: usize, out: &mut [MaybeUninit<T>]| {
        dispatch(Sums {
            tables: views,
            first,
            out,
            d,
        });
    };
    // SAFETY: as in `embedding_norm`.
    unsafe { build(Shape::new([rows, d]), |out| over_rows(out, d, work)) }
}
