//! Where a tensor's elements lie in the file, and how they become contiguous.

use std::borrow::Cow;
use std::ops::Range;

use safetensors::Dtype;

use super::pickle::Tensor;
use crate::checkpoint::TensorInfo;

/// A tensor's place in the file, in bytes.
#[derive(Debug)]
pub(super) struct Layout {
    pub info: TensorInfo,
    /// Byte of the first element.
    start: usize,
    /// Length of the contiguous tensor.
    length: usize,
    /// Extent and step in bytes of each dimension that has more than one index, outermost first;
    /// empty if the elements already follow one another.
    steps: Vec<(usize, usize)>,
}

impl Layout {
    /// The layout of a tensor whose storage is at `storage`; `None` if it does not lie within.
    pub fn new(tensor: &Tensor<'_>, storage: &Range<usize>) -> Option<Self> {
        let info = TensorInfo {
            dtype: tensor.storage.dtype,
            shape: tensor.shape.clone(),
        };
        let length = info.byte_len()?;
        let size = element_size(info.dtype);
        let start = (tensor.offset.checked_mul(size)).and_then(|n| n.checked_add(storage.start))?;
        let mut steps = Vec::new();
        if length > 0 {
            for (&dim, &stride) in tensor.shape.iter().zip(&tensor.strides) {
                if dim > 1 {
                    steps.push((dim, stride.checked_mul(size)?));
                }
            }
        }
        if is_contiguous(&steps, size)? {
            steps.clear();
        }
        let reach = steps.iter().try_fold(0usize, |reach, &(dim, step)| {
            reach.checked_add((dim - 1).checked_mul(step)?)
        })?;
        let extent = match steps.is_empty() {
            true => length,
            false => reach.checked_add(size)?,
        };
        let inside = start.checked_add(extent)? <= storage.end;
        inside.then_some(Self {
            info,
            start,
            length,
            steps,
        })
    }

    /// Bytes of the contiguous tensor.
    pub fn byte_len(&self) -> usize {
        self.length
    }

    /// True if the elements have to be gathered.
    pub fn is_strided(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The elements in row-major order: the file's own bytes, or gathered ones.
    pub fn read<'a>(&self, file: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if !self.is_strided() {
            let end = self.start.checked_add(self.length)?;
            return file.get(self.start..end).map(Cow::Borrowed);
        }
        let file = file.get(self.start..)?;
        let gathered = match element_size(self.info.dtype) {
            1 => gather::<1>(file, &self.steps, self.length),
            2 => gather::<2>(file, &self.steps, self.length),
            4 => gather::<4>(file, &self.steps, self.length),
            _ => gather::<8>(file, &self.steps, self.length),
        };
        gathered.map(Cow::Owned)
    }
}

/// Every element type of a PyTorch storage takes whole bytes.
pub(super) fn element_size(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// True if the steps are those of a row-major tensor; `None` if they cannot be counted.
fn is_contiguous(steps: &[(usize, usize)], size: usize) -> Option<bool> {
    let mut expected = size;
    for &(dim, step) in steps.iter().rev() {
        if step != expected {
            return Some(false);
        }
        expected = expected.checked_mul(dim)?;
    }
    Some(true)
}

/// Copies elements of `N` bytes, the last dimension innermost.
fn gather<const N: usize>(file: &[u8], steps: &[(usize, usize)], length: usize) -> Option<Vec<u8>> {
    let (&(inner, step), outer) = steps.split_last()?;
    let mut out = Vec::with_capacity(length);
    let mut index = vec![0; outer.len()];
    let mut row = 0;
    loop {
        for element in 0..inner {
            out.extend_from_slice(file.get(row + element * step..)?.first_chunk::<N>()?);
        }
        // The next row: the last index that can grow does, those after it start again.
        let mut place = outer.len();
        loop {
            let Some(previous) = place.checked_sub(1) else {
                return Some(out);
            };
            place = previous;
            let (dim, step) = outer[place];
            index[place] += 1;
            row += step;
            if index[place] < dim {
                break;
            }
            row -= dim * step;
            index[place] = 0;
        }
    }
}
