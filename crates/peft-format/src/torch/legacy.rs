//! The format of PyTorch before 1.6: pickles, then storages.
//!
//! Five pickles follow one another: a magic number, the protocol version, facts about the machine
//! that wrote the file, the state dict, and the sorted keys of the storages. Then comes each storage
//! in the order of the keys: its number of elements in eight bytes, and its bytes.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;

use super::layout::{Layout, element_size};
use super::pickle::{Cursor, Heap, Machine, Object, PICKLE_LIMIT, Value};
use super::{EXPECTED, Storages, state};
use crate::error::{FormatError, Result, shorten};

/// The pickle of the magic number 0x1950a86a20f9469cfc6c.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The only protocol version that there ever was.
const VERSION: i64 = 1001;

/// Reads the description of the tensors of a file in this format.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<IndexMap<String, Layout>> {
    let cursor = &mut Cursor::new(path, None, &bytes[..bytes.len().min(PICKLE_LIMIT)]);
    if !cursor.skip(MAGIC) {
        return Err(FormatError::WrongKind {
            path: path.to_owned(),
            expected: EXPECTED,
            found: "it is a pickle without PyTorch's magic number".into(),
            fix: "give the model's weights; other pickles are not read, because they can run code"
                .into(),
        });
    }
    let mut machine = Machine::default();
    let at = cursor.position();
    let version = machine.run(cursor)?;
    if !matches!(version, Value::Int(VERSION)) {
        let found = machine.heap.describe(version);
        let reason = format!("expected the protocol version {VERSION}, found {found}");
        return Err(cursor.corrupt(at, reason));
    }
    let at = cursor.position();
    let facts = machine.run(cursor)?;
    check_byte_order(cursor, at, &machine.heap, facts)?;
    let root = machine.run(cursor)?;
    let at = cursor.position();
    let keys = machine.run(cursor)?;
    let storages = storages(cursor, at, &machine.heap, keys, bytes)?;
    state::layouts(cursor, &machine.heap, root, &storages, bytes.len())
}

fn check_byte_order<'a>(
    cursor: &Cursor<'a>,
    at: usize,
    heap: &Heap<'a>,
    facts: Value<'a>,
) -> Result<()> {
    let order = heap.dict(facts).and_then(|pairs| {
        let named = pairs
            .iter()
            .find(|(key, _)| matches!(key, Value::Text("little_endian")));
        Some(named?.1)
    });
    match order {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(super::zip::big_endian(cursor.path())),
        _ => Err(cursor.corrupt(
            at,
            "expected the byte order of the machine, `little_endian`",
        )),
    }
}

/// Walks the storages behind the pickles.
fn storages<'a>(
    cursor: &Cursor<'a>,
    at: usize,
    heap: &Heap<'a>,
    keys: Value<'a>,
    bytes: &[u8],
) -> Result<Storages<'a>> {
    let mut known: HashMap<&str, (usize, usize)> = HashMap::new();
    for storage in heap.storages() {
        let size = (element_size(storage.dtype), storage.stored);
        if *known.entry(storage.key).or_insert(size) != size {
            let reason = format!("storage `{}` has two sizes", shorten(storage.key));
            return Err(cursor.corrupt(at, reason));
        }
    }
    let Some(Object::List(keys)) = heap.get(keys) else {
        let reason = format!("expected storage keys, found {}", heap.describe(keys));
        return Err(cursor.corrupt(at, reason));
    };
    let mut places = Storages::with_capacity(keys.len().min(known.len()));
    let mut position = cursor.position();
    for &key in keys {
        let Value::Text(key) = key else {
            let reason = format!("expected a storage key, found {}", heap.describe(key));
            return Err(cursor.corrupt(at, reason));
        };
        let bad = |reason: String| {
            let place = format!("byte {position}, storage `{}`", shorten(key));
            Err(FormatError::corrupt(cursor.path(), place, reason))
        };
        let Some(&(size, elements)) = known.get(key) else {
            return bad("no tensor says what type it has".into());
        };
        let rest = bytes.get(position..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<8>() else {
            return bad("the file ends here".into());
        };
        let length = u64::from_le_bytes(*length);
        if length != elements as u64 {
            return bad(format!("expected {elements} elements, found {length}"));
        }
        let taken = elements
            .checked_mul(size)
            .filter(|taken| *taken <= rest.len());
        let Some(taken) = taken else {
            return bad(format!(
                "expected {elements} elements of {size} bytes, found {} bytes",
                rest.len()
            ));
        };
        let start = position + 8; // in bounds: the file has that many bytes
        if places.insert(key, start..start + taken).is_some() {
            return bad("the key occurs twice".into());
        }
        position = start + taken;
    }
    if position != bytes.len() {
        let reason = format!("the storages end here, the file has {} bytes", bytes.len());
        return Err(cursor.corrupt(position, reason));
    }
    Ok(places)
}
