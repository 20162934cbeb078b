//! Settings of a run from files and the command line, and back into a file.

mod check;
mod read;
mod record;
mod sources;
mod template;

pub(crate) use read::{NamesOrPattern, NumbersOrRanges, layers, targets};
pub use record::recorded;
pub(crate) use record::{RECORD, recomputed, record};
pub use sources::{Flag, Sources};
