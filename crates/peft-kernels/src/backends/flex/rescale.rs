//! Columns stretched about a centre, and the squared norms of columns.

use core::mem::MaybeUninit;

use burn::tensor::{DType, Element, Shape, Tensor};
use burn_flex::{Flex, FlexTensor};
use bytemuck::Pod;
use rayon::prelude::*;

use super::parallel::{over_rows, over_rows_of};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Matrix, build, contiguous, elements, wrap};

/// Below this factor the input is kept for the backward pass: dividing the output by it would cost
/// more than three bits.
const SMALLEST: f64 = 0.125;

struct Forward<'a, T> {
    x: &'a [T],
    center: &'a [T],
    factor: &'a [T],
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.factor.len();
        for (y, x) in self.y.chunks_exact_mut(d).zip(self.x.chunks_exact(d)) {
            for (((y, &x), &c), &f) in y.iter_mut().zip(x).zip(self.center).zip(self.factor) {
                y.write((f - T::ONE).fma::<FMA>(x - c, x));
            }
        }
    }
}

/// `dx = grad ∘ factor`, `sums += Σ grad ∘ (kept − center)`.
struct Backward<'a, T> {
    kept: &'a [T],
    grad: &'a [T],
    center: &'a [T],
    factor: &'a [T],
    dx: &'a mut [MaybeUninit<T>],
    sums: &'a mut [T],
}

impl<T: Real> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let d = self.factor.len();
        let rows = self.kept.chunks_exact(d).zip(self.grad.chunks_exact(d));
        for (dx, (kept, grad)) in self.dx.chunks_exact_mut(d).zip(rows) {
            for ((dx, &g), &f) in dx.iter_mut().zip(grad).zip(self.factor) {
                dx.write(g * f);
            }
            for (((sum, &g), &k), &c) in self.sums.iter_mut().zip(grad).zip(kept).zip(self.center) {
                *sum = g.fma::<FMA>(k - c, *sum);
            }
        }
    }
}

/// The centre, zeros where there is none.
fn whole_center<T: Real>(center: &FlexTensor, d: usize) -> Vec<T> {
    let center = contiguous(center);
    match elements::<T>(&center) {
        [] => vec![T::ZERO; d],
        center => center.to_vec(),
    }
}

/// The rescaled rows, what their gradients need, and whether that is the output and not the input.
pub fn rescaled<T: Real>(
    x: &FlexTensor,
    center: &FlexTensor,
    factor: &FlexTensor,
) -> (FlexTensor, FlexTensor, bool) {
    let (x, factor) = (contiguous(x), contiguous(factor));
    let (source, factor) = (elements::<T>(&x), elements::<T>(&factor));
    let d = factor.len();
    let center = whole_center::<T>(center, d);
    let work = |row: usize, y: &mut [MaybeUninit<T>]| {
        let x = &source[row * d..row * d + y.len()];
        dispatch(Forward {
            x,
            center: &center,
            factor,
            y,
        });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    let y = unsafe { build(x.layout().shape().clone(), |out| over_rows(out, d, work)) };
    let large = |f: &T| f.magnitude().wide() >= SMALLEST;
    if factor.iter().all(large) {
        (y.clone(), y, true)
    } else {
        (y, x.clone(), false)
    }
}

/// `grad ∘ factor` and `Σ grad ∘ (kept − center)` over the rows.
pub fn rescaled_grads<T: Real>(
    kept: &FlexTensor,
    center: &FlexTensor,
    factor: &FlexTensor,
    grad: &FlexTensor,
) -> (FlexTensor, FlexTensor) {
    // Fixed, so that the order of the sums does not depend on the threads.
    const ROWS: usize = 64;
    let (kept, factor, grad) = (contiguous(kept), contiguous(factor), contiguous(grad));
    let (source, upstream) = (elements::<T>(&kept), elements::<T>(&grad));
    let factor = elements::<T>(&factor);
    let d = factor.len();
    let center = whole_center::<T>(center, d);
    let mut totals = vec![T::ZERO; d];
    let fill = |out: &mut [MaybeUninit<T>]| {
        let blocks = out.par_chunks_mut((ROWS * d).max(1)).enumerate();
        let partial: Vec<Vec<T>> = blocks
            .map(|(i, dx)| {
                let start = i * ROWS * d;
                let range = start..start + dx.len();
                let mut sums = vec![T::ZERO; d];
                dispatch(Backward {
                    kept: &source[range.clone()],
                    grad: &upstream[range],
                    center: &center,
                    factor,
                    dx,
                    sums: &mut sums,
                });
                sums
            })
            .collect();
        for sums in partial {
            totals.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
        }
    };
    // SAFETY: blocks cover the output in whole rows, and the kernel writes every row of a block.
    let dx = unsafe { build(grad.layout().shape().clone(), fill) };
    (dx, wrap(totals, Shape::new([d])))
}

/// A value as `f64`, exactly.
trait Widen: Element + Pod + Sync {
    fn widen(self) -> f64;
}

macro_rules! widen {
    ($($type:ty => $by:expr),*) => {
        $(impl Widen for $type {
            #[inline(always)]
            fn widen(self) -> f64 {
                let by: fn($type) -> f64 = $by;
                by(self)
            }
        })*
    };
}
widen!(
    f64 => |v| v,
    f32 => f64::from,
    half::f16 => |v| f64::from(v.to_f32()),
    half::bf16 => |v| f64::from(v.to_f32())
);

/// Columns summed together: as many as lie in a line of the cache.
const COLUMNS: usize = 16;
/// Running sums of a column, of which row `i` adds to number `i mod LANES`.
const LANES: usize = 16;

/// The sums of a few columns whose values in a row are neighbours, or anywhere.
fn squares<S: Widen>(w: &Matrix<S>, first: usize, sums: &mut [f64]) {
    let mut lanes = [[0.0; COLUMNS]; LANES];
    for row in 0..w.rows {
        let lane = &mut lanes[row % LANES];
        for (j, sum) in lane[..sums.len()].iter_mut().enumerate() {
            let place = row as isize * w.row_stride + (first + j) as isize * w.col_stride;
            // SAFETY: row and column are inside the matrix, which its strides describe.
            let v = unsafe { *w.start.offset(place) }.widen();
            *sum += v * v;
        }
    }
    for (j, sum) in sums.iter_mut().enumerate() {
        *sum = lanes.iter().map(|lane| lane[j]).sum();
    }
}

/// The same for one column whose values are neighbours.
struct Column<'a, S> {
    values: &'a [S],
    sum: &'a mut f64,
}

