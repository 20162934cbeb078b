//! Reading flex tensors and making new ones.

use core::mem::MaybeUninit;
use core::ops::Range;

use burn::tensor::{Bytes, Element, Shape, Tensor};
use burn_flex::{Flex, FlexTensor, Layout};
use bytemuck::Pod;

use super::real::Real;

/// A tensor whose elements lie in row-major order; a copy only where they do not yet.
pub fn contiguous(x: &FlexTensor) -> FlexTensor {
    x.to_contiguous()
}

/// A tensor on flex without autodiff, covering its storage; shared storage is copied when it is first
/// written.
pub fn whole<const D: usize>(x: Tensor<D>) -> FlexTensor {
    let x = x.try_into_primitive::<Flex>();
    contiguous(&x.expect("callers checked the device and left autodiff behind"))
}

/// A matrix whose rows are lines of neighbours, however far from each other: a range of columns of a wider matrix, as a
/// fused projection gives it, is not copied.
pub fn with_lines<T: Real>(x: &FlexTensor) -> FlexTensor {
    match Matrix::<T>::of(x).col_stride {
        1 => x.clone(),
        _ => contiguous(x),
    }
}

/// The elements of a contiguous tensor.
pub fn elements<T: Real>(x: &FlexTensor) -> &[T] {
    x.as_slice::<T>()
        .expect("a contiguous tensor of the element type of the call")
}

/// A matrix anywhere in memory, by strides.
#[derive(Clone, Copy)]
pub struct Matrix<T> {
    /// Element (0, 0).
    pub start: *const T,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Distance of rows.
    pub row_stride: isize,
    /// Distance of columns.
    pub col_stride: isize,
}

// SAFETY: a matrix is a shared borrow in disguise, and its elements are plain numbers.
unsafe impl<T: Sync> Send for Matrix<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrix<T> {}

impl<T> Matrix<T> {
    /// The transpose.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// A row as a slice.
    ///
    /// # Safety
    /// The matrix must be of [`with_lines`], and have that row; its tensor must outlive the slice.
    #[inline(always)]
    pub unsafe fn line<'a>(self, row: usize) -> &'a [T] {
        // SAFETY: the columns are neighbours, by the caller's promise.
        unsafe {
            let start = self.start.offset(row as isize * self.row_stride);
            core::slice::from_raw_parts(start, self.cols)
        }
    }

    /// Some rows of some columns.
    pub fn part(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        let offset = rows.start as isize * self.row_stride + cols.start as isize * self.col_stride;
        Self {
            // Wrapping, because a view may have negative strides, and an empty part may begin
            // anywhere.
            start: self.start.wrapping_offset(offset),
            rows: rows.len(),
            cols: cols.len(),
            ..self
        }
    }
}

impl<T: Element + Pod> Matrix<T> {
    /// The matrix a rank-2 tensor shows, without copying.
    pub fn of(x: &FlexTensor) -> Self {
        let (layout, storage) = (x.layout(), x.storage::<T>());
        let (shape, strides) = (layout.shape(), layout.strides());
        Self {
            // SAFETY: the offset of a layout lies inside its storage, or at its end for an empty
            // tensor.
            start: unsafe { storage.as_ptr().add(layout.start_offset()) },
            rows: shape[0],
            cols: shape[1],
            row_stride: strides[0],
            col_stride: strides[1],
        }
    }
}

/// A new tensor of which `fill` writes every element.
///
/// # Safety
/// `fill` must initialise the whole slice.
pub unsafe fn build<T: Real>(shape: Shape, fill: impl FnOnce(&mut [MaybeUninit<T>])) -> FlexTensor {
    let n = shape.num_elements();
    let mut data = Vec::<T>::with_capacity(n);
    // Zeroing first would write every element twice, and these bodies are bound by memory.
    fill(&mut data.spare_capacity_mut()[..n]);
    // SAFETY: within the capacity, and initialised by the contract of this function.
    unsafe { data.set_len(n) };
    wrap(data, shape)
}

/// A tensor of the given elements.
pub fn wrap<T: Real>(data: Vec<T>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(data), Layout::contiguous(shape), T::TYPE)
}

/// Whole numbers as places below `bound`.
///
/// # Panics
/// If one is outside; `what` names it.
pub fn indices(x: FlexTensor, bound: usize, what: impl Fn() -> String) -> Vec<usize> {
    let place = |v: i64| {
        let place = usize::try_from(v).ok().filter(|&p| p < bound);
        place.unwrap_or_else(|| panic!("{} {v} is outside 0 .. {bound}", what()))
    };
    x.into_data().iter::<i64>().map(place).collect()
}

/// A pointer that worker threads share to write disjoint places.
#[derive(Clone, Copy)]
pub struct Target<T>(pub *mut T);

// SAFETY: users write disjoint places only, each says why.
unsafe impl<T: Send> Send for Target<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<T> {}

impl<T> Target<T> {
    /// The place `offset` elements on.
    ///
    /// # Safety
    /// It must lie inside the allocation.
    pub unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}
