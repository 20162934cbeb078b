use std::path::PathBuf;

use peft_format::FormatError;
use thiserror::Error;

/// Why a model folder could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// `config.json`, or what a GGUF file says in its place, is missing, broken or asks for what is not there.
    #[error("{}: {problem}; {fix}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// The checkpoint lacks tensors that the architecture needs.
    #[error(
        "{}: {count} tensors that the configuration calls for are missing, the first is `{first}` of \
         shape {shape:?}: the checkpoint is incomplete or its configuration belongs to another model",
        path.display()
    )]
    Missing {
        /// The folder.
        path: PathBuf,
        /// How many are missing.
        count: usize,
        /// The first of them.
        first: String,
        /// The shape expected of it.
        shape: Vec<usize>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: `{name}` has shape {found:?}, but the configuration calls for {expected:?}", path.display())]
    Shape {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape expected of it.
        expected: Vec<usize>,
    },
    /// The checkpoint's head does not fit the task.
    #[error("{}: {problem}; {fix}", path.display())]
    Head {
        /// The folder.
        path: PathBuf,
        /// What does not fit.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A batch that the model cannot take.
    #[error("row {row}: {problem}")]
    Batch {
        /// The row within the batch.
        row: usize,
        /// What is wrong with it.
        problem: String,
    },
}
