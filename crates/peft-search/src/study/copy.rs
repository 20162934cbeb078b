//! Copies of studies.

use super::store::{Made, Store};
use super::{Study, described};
use crate::SearchError;

impl Study {
    /// Copies the study, as it is in its store now, to a store that has none: description and journal, entry by entry.
    /// Returns how many entries those are.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where the other store has a study with trials, or another one; the stores'.
    pub fn copy_to(&mut self, other: &mut dyn Store) -> Result<usize, SearchError> {
        let description = described(&mut *self.store)?;
        self.store.rewind();
        // What is read here is not applied: the next call reads it once more.
        self.stale = true;
        let entries = self.store.read()?;
        let place = other.place();
        let occupied = || SearchError::Study {
            reason: format!("`{place}` holds one already: copy to another place"),
        };
        other.rewind();
        other.describe(&mut |there| match there {
            None => Ok(Some(description.clone())),
            // A copy that was killed under way.
            Some(there) if there == description => Ok(None),
            Some(_) => Err(occupied()),
        })?;
        let made = other.alone(&mut |there, _| match there.is_empty() {
            true => Ok(entries.clone()),
            false => Err(occupied()),
        })?;
        match made {
            Made::Appended => Ok(entries.len()),
            Made::Overtaken => Err(occupied()),
        }
    }
}
