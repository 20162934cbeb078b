//! The records at the end of an archive.

use std::ops::Range;

use super::entry::CENTRAL_LENGTH;
use super::{MAX_MEMBERS, long, short, very_long};

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

/// Lengths of the records without the comment.
const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: usize = 20;

/// Where the directory is.
pub(super) struct Directory {
    pub range: Range<usize>,
    pub count: usize,
}

/// Finds the directory by the records at the end of the file.
pub(super) fn find(bytes: &[u8]) -> Result<Directory, &'static str> {
    let first = bytes
        .len()
        .saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let end = (first..=bytes.len().saturating_sub(END_LENGTH))
        .rev()
        .find(|&at| {
            // A comment may follow, and nothing else.
            let comment = bytes.get(at..).and_then(|end| short(end, 20));
            bytes[at..].starts_with(END)
                && comment.is_some_and(|n| at + END_LENGTH + usize::from(n) == bytes.len())
        })
        .ok_or("expected the directory's end, which is missing; the file is cut off")?;
    let record = &bytes[end..];
    let small = (|| Some([short(record, 4)?, short(record, 6)?, short(record, 8)?]))();
    let [disk, start_disk, count_here] = small.ok_or("it is cut off")?;
    let count = short(record, 10).ok_or("it is cut off")?;
    let length = long(record, 12).ok_or("it is cut off")?;
    let start = long(record, 16).ok_or("it is cut off")?;
    let wide = wide_end(bytes, end)?;
    let (limit, wide_values) = match wide {
        Some((limit, values)) => (limit, values),
        None => (end, [count.into(), length.into(), start.into()]),
    };
    let agrees = |narrow: u64, wide: u64, all_ones: u64| narrow == all_ones || narrow == wide;
    let [wide_count, wide_length, wide_start] = wide_values;
    if disk != start_disk
        || count != count_here
        || !agrees(count.into(), wide_count, u16::MAX.into())
        || !agrees(length.into(), wide_length, u32::MAX.into())
        || !agrees(start.into(), wide_start, u32::MAX.into())
    {
        return Err("its fields contradict each other");
    }
    let start = usize::try_from(wide_start).ok();
    let stop = start.and_then(|s| s.checked_add(usize::try_from(wide_length).ok()?));
    let (Some(start), Some(stop)) = (start, stop) else {
        return Err("the directory is longer than memory");
    };
    if stop != limit {
        return Err("the directory does not end where its end record begins");
    }
    let count = usize::try_from(wide_count).unwrap_or(usize::MAX);
    if count > MAX_MEMBERS || count > (stop - start) / CENTRAL_LENGTH {
        return Err("there are more entries than the directory has room for, or than are read");
    }
    Ok(Directory {
        range: start..stop,
        count,
    })
}

/// The 64-bit end record, if there is one: its place, and the count, length and start it gives.
fn wide_end(bytes: &[u8], end: usize) -> Result<Option<(usize, [u64; 3])>, &'static str> {
    let Some(locator) = end.checked_sub(LOCATOR_LENGTH).map(|at| &bytes[at..end]) else {
        return Ok(None);
    };
    if !locator.starts_with(LOCATOR_64) {
        return Ok(None);
    }
    let at = very_long(locator, 8).and_then(|at| usize::try_from(at).ok());
    let record = at.and_then(|at| bytes[..end - LOCATOR_LENGTH].get(at..));
    let (Some(at), Some(record)) = (at, record.filter(|r| r.starts_with(END_64))) else {
        return Err("the 64-bit end record is not where it should be");
    };
    let values = (|| {
        Some([
            very_long(record, 32)?,
            very_long(record, 40)?,
            very_long(record, 48)?,
        ])
    })();
    let values = values.ok_or("the 64-bit end record is cut off")?;
    Ok(Some((at, values)))
}
