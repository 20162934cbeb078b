//! Where the entries of a study are kept.

use super::description::Description;
use super::journal::Entry;
use crate::SearchError;

/// Who is at work.
pub trait Presence {
    /// Whether a worker is still at work.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn at_work(&self, worker: &str) -> Result<bool, SearchError>;
}

/// What a change of a study wants appended, given what others appended since the last call, and who is at work.
pub type Change<'a> = dyn FnMut(Vec<Entry>, &dyn Presence) -> Result<Vec<Entry>, SearchError> + 'a;

/// What a study's description is to be from now on, given the one that is there; none to leave that as it is.
pub type Describe<'a> =
    dyn FnMut(Option<Description>) -> Result<Option<Description>, SearchError> + 'a;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Made {
    /// Its entries are in the journal, durably.
    Appended,
    /// None of them is: the way to the store was lost, and others appended meanwhile. The change has to be made again,
    /// on a state that is made anew from the first entry.
    Overtaken,
}

impl Made {
    /// What became of a change whose way was lost, by the lines that others see after those it was made on. None where
    /// it was not written, and may be as it is.
    #[cfg(any(test, feature = "postgres"))]
    pub(super) fn of(own: &[String], there: &[String]) -> Option<Self> {
        if there.is_empty() {
            return None;
        }
        // It was committed, the answer was lost, and others may have written since.
        let written = !own.is_empty() && there.starts_with(own);
        Some(match written {
            true => Self::Appended,
            false => Self::Overtaken,
        })
    }
}

/// A study's description, with a shared, ordered, append-only list of entries, and who is at work on it.
///
/// A store remembers what its owner has read. Several owners, in as many threads, processes or machines as the store
/// can serve, see the same entries in the same order.
pub trait Store: Presence + Send {
    /// What messages call it; what is secret is left out.
    fn place(&self) -> String;

    /// What messages call the journal.
    fn journal(&self) -> String {
        self.place()
    }

    /// What lies there of trials besides the journal, where that can be seen: a journal that tells of none was lost.
    fn remains(&self) -> Option<String> {
        None
    }

    /// What the study was begun with; none where none was.
    ///
    /// # Errors
    ///
    /// Those of the store, and of what is no description.
    fn description(&mut self) -> Result<Option<Description>, SearchError>;

    /// Alone among all owners: keeps what `describe` makes of the description. It may be called more than once, and
    /// the last call counts.
    ///
    /// # Errors
    ///
    /// Those of `describe`, after which nothing has changed, and those of the store.
    fn describe(&mut self, describe: &mut Describe<'_>) -> Result<(), SearchError>;

    /// Alone among all owners: hands over the entries since the last call, and appends what `change` returns, all or
    /// nothing of each entry, durable when the call returns.
    ///
    /// # Errors
    ///
    /// Those of `change`, after which nothing is appended, and those of the store, after which it may have been.
    fn alone(&mut self, change: &mut Change<'_>) -> Result<Made, SearchError>;

    /// The entries since the last call, without waiting for anybody.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn read(&mut self) -> Result<Vec<Entry>, SearchError>;

    /// Hands over everything from the first entry at the next call.
    fn rewind(&mut self);

    /// Makes this owner a worker that others see at work until it ends, is killed or stops answering. Returns its
    /// name, the same at every call.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn join(&mut self) -> Result<String, SearchError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_whose_answer_was_lost_is_found_again() {
        let lines = |all: &[&str]| all.iter().map(|line| line.to_string()).collect::<Vec<_>>();
        let own = lines(&["a", "b"]);
        for (there, made) in [
            (lines(&[]), None),
            (lines(&["a", "b"]), Some(Made::Appended)),
            // Another worker wrote before this one had connected again.
            (lines(&["a", "b", "c"]), Some(Made::Appended)),
            (lines(&["c"]), Some(Made::Overtaken)),
            (lines(&["c", "a", "b"]), Some(Made::Overtaken)),
        ] {
            assert_eq!(Made::of(&own, &there), made, "{there:?}");
        }
        assert_eq!(Made::of(&[], &own), Some(Made::Overtaken));
        assert_eq!(Made::of(&[], &[]), None);
    }
}
