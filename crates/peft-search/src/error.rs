//! What can go wrong.

use thiserror::Error;

/// An error of a search: of a space's description, of an outcome told, or of a model's fit.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SearchError {
    /// The description of a space contradicts itself.
    #[error("parameter {parameter:?}: {reason}")]
    Parameter {
        /// The parameter's name.
        parameter: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
    /// A configuration does not belong to the space.
    #[error("configuration {levels:?}: {reason}")]
    Configuration {
        /// The configuration's levels.
        levels: Vec<u32>,
        /// Why it is not one of the space's.
        reason: String,
    },
    /// The objectives of a problem contradict each other or its known values.
    #[error("objectives: {reason}")]
    Objectives {
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// A result was told, or reported, for a trial that is not running.
    #[error("trial {trial}: {reason}")]
    Trial {
        /// The trial's number.
        trial: u64,
        /// Why nothing can be told of it.
        reason: String,
    },
    /// Every valid configuration of the space has been proposed.
    #[error(
        "the space has no configuration left: all {tried} that could be found have been proposed"
    )]
    Exhausted {
        /// How many configurations have been proposed.
        tried: usize,
    },
    /// The surrogate could not be fitted.
    #[error("Gaussian process of {rows} observations: {reason}")]
    Fit {
        /// How many observations it was given.
        rows: usize,
        /// Why there is no fit.
        reason: String,
    },
    /// A setting outside its range.
    #[error("{setting} is {value}: {expected}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A setting that this build was made without.
    #[error(
        "{setting} is {value}, for which this build has no code: build peft-search with the feature `{feature}`, or \
         choose {instead}"
    )]
    Feature {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        value: &'static str,
        /// The feature of the package that is needed.
        feature: &'static str,
        /// What can be chosen without it.
        instead: &'static str,
    },
    /// A file of a study could not be read or written.
    #[error("`{path}`: cannot {action}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The database that keeps a study cannot be reached, or refuses.
    #[error("`{place}`: cannot {action}: {reason}")]
    Database {
        /// Where it is and the study's name in it, without a password.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the server or the system said, and what to do.
        reason: String,
    },
    /// A line of a journal, or a study's description, is not what a study writes.
    #[error("`{path}`, line {line}: {reason}")]
    Journal {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A study that is there differs from the one that was to be opened, or cannot be made.
    #[error("study: {reason}")]
    Study {
        /// How, and what to do.
        reason: String,
    },
    /// A trial was given to another worker: this one's results of it are not recorded.
    #[error(
        "trial {trial} was taken over by worker {by:?}: what this worker found is not recorded"
    )]
    Lost {
        /// The trial's number.
        trial: u64,
        /// Who has it now.
        by: String,
    },
}

impl SearchError {
    pub(crate) fn file(
        path: &std::path::Path,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::File {
            path,
            action,
            reason: error.to_string(),
        }
    }
}
