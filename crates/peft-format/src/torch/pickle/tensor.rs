//! Tensors over storages, with their shapes and strides checked.

use safetensors::Dtype;

use super::{Cursor, Machine, Object, Tensor, Value};
use crate::checkpoint::TensorInfo;
use crate::error::{Result, shorten};

/// The most dimensions of a tensor, far beyond those of any weight.
const MAX_RANK: usize = 16;

impl<'a> Machine<'a> {
    /// A tensor of a storage, checked to lie within it.
    pub(super) fn tensor(
        &mut self,
        cursor: &Cursor<'a>,
        at: usize,
        [storage, offset, shape, strides]: [Value<'a>; 4],
    ) -> Result<Tensor<'a>> {
        let Some(&Object::Storage(storage)) = self.heap.get(storage) else {
            let found = format!("a tensor on {}", self.heap.describe(storage));
            return Err(cursor.forbidden(at, found));
        };
        let Value::Int(offset) = offset else {
            let found = format!("{} as a tensor's offset", self.heap.describe(offset));
            return Err(cursor.forbidden(at, found));
        };
        let offset = size(cursor, at, offset)?;
        let (shape, strides) = (
            self.sizes(cursor, at, shape)?,
            self.sizes(cursor, at, strides)?,
        );
        // Many tensors may name one shape of the memo, and each of them copies it.
        self.steps += shape.len() + strides.len();
        if !fits(storage.dtype, &shape, &strides, offset, storage.length) {
            let [shape, strides] = [shape, strides].map(|sizes| shorten(&format!("{sizes:?}")));
            let reason = format!(
                "a tensor of shape {shape}, strides {strides} and offset {offset} does not lie in \
                 its storage of {} elements",
                storage.length
            );
            return Err(cursor.corrupt(at, reason));
        }
        Ok(Tensor {
            storage,
            offset: storage.start + offset, // in bounds: both parts were compared with the storage
            shape,
            strides,
        })
    }

    fn sizes(&self, cursor: &Cursor<'a>, at: usize, value: Value<'a>) -> Result<Vec<usize>> {
        let items = self.heap.tuple(value);
        let Some(items) = items.filter(|items| items.len() <= MAX_RANK) else {
            let found = format!("{} as a shape", self.heap.describe(value));
            return Err(cursor.forbidden(at, format!("{found} (at most {MAX_RANK} dimensions)")));
        };
        items
            .iter()
            .map(|&item| match item {
                Value::Int(number) => size(cursor, at, number),
                other => {
                    let found = format!("{} in a shape", self.heap.describe(other));
                    Err(cursor.forbidden(at, found))
                }
            })
            .collect()
    }
}

/// A count or an offset, which cannot be negative.
pub(super) fn size(cursor: &Cursor<'_>, at: usize, number: i64) -> Result<usize> {
    usize::try_from(number)
        .map_err(|_| cursor.corrupt(at, format!("expected a size, found {number}")))
}

/// True if every element that the shape and strides reach lies in a storage of `length` elements.
fn fits(dtype: Dtype, shape: &[usize], strides: &[usize], offset: usize, length: usize) -> bool {
    let info = TensorInfo {
        dtype,
        shape: shape.to_vec(),
    };
    if info.byte_len().is_none() || shape.len() != strides.len() || offset > length {
        return false;
    }
    if shape.contains(&0) {
        return true;
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |last, (&dim, &stride)| {
            last.checked_add((dim - 1).checked_mul(stride)?)
        });
    last.is_some_and(|last| last < length)
}
