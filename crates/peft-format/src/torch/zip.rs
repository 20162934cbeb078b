//! The format of PyTorch since 1.6: a zip archive with `NAME/data.pkl` and `NAME/data/KEY`.

use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;

use super::archive::{Archive, Member};
use super::layout::{Layout, element_size};
use super::pickle::{Cursor, Machine, PICKLE_LIMIT};
use super::{EXPECTED, Storages, state};
use crate::error::{FormatError, Result, shorten};

/// Reads the description of the tensors of a file in this format.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<IndexMap<String, Layout>> {
    let archive = Archive::parse(path, bytes)?;
    let (folder, pickle) = pickle(path, &archive)?;
    check_byte_order(path, bytes, &archive, folder)?;
    let pickle_name = &format!("{folder}/data.pkl");
    let range = stored(path, pickle_name, pickle)?;
    if range.len() > PICKLE_LIMIT {
        return Err(FormatError::TooLarge {
            path: path.to_owned(),
            what: "the pickle `data.pkl`",
            size: range.len() as u64,
            limit: PICKLE_LIMIT as u64,
        });
    }
    let text = bytes.get(range).unwrap_or_default();
    let cursor = &mut Cursor::new(path, Some(pickle_name), text);
    let mut machine = Machine::default();
    let root = machine.run(cursor)?;
    if cursor.position() != text.len() {
        return Err(cursor.corrupt(cursor.position(), "the pickle ends before its entry does"));
    }
    let mut storages = Storages::new();
    for storage in machine.heap.storages() {
        let name = format!("{folder}/data/{}", storage.key);
        let Some(member) = archive.get(&name) else {
            let reason = "the pickle names this entry, the archive lacks it";
            return Err(FormatError::corrupt(path, shorten(&name), reason));
        };
        let range = stored(path, &name, member)?;
        // A storage cut out of bytes may end in a part of an element, which PyTorch stores as well.
        let found = range.len() / element_size(storage.dtype);
        if found != storage.stored {
            let reason = format!("expected {} elements, found {found}", storage.stored);
            return Err(FormatError::corrupt(path, shorten(&name), reason));
        }
        storages.insert(storage.key, range);
    }
    state::layouts(cursor, &machine.heap, root, &storages, bytes.len())
}

/// The folder of the archive and the pickle in it.
fn pickle<'b>(path: &Path, archive: &'b Archive<'_>) -> Result<(&'b str, &'b Member)> {
    let wrong = |found: &str, fix: &str| FormatError::WrongKind {
        path: path.to_owned(),
        expected: EXPECTED,
        found: found.into(),
        fix: fix.into(),
    };
    let mut pickles = archive.iter().filter_map(|(name, member)| {
        let folder = name.strip_suffix("/data.pkl")?;
        (!folder.contains('/')).then_some((folder, member))
    });
    let (folder, member) = pickles.next().ok_or_else(|| {
        let fix = "give the file that `torch.save` wrote";
        wrong("it is a zip archive without a `data.pkl` in a folder", fix)
    })?;
    if pickles.next().is_some() {
        return Err(FormatError::corrupt(
            path,
            "zip directory",
            "there are two pickles, and which is meant cannot be told",
        ));
    }
    if archive.get(&format!("{folder}/constants.pkl")).is_some() {
        let fix = "save the state dict of the model instead of its compiled code";
        return Err(wrong("it is a TorchScript archive", fix));
    }
    Ok((folder, member))
}

/// Files of before 2.1 say nothing about it, and practically all come from little-endian machines.
fn check_byte_order(path: &Path, bytes: &[u8], archive: &Archive<'_>, folder: &str) -> Result<()> {
    let name = format!("{folder}/byteorder");
    let Some(member) = archive.get(&name) else {
        return Ok(());
    };
    let order = bytes.get(stored(path, &name, member)?).unwrap_or_default();
    match order {
        b"little" => Ok(()),
        b"big" => Err(big_endian(path)),
        _ => {
            let found = shorten(&String::from_utf8_lossy(&order[..order.len().min(16)]));
            let reason = format!("expected `little` or `big`, found `{found}`");
            Err(FormatError::corrupt(path, shorten(&name), reason))
        }
    }
}

/// The refusal of a big-endian file.
pub(super) fn big_endian(path: &Path) -> FormatError {
    FormatError::WrongKind {
        path: path.to_owned(),
        expected: "little-endian tensors",
        found: "a big-endian machine wrote the file".into(),
        fix: "load it in PyTorch and save it as safetensors".into(),
    }
}

/// Where an entry's bytes are, if they are stored as they are.
fn stored(path: &Path, name: &str, member: &Member) -> Result<Range<usize>> {
    let found = match (member.encrypted, member.method) {
        (false, 0) => return Ok(member.range.clone()),
        (true, _) => "encrypted".to_owned(),
        (_, 8) => "compressed (deflate)".to_owned(),
        (_, method) => format!("compressed (method {method})"),
    };
    Err(FormatError::WrongKind {
        path: path.to_owned(),
        expected: "a zip archive of uncompressed entries, as `torch.save` writes it",
        found: format!("`{}` is {found}", shorten(name)),
        fix: "pack it again without compression (`zip -0`), or load and save it in PyTorch".into(),
    })
}
