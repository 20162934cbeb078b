//! One entry: what the directory says of it, and its own header.

use std::ops::Range;

use super::{Member, long, short};

pub(super) const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";

/// Lengths of the headers without their names and extra fields.
const LOCAL_LENGTH: usize = 30;
pub(super) const CENTRAL_LENGTH: usize = 46;

/// An entry of the directory.
pub(super) struct Central<'a> {
    pub name: &'a [u8],
    method: u16,
    flags: u16,
    packed: u64,
    unpacked: u64,
    /// Where the entry's local header is.
    start: u64,
    /// Length of this directory entry.
    pub length: usize,
}

impl<'a> Central<'a> {
    pub fn parse(rest: &'a [u8]) -> Option<Self> {
        if !rest.starts_with(CENTRAL) {
            return None;
        }
        let name = usize::from(short(rest, 28)?);
        let extra = usize::from(short(rest, 30)?);
        let comment = usize::from(short(rest, 32)?);
        let length = CENTRAL_LENGTH + name + extra + comment;
        let tail = rest.get(CENTRAL_LENGTH..length)?;
        let narrow = [long(rest, 24)?, long(rest, 20)?, long(rest, 42)?];
        let [unpacked, packed, start] = widen(narrow, tail.get(name..name + extra)?)?;
        Some(Self {
            name: &tail[..name],
            method: short(rest, 10)?,
            flags: short(rest, 8)?,
            packed,
            unpacked,
            start,
            length,
        })
    }
}

/// Replaces fields that are all ones by those of the 64-bit extra field, in its order.
fn widen(narrow: [u32; 3], mut extra: &[u8]) -> Option<[u64; 3]> {
    let mut values = narrow.map(u64::from);
    if !narrow.contains(&u32::MAX) {
        return Some(values);
    }
    loop {
        let (id, length) = (short(extra, 0)?, usize::from(short(extra, 2)?));
        let mut field = extra.get(4..4 + length)?;
        extra = &extra[4 + length..];
        if id != 1 {
            continue;
        }
        for value in values.iter_mut().filter(|v| **v == u64::from(u32::MAX)) {
            let wide;
            (wide, field) = field.split_first_chunk::<8>()?;
            *value = u64::from_le_bytes(*wide);
        }
        return Some(values);
    }
}

/// Checks an entry's local header; its whole extent, and where its bytes are.
pub(super) fn locate(
    bytes: &[u8],
    header: &Central<'_>,
    limit: usize,
) -> Result<(Range<usize>, Member), &'static str> {
    let start = usize::try_from(header.start).unwrap_or(usize::MAX);
    let local = bytes.get(..limit).and_then(|b| b.get(start..));
    let Some(local) = local.filter(|l| l.starts_with(LOCAL) && l.len() >= LOCAL_LENGTH) else {
        return Err("the directory gives a place for this entry where it is not");
    };
    let (Some(method), Some(name), Some(extra)) =
        (short(local, 8), short(local, 26), short(local, 28))
    else {
        return Err("its header is cut off");
    };
    let name = usize::from(name);
    let named = local.get(LOCAL_LENGTH..LOCAL_LENGTH + name);
    if method != header.method || named != Some(header.name) {
        return Err("its header and the directory contradict each other");
    }
    if header.method == 0 && header.packed != header.unpacked {
        return Err("it is uncompressed, yet has two lengths");
    }
    let data = start + LOCAL_LENGTH + name + usize::from(extra); // small numbers, start is in bounds
    let end = usize::try_from(header.packed)
        .ok()
        .and_then(|n| data.checked_add(n));
    let Some(end) = end.filter(|end| *end <= limit) else {
        return Err("it is longer than the archive");
    };
    let member = Member {
        range: data..end,
        method,
        encrypted: header.flags & 1 != 0,
    };
    Ok((start..end, member))
}
