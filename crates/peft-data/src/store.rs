//! Long lists of numbers: in memory while they are short, in a temporary file beyond.
//!
//! The file has no name (it is gone with the process, however that ends) and is mapped, so that
//! the system keeps of it in memory what it likes and can drop the rest: resident anonymous memory
//! does not grow with the data. The folder is the system's for temporary files (`TMPDIR`); where
//! that lies in memory itself, nothing is gained.

use crate::error::DataError;
use bytemuck::Pod;
use memmap2::Mmap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::ops::Deref;

/// Bytes of one list that stay in memory by default. A set has up to seven lists (token ids, segments,
/// row starts, labels, the two sides of a split, the order of an epoch), so this bounds what loading
/// and ordering hold at a few hundred megabytes; five gigabytes of rows took 144 MiB, see
/// `examples/memory.jsonl`.
pub const SPILL_BYTES: usize = 64 << 20;

/// A list being written.
pub(crate) struct Writer<T> {
    memory: Vec<T>,
    file: Option<BufWriter<File>>,
    length: usize,
    limit: usize,
}

impl<T: Pod> Writer<T> {
    /// A list of which at most `bytes` stay in memory.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            length: 0,
            limit: bytes / size_of::<T>(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn push(&mut self, value: T) -> Result<(), DataError> {
        self.extend(&[value])
    }

    pub(crate) fn extend(&mut self, values: &[T]) -> Result<(), DataError> {
        self.length += values.len();
        if self.file.is_none() {
            if self.length <= self.limit {
                self.memory.extend_from_slice(values);
                return Ok(());
            }
            let mut file = BufWriter::with_capacity(1 << 18, tempfile::tempfile().map_err(fault)?);
            let memory = std::mem::take(&mut self.memory);
            file.write_all(bytemuck::cast_slice(&memory))
                .map_err(fault)?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytemuck::cast_slice(values)).map_err(fault),
            None => Ok(()),
        }
    }

    /// The list, from now on for reading.
    pub(crate) fn finish(self) -> Result<Store<T>, DataError> {
        let Some(file) = self.file else {
            return Ok(Store::Memory(self.memory));
        };
        let file = file.into_inner().map_err(|e| fault(e.into_error()))?;
        // SAFETY: the file has no name and no other handle, so nobody changes or cuts it while it
        // is mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(fault)?;
        Ok(Store::Mapped(map, PhantomData))
    }
}

fn fault(source: std::io::Error) -> DataError {
    DataError::Spill {
        dir: std::env::temp_dir(),
        source,
    }
}

/// A list of numbers.
pub(crate) enum Store<T> {
    Memory(Vec<T>),
    Mapped(Mmap, PhantomData<T>),
}

impl<T> Store<T> {
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped(..))
    }
}

impl<T: Pod> Deref for Store<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Memory(values) => values,
            // Whole values were written, and a mapping starts at a page.
            Self::Mapped(map, _) => bytemuck::cast_slice(map),
        }
    }
}

impl<T> From<Vec<T>> for Store<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Memory(values)
    }
}

impl<T: Pod + PartialEq> PartialEq for Store<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for Store<T> {}

impl<T: Pod> Clone for Store<T> {
    /// Copies into memory: only lists that are never long are cloned.
    fn clone(&self) -> Self {
        Self::Memory(self.to_vec())
    }
}

impl<T: Pod> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.is_mapped() { "file" } else { "memory" };
        write!(f, "{} values in {place}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_memory_and_from_the_file() {
        for limit in [0, 40, 4096] {
            let mut writer = Writer::new(limit);
            for i in 0..20u64 {
                writer.push(i).unwrap();
            }
            writer.extend(&[20, 21]).unwrap();
            assert_eq!(writer.len(), 22);
            let store = writer.finish().unwrap();
            assert_eq!(store.is_mapped(), limit < 4096);
            assert_eq!(*store, *(0..22).collect::<Vec<u64>>());
        }
        assert!(Writer::<u8>::new(0).finish().unwrap().is_empty());
    }
}
