//! Long lists of true and false, one bit each.

use crate::error::DataError;
use crate::store::{Store, Writer};
use std::ops::Range;

const BITS: usize = 64;

/// A list being written.
pub(crate) struct FlagWriter {
    words: Writer<u64>,
    /// Bits that do not fill a word yet.
    last: u64,
    length: usize,
}

impl FlagWriter {
    /// A list of which at most `bytes` stay in memory.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            words: Writer::new(bytes),
            last: 0,
            length: 0,
        }
    }

    pub(crate) fn extend(&mut self, flags: &[bool]) -> Result<(), DataError> {
        for &flag in flags {
            self.last |= u64::from(flag) << (self.length % BITS);
            self.length += 1;
            if self.length.is_multiple_of(BITS) {
                self.words.push(std::mem::take(&mut self.last))?;
            }
        }
        Ok(())
    }

    /// The list, from now on for reading.
    pub(crate) fn finish(mut self) -> Result<FlagStore, DataError> {
        if !self.length.is_multiple_of(BITS) {
            self.words.push(self.last)?;
        }
        Ok(FlagStore(self.words.finish()?))
    }
}

/// A list of flags.
#[derive(Debug)]
pub(crate) struct FlagStore(Store<u64>);

impl FlagStore {
    pub(crate) fn in_memory(flags: &[bool]) -> Self {
        let word = |flags: &[bool]| {
            let bits = flags.iter().enumerate();
            bits.fold(0, |word, (bit, &flag)| word | (u64::from(flag) << bit))
        };
        Self(flags.chunks(BITS).map(word).collect::<Vec<u64>>().into())
    }

    /// Flags of a range, which must lie in the list.
    pub(crate) fn range(&self, range: Range<usize>) -> impl Iterator<Item = bool> + '_ {
        range.map(|at| self.0[at / BITS] >> (at % BITS) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            parts in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..90), 0..8),
            limit in prop::sample::select(vec![0usize, 16, 4096]),
        ) {
            let all = parts.concat();
            let mut writer = FlagWriter::new(limit);
            for part in &parts {
                writer.extend(part).unwrap();
            }
            let (written, listed) = (writer.finish().unwrap(), FlagStore::in_memory(&all));
            for store in [written, listed] {
                prop_assert_eq!(store.range(0..all.len()).collect::<Vec<_>>(), all.clone());
                let middle = all.len() / 3..all.len();
                prop_assert_eq!(store.range(middle.clone()).collect::<Vec<_>>(), all[middle].to_vec());
            }
        }
    }
}
