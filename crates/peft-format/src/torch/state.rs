//! From the value that a pickle made to tensors by name.

use indexmap::IndexMap;

use super::Storages;
use super::layout::Layout;
use super::pickle::{Cursor, Heap, Object, Tensor, Value};
use crate::error::{FormatError, Result, shorten};

/// Keys under which training scripts put the model into a larger checkpoint.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// The most tensors of a file: the largest mixtures of experts have some ten thousands in all.
const MAX_TENSORS: usize = 1 << 18;

/// The tensors of a state dict in its order, placed in the file.
///
/// A training checkpoint, `{"state_dict": {…}, "epoch": …}` or with one of the other keys in
/// [`WRAPPERS`], stands for the state dict in it.
///
/// # Errors
/// [`FormatError::Pickle`] if the value is something else, [`FormatError::Corrupt`] if a tensor
/// leaves its storage or a name occurs twice, [`FormatError::TooLarge`] if views of the same bytes
/// add up to very much more than the file.
pub(super) fn layouts(
    cursor: &Cursor<'_>,
    heap: &Heap<'_>,
    root: Value<'_>,
    storages: &Storages<'_>,
    file_length: usize,
) -> Result<IndexMap<String, Layout>> {
    let pairs = heap.dict(root);
    let pairs = pairs.ok_or_else(|| refuse(cursor, "the file", heap.describe(root)))?;
    let wrapped: Vec<_> = WRAPPERS
        .iter()
        .filter_map(|wrapper| inner(heap, pairs, wrapper))
        .collect();
    let is_state_dict = pairs
        .iter()
        .any(|&(_, value)| tensor(heap, value).is_some());
    let pairs = match *wrapped {
        [] => pairs,
        _ if is_state_dict => pairs,
        [inner] => inner,
        _ => {
            let found = format!("more than one of the keys {WRAPPERS:?}");
            return Err(refuse(cursor, "the checkpoint", found));
        }
    };
    if pairs.len() > MAX_TENSORS {
        let found = format!("{} entries, more than {MAX_TENSORS}", pairs.len());
        return Err(refuse(cursor, "the state dict", found));
    }
    let mut layouts = IndexMap::with_capacity(pairs.len());
    let mut total = 0u64;
    for &(key, value) in pairs {
        let Value::Text(name) = key else {
            let found = format!("{} as a name", heap.describe(key));
            return Err(refuse(cursor, "the state dict", found));
        };
        let place = format!("tensor `{}`", shorten(name));
        let Some(tensor) = tensor(heap, value) else {
            return Err(refuse(cursor, &place, heap.describe(value)));
        };
        let layout = (storages.get(tensor.storage.key))
            .and_then(|storage| Layout::new(tensor, storage))
            .ok_or_else(|| {
                FormatError::corrupt(cursor.path(), &place, "it does not lie in its storage")
            })?;
        total = total.saturating_add(layout.byte_len() as u64);
        if layouts.insert(name.to_owned(), layout).is_some() {
            return Err(FormatError::corrupt(
                cursor.path(),
                place,
                "the name occurs twice",
            ));
        }
    }
    check_total(cursor, total, file_length)?;
    Ok(layouts)
}

fn tensor<'h, 'a>(heap: &'h Heap<'a>, value: Value<'a>) -> Option<&'h Tensor<'a>> {
    match heap.get(value)? {
        Object::Tensor(tensor) => Some(tensor),
        _ => None,
    }
}

/// The dictionary under a key.
fn inner<'h, 'a>(
    heap: &'h Heap<'a>,
    pairs: &[(Value<'a>, Value<'a>)],
    wanted: &str,
) -> Option<&'h [(Value<'a>, Value<'a>)]> {
    let named = pairs
        .iter()
        .find(|(key, _)| matches!(key, Value::Text(text) if *text == wanted));
    heap.dict(named?.1)
}

/// Views may share a storage or repeat its elements, so a small file can describe any number of
/// bytes; whoever reads it all must not run out of memory.
fn check_total(cursor: &Cursor<'_>, total: u64, file_length: usize) -> Result<()> {
    /// Layers that share all weights, each of them listed under its own name.
    const SHARERS: u64 = 64;
    /// Masks and the like that are one element, expanded.
    const EXPANDED: u64 = 16 << 20;
    let limit = (file_length as u64)
        .saturating_mul(SHARERS)
        .saturating_add(EXPANDED);
    if total <= limit {
        return Ok(());
    }
    Err(FormatError::TooLarge {
        path: cursor.path().to_owned(),
        what: "the sum of its tensors, which share storages,",
        size: total,
        limit,
    })
}

fn refuse(cursor: &Cursor<'_>, place: &str, found: impl Into<String>) -> FormatError {
    FormatError::Pickle {
        path: cursor.path().to_owned(),
        place: place.into(),
        expected: "a state dict, that is, tensors by name".into(),
        found: found.into(),
        fix: "save `model.state_dict()`, alone or under the key \"state_dict\"",
    }
}
