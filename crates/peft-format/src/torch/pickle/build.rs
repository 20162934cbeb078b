//! The few calls that a state dict makes: dictionaries, storages, tensors and parameters.

use super::tensor::size;
use super::value::Global;
use super::{Cursor, Machine, Object, Storage, Value};
use crate::error::Result;

impl<'a> Machine<'a> {
    /// Calls what lies below a tuple of arguments.
    pub(super) fn reduce(&mut self, cursor: &Cursor<'a>, at: usize) -> Result<Value<'a>> {
        let arguments = self.pop(cursor, at)?;
        let function = self.pop(cursor, at)?;
        let Value::Global(function) = function else {
            let found = format!("a call of {}", self.heap.describe(function));
            return Err(cursor.forbidden(at, found));
        };
        match (function, self.heap.tuple(arguments)) {
            (Global::OrderedDict, Some([])) => {
                let (pairs, ordered) = (Vec::new(), true);
                self.keep(cursor, at, Object::Dict { pairs, ordered })
            }
            (
                Global::RebuildTensor,
                Some(
                    &[
                        storage,
                        offset,
                        shape,
                        strides,
                        _gradient,
                        _hooks,
                        ref metadata @ ..,
                    ],
                ),
            ) => {
                // Metadata says "conjugated" or "negated": other values than the stored ones.
                let plain = match *metadata {
                    [] | [Value::None] => true,
                    [last] => self.heap.dict(last).is_some_and(<[_]>::is_empty),
                    _ => false,
                };
                if !plain {
                    return Err(cursor.forbidden(at, "a tensor with metadata"));
                }
                let tensor = self.tensor(cursor, at, [storage, offset, shape, strides])?;
                self.keep(cursor, at, Object::Tensor(tensor))
            }
            (Global::RebuildParameter, Some(&[data, _gradient, _hooks]))
                if matches!(self.heap.get(data), Some(Object::Tensor(_))) =>
            {
                Ok(data)
            }
            _ => {
                let found = format!("{function:?} called with {}", self.heap.describe(arguments));
                Err(cursor.forbidden(at, format!("{found} that do not fit it")))
            }
        }
    }

    /// Attributes of a dictionary: `state_dict()` notes module versions there, which say nothing
    /// about the tensors.
    pub(super) fn build(&mut self, cursor: &Cursor<'a>, at: usize) -> Result<()> {
        let state = self.pop(cursor, at)?;
        let target = self.top(cursor, at)?;
        let ordered = matches!(
            self.heap.get(target),
            Some(Object::Dict { ordered: true, .. })
        );
        if ordered && self.heap.dict(state).is_some() {
            return Ok(());
        }
        let found = format!("{} with a state of its own", self.heap.describe(target));
        Err(cursor.forbidden(at, found))
    }

    /// A storage by its persistent id: `("storage", type, key, location, elements[, view])`.
    pub(super) fn persistent(&mut self, cursor: &Cursor<'a>, at: usize) -> Result<Value<'a>> {
        let id = self.pop(cursor, at)?;
        let (kind, rest) = match self.heap.tuple(id) {
            Some(&[Value::Text(kind), ref rest @ ..]) => (kind, rest),
            _ => {
                let found = format!("{} as a persistent id", self.heap.describe(id));
                return Err(cursor.forbidden(at, found));
            }
        };
        if kind == "module" {
            return Err(cursor.forbidden(at, "a whole module, not its `state_dict()`"));
        }
        let (dtype, key, stored, view) = match *rest {
            [
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                Value::Text(_location),
                Value::Int(stored),
                ref view @ ..,
            ] if kind == "storage" => (dtype, key, size(cursor, at, stored)?, view),
            _ => return Err(cursor.forbidden(at, "a persistent id that names no storage")),
        };
        let mut storage = Storage {
            key,
            dtype,
            stored,
            start: 0,
            length: stored,
        };
        let view = match *view {
            [] | [Value::None] => None,
            [view] => Some(self.heap.tuple(view)),
            _ => Some(None),
        };
        match view {
            None => {}
            Some(Some(&[Value::Text(_), Value::Int(start), Value::Int(length)])) => {
                let (start, length) = (size(cursor, at, start)?, size(cursor, at, length)?);
                if start.checked_add(length).is_none_or(|end| end > stored) {
                    let reason =
                        format!("{length} elements from {start} on of a storage that has {stored}");
                    return Err(cursor.corrupt(at, reason));
                }
                (storage.start, storage.length) = (start, length);
            }
            Some(_) => return Err(cursor.forbidden(at, "an unknown kind of storage view")),
        }
        self.keep(cursor, at, Object::Storage(storage))
    }
}
