//! Studies whose trials are runs of `peft-run`.
//!
//! * [`SearchConfig`]: what is searched, with which settings for all trials, and for how long. [`RunStudy`] begins such
//!   a study in a folder, goes on with it, joins it as a worker, and scores its front on rows that nothing chose by.
//! * [`RunSpace`]: a space whose configurations are settings of runs, with what their adapters store as exact known
//!   cost: [`Workspace`] of every method that fits the model, [`FileSpace`] of a file's parameters.
//! * [`View`]: what watches.
//!
//! A trial learns from the training rows and is scored by the rows that select; the evaluation rows are looked at
//! once, for whether they can be read, and not used before the front is scored. Model, tokens and fingerprints are prepared once for all trials of a process. A trial
//! is a run in a folder of its own, which goes on where a killed worker left it; what it weighs is kept while it is on
//! the front. Equal trials of several studies are run once where they share a [`TrialCache`].

mod cache;
mod config;
mod cost;
mod differences;
mod error;
mod folders;
mod front;
mod owner;
mod posed;
mod space;
mod study;
mod trial;
mod view;

pub use cache::TrialCache;
pub use config::{SearchConfig, SpaceChoice};
pub use cost::Cost;
pub use error::RunsError;
pub use front::{FRONT, FrontEntry};
pub use space::{AutoPeftSpace, FileSpace, LeftOut, RunSpace, Workspace};
pub use study::RunStudy;
pub use view::{Ended, View};

pub use crate::study::Worked;
