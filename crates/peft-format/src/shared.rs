//! Bytes that outlive the reader which found them.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// A part of a mapped file, which it keeps mapped, or bytes of their own; cheap to clone.
#[derive(Clone)]
pub struct SharedBytes(Source);

#[derive(Clone)]
enum Source {
    Mapped(Arc<Mmap>, Range<usize>),
    Owned(Arc<[u8]>),
}

impl SharedBytes {
    /// A range of a mapping; `None` if it leaves the mapping.
    pub(crate) fn mapped(map: &Arc<Mmap>, range: Range<usize>) -> Option<Self> {
        map.get(range.clone())?;
        Some(Self(Source::Mapped(map.clone(), range)))
    }

    /// True if the bytes are pages of a file and not a copy of them.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Source::Mapped(..))
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Source::Owned(bytes.into()))
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Mapped(map, range) => &map[range.clone()],
            Source::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_mapped() { "mapped" } else { "owned" };
        write!(f, "{} {kind} bytes", self.len())
    }
}