impl<S: Widen> Kernel for Column<'_, S> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut lanes = [0.0; LANES];
        let (blocks, rest) = self.values.as_chunks::<LANES>();
        for block in blocks {
            for (lane, v) in lanes.iter_mut().zip(block) {
                let v = v.widen();
                *lane += v * v;
            }
        }
        for (lane, v) in lanes.iter_mut().zip(rest) {
            let v = v.widen();
            *lane += v * v;
        }
        *self.sum = lanes.iter().sum();
    }
}

fn column_squares<S: Widen>(weight: &FlexTensor) -> Vec<f64> {
    let w = Matrix::<S>::of(weight);
    let mut sums = vec![0.0; w.cols];
    over_rows_of(&mut sums, w.rows, |first, sums| {
        if w.row_stride == 1 {
            for (j, sum) in sums.iter_mut().enumerate() {
                let start = w.start.wrapping_offset((first + j) as isize * w.col_stride);
                // SAFETY: the values of a column lie behind each other.
                let values = unsafe { core::slice::from_raw_parts(start, w.rows) };
                dispatch(Column { values, sum });
            }
            return;
        }
        for (i, sums) in sums.chunks_mut(COLUMNS).enumerate() {
            squares(&w, first + i * COLUMNS, sums);
        }
    });
    sums
}

/// Whether a matrix lies on flex, in a type that is read as it is.
pub fn holds(weight: &Tensor<2>) -> bool {
    let read = matches!(
        weight.dtype(),
        DType::F64 | DType::F32 | DType::F16 | DType::BF16
    );
    read && crate::route::on_flex(&weight.device())
}

/// See [`squared_column_norms`](crate::squared_column_norms).
pub fn squared_column_norms(weight: Tensor<2>) -> Tensor<1> {
    let (device, dtype) = (weight.device(), weight.dtype());
    let weight = weight.try_into_primitive::<Flex>();
    let weight = weight.expect("callers checked the device and left autodiff behind");
    let sums = match dtype {
        DType::F64 => column_squares::<f64>(&weight),
        DType::F32 => column_squares::<f32>(&weight),
        DType::F16 => column_squares::<half::f16>(&weight),
        _ => column_squares::<half::bf16>(&weight),
    };
    let wide = match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let columns = sums.len();
    let data = burn::tensor::TensorData::new(sums, [columns]).convert_dtype(wide);
    Tensor::from_data(data, (&device, wide))
}
