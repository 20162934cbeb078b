//! Rows of a table, and the sums over rows that the gradient of a table is.

use core::mem::MaybeUninit;

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::blocks::{Blocks, Room};
use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Target, build, contiguous, elements, indices, wrap};

/// The rows of a table that the ids name, `[rows, d]`.
pub fn gathered_rows<T: Real>(table: &FlexTensor, ids: FlexTensor) -> FlexTensor {
    if let Some(blocks) = Blocks::of(table).filter(|blocks| !blocks.upright) {
        return decoded_rows::<T>(blocks, ids);
    }
    let table = contiguous(table);
    let (entries, d) = (table.layout().shape()[0], table.layout().shape()[1]);
    let ids = indices(ids, entries, || "embedding: id".to_owned());
    let source = elements::<T>(&table);
    let work = |first: usize, out: &mut [MaybeUninit<T>]| {
        for (out, &id) in out.chunks_exact_mut(d).zip(&ids[first..]) {
            for (out, &v) in out.iter_mut().zip(&source[id * d..(id + 1) * d]) {
                out.write(v);
            }
        }
    };
    // SAFETY: pieces cover the output in whole rows, and every row of a piece is written.
    unsafe { build(Shape::new([ids.len(), d]), |out| over_rows(out, d, work)) }
}

/// The same of a table in blocks.
fn decoded_rows<T: Real>(table: Blocks, ids: FlexTensor) -> FlexTensor {
    let (entries, d) = (table.rows, table.cols);
    let ids = indices(ids, entries, || "embedding: id".to_owned());
    let work = |first: usize, out: &mut [MaybeUninit<T>]| {
        dispatch(DecodedRows {
            table,
            ids: &ids[first..][..out.len() / d],
            out,
        });
    };
    // SAFETY: pieces cover the output in whole rows, and every row of a piece is written.
    unsafe { build(Shape::new([ids.len(), d]), |out| over_rows(out, d, work)) }
}

struct DecodedRows<'a, T> {
    table: Blocks,
    ids: &'a [usize],
    out: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for DecodedRows<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (d, mut room) = (self.table.cols, Room::default());
        for (out, &id) in self.out.chunks_exact_mut(d).zip(self.ids) {
            // SAFETY: ids were checked, the whole line is shown, and the table's tensor is alive.
            unsafe {
                self.table.decode(
                    id,
                    0..d,
                    &mut room,
                    #[inline(always)]
                    |at, values: &[T]| {
                        for (out, &value) in out[at..].iter_mut().zip(values) {
                            out.write(value);
                        }
                    },
                );
            }
        }
    }
}

/// All rows of a matrix in blocks, and `[rows, columns]` as it shows them.
pub fn decoded(blocks: Blocks) -> FlexTensor {
    let lying = if blocks.upright {
        blocks.transposed()
    } else {
        blocks
    };
    let (lines, width) = (lying.rows, lying.cols);
    let work = |first: usize, out: &mut [MaybeUninit<f32>]| {
        let ids: Vec<usize> = (first..first + out.len() / width).collect();
        dispatch(DecodedRows {
            table: lying,
            ids: &ids,
            out,
        });
    };
    // SAFETY: as above.
    let all = unsafe {
        build(Shape::new([lines, width]), |out| {
            over_rows(out, width, work)
        })
    };
    if blocks.upright {
        all.transpose(0, 1)
    } else {
        all
    }
}

/// Columns that one task adds up.
const COLUMNS: usize = 64;

/// The gradient of a table of `entries` rows: row `e` is the sum of the rows of `grad` whose id is
/// `e`, in their order. One id is the id of all rows.
pub fn scatter_rows<T: Real>(grad: &FlexTensor, ids: FlexTensor, entries: usize) -> FlexTensor {
    let grad = contiguous(grad);
    let (rows, d) = (grad.layout().shape()[0], grad.layout().shape()[1]);
    let ids = indices(ids, entries, || "embedding: id".to_owned());
    let source = elements::<T>(&grad);
    let mut table = vec![T::ZERO; entries * d];
    let to = Target(table.as_mut_ptr());
    // Columns and not rows are shared out: then no two tasks meet in an entry.
    (0..d.div_ceil(COLUMNS)).into_par_iter().for_each(|block| {
        let columns = block * COLUMNS..d.min((block + 1) * COLUMNS);
        for row in 0..rows {
            let id = if ids.len() == 1 { ids[0] } else { ids[row] };
            let from = &source[row * d..][columns.clone()];
            // SAFETY: ids are below `entries`, and these columns belong to this task alone.
            let sums = unsafe {
                core::slice::from_raw_parts_mut(to.at(id * d + columns.start), columns.len())
            };
            sums.iter_mut().zip(from).for_each(|(s, &v)| *s += v);
        }
    });
    wrap(table, Shape::new([entries, d]))
}
