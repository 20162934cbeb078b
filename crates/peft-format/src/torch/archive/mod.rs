//! The directory of a zip archive, for reading entries in place.
//!
//! Written out here rather than taken from the `zip` crate, for that reserves memory by the number
//! of entries that the archive claims to have, lets the last of several entries of one name win,
//! and searches a whole file for a directory. Here nothing is reserved, and an archive that two
//! readers could understand differently is refused: repeated names, overlapping entries, headers
//! that disagree, bytes behind the end.

mod end;
mod entry;

use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;

use self::entry::{Central, locate};
use crate::error::{FormatError, Result, shorten};

/// The most entries of an archive: one for each storage, and a few.
const MAX_MEMBERS: usize = 1 << 20;

/// An entry of the archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Its bytes in the file, as they are stored.
    pub range: Range<usize>,
    /// Compression method; 0 is none.
    pub method: u16,
    pub encrypted: bool,
}

/// The entries by name.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    members: IndexMap<&'a str, Member>,
}

/// True if the bytes start with a zip entry.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(entry::LOCAL)
}

impl<'a> Archive<'a> {
    /// Reads the directory of the whole file in `bytes`.
    pub fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        let directory = end::find(bytes)
            .map_err(|reason| FormatError::corrupt(path, "end of the zip archive", reason))?;
        let mut members = IndexMap::new();
        let mut extents = Vec::new();
        let mut position = directory.range.start;
        for _ in 0..directory.count {
            let bad = |reason: &str| {
                let place = format!("byte {position}, in the zip directory");
                Err(FormatError::corrupt(path, place, reason))
            };
            let rest = bytes.get(position..directory.range.end).unwrap_or_default();
            let Some(header) = Central::parse(rest) else {
                return bad("expected an entry");
            };
            let Ok(name) = std::str::from_utf8(header.name) else {
                return bad("the name of an entry is not UTF-8");
            };
            let (extent, member) = locate(bytes, &header, directory.range.start)
                .map_err(|r| FormatError::corrupt(path, shorten(name), r))?;
            extents.push(extent);
            if members.insert(name, member).is_some() {
                let reason = "the archive has two entries of this name";
                return Err(FormatError::corrupt(path, shorten(name), reason));
            }
            position += header.length;
        }
        if position != directory.range.end {
            let reason = format!("{} entries do not fill the directory", directory.count);
            return Err(FormatError::corrupt(path, "zip directory", reason));
        }
        extents.sort_by_key(|extent| (extent.start, extent.end));
        if let Some([_, second]) = (extents.array_windows()).find(|[a, b]| a.end > b.start) {
            let place = format!("byte {}", second.start);
            return Err(FormatError::corrupt(path, place, "zip entries overlap"));
        }
        Ok(Self { members })
    }

    pub fn get(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Member)> {
        self.members.iter().map(|(name, member)| (*name, member))
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn very_long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
