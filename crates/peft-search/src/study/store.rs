//! Where the entries of a study are kept.

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

/// A shared, ordered, append-only list of entries, and who is at work on it.
///
/// A store remembers what its owner has read. Several owners, in as many threads, processes or machines as the store
/// can serve, see the same entries in the same order.
pub trait Store: Presence + Send {
    /// Alone among all owners: hands over the entries since the last call, and appends what `change` returns, all or
    /// nothing of each entry, durable when the call returns.
    ///
    /// # Errors
    ///
    /// Those of `change`, after which nothing is appended, and those of the store.
    fn alone(&mut self, change: &mut Change<'_>) -> Result<(), SearchError>;

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
