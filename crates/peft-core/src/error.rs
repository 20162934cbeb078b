use peft_format::{FormatError, TargetError};
use thiserror::Error;

/// What can go wrong when adapters are attached, stored or restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// A file could not be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The targets match nothing, or cannot be understood.
    #[error(transparent)]
    Targets(#[from] TargetError),
    /// Some targets match while others do not: mostly a typing error.
    #[error("no module answers to the target `{names}`{near}")]
    Unmatched {
        /// The targets without a match.
        names: String,
        /// What they may have meant.
        near: String,
    },
    /// The model carries adapters already.
    #[error(
        "`{path}` carries an adapter already: merge it (`Module::materialize`) or start from the \
         unadapted model before attaching another"
    )]
    AlreadyAdapted {
        /// Burn path of the adapted weight.
        path: String,
    },
    /// A setting that this method cannot work with.
    #[error("{method}: {problem}; {fix}")]
    Config {
        /// The method.
        method: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A tensor is missing from an adapter.
    #[error("adapter of `{module}`: tensor `{suffix}` is missing; the file has {found:?} for it")]
    MissingTensor {
        /// Module path in the checkpoint's names.
        module: String,
        /// The missing suffix.
        suffix: String,
        /// What is there.
        found: Vec<String>,
    },
    /// A tensor has the wrong shape.
    #[error(
        "`{name}` has shape {found:?}, but this model needs {expected:?}: was the adapter trained \
         on another base?"
    )]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the model needs.
        expected: Vec<usize>,
    },
    /// A tensor holds values of a type that adapters do not use.
    #[error("`{name}` holds {dtype}, but floating-point values are expected")]
    Dtype {
        /// Name of the tensor.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// A tensor of places holds something else than integers.
    #[error("`{name}` holds {dtype}, but 32- or 64-bit integers are expected")]
    NotInteger {
        /// Name of the tensor.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// A tensor of places holds some that the weight does not have.
    #[error("`{name}`: {problem}; was the adapter trained on another base?")]
    Places {
        /// Name of the tensor.
        name: String,
        /// What is wrong with them.
        problem: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("`{name}` holds {count} values that are not finite: the adapter is broken")]
    NotFinite {
        /// Name of the tensor.
        name: String,
        /// How many.
        count: usize,
    },
    /// Tensors of an adapter file have no place in this model.
    #[error(
        "{count} tensors of the adapter have no place in this model, the first is `{first}`{hint}"
    )]
    NoPlace {
        /// How many tensors.
        count: usize,
        /// The first of them.
        first: String,
        /// Near misses, or nothing.
        hint: String,
    },
    /// Nothing would be trained.
    #[error("nothing would be trained: no adapter was attached and no module is trained in full")]
    NothingTrained,
}
