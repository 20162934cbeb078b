use std::path::PathBuf;

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
        "`{path}` carries an adapter already: merge it (`Module::materialize`), start from the \
         unadapted model, or give every adapter a name"
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
    /// A file with the tensors of more than one adapter.
    #[error(
        "{}: its tensors are those of several adapters, {first} and {other}; save one adapter a file, \
         as PEFT's save_pretrained does",
        path.display()
    )]
    SeveralAdapters {
        /// The adapter's folder.
        path: PathBuf,
        /// One of them, in words.
        first: String,
        /// Another one.
        other: String,
    },
    /// A text that cannot name an adapter.
    #[error(
        "`{name}` cannot name an adapter: use letters, digits, `_` and `-`, and not `{}`, which is the \
         unadapted model",
        crate::BASE
    )]
    Name {
        /// The text.
        name: String,
    },
    /// Two adapters of one name.
    #[error(
        "the model has an adapter `{name}` already: choose another name, or remove that one first"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No adapter has the name.
    #[error("there is no adapter `{name}`; the model has `{known}`")]
    UnknownAdapter {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Adapters that cannot be active together.
    #[error(
        "`{choice}` cannot be summed: at `{parameter}` the adapter `{name}` does more than add to the \
         frozen weight; make one of them active, or choose by rows"
    )]
    NotAdditive {
        /// What was to be summed.
        choice: String,
        /// The adapter that is no addition.
        name: String,
        /// Burn path of the parameter.
        parameter: String,
    },
    /// The unadapted model was chosen where it is of no use.
    #[error("`{}` cannot be chosen: {reason}", crate::BASE)]
    NoBase {
        /// Why not.
        reason: String,
    },
    /// An adapter that cannot be chosen by rows.
    #[error(
        "`{choice}` cannot be chosen row by row: it adapts `{parameter}`, which all rows of a batch share; make \
         it active for whole batches"
    )]
    NotByRows {
        /// What was chosen.
        choice: String,
        /// Burn path of the parameter.
        parameter: String,
    },
    /// Choices and rows of different number.
    #[error("{choices} choices of adapters for {rows} rows: give one for every row")]
    RowChoices {
        /// Choices given.
        choices: usize,
        /// Rows there are.
        rows: usize,
    },
    /// An adapter of a set would have a weight in full and adapt it, too.
    #[error(
        "`{parameter}` would be both adapted and trained in full: leave it out of the targets or out of \
         the modules to save"
    )]
    AdaptedAndSaved {
        /// The parameter, by the checkpoint's names.
        parameter: String,
    },
    /// An adapter of another kind than its site.
    #[error(
        "`{path}` is a {kind} of shape {shape:?}, which this kind of adapter is not for: choose other \
         targets, or another method"
    )]
    WrongKind {
        /// The site, by the checkpoint's names.
        path: String,
        /// What it is.
        kind: crate::SiteKind,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Something is trained that the files would not hold.
    #[error(
        "{count} trained tensors would be in no file, the first is `{first}`: save the adapters of every \
         method, add the module to those that are saved in full, or freeze it"
    )]
    NotSaved {
        /// How many tensors.
        count: usize,
        /// The first of them, by its path in the model.
        first: String,
    },
    /// A module to save with a parameter that sets of adapters do not hold.
    #[error(
        "`{name}` has shape {shape:?}: only modules of vectors and matrices can be saved by an adapter \
         with a name; attach it as the only one"
    )]
    WholeShape {
        /// Name of the parameter.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Adapters with names were to be saved without one.
    #[error("the model has adapters with names, `{known}`: say which of them to save")]
    Unnamed {
        /// The names.
        known: String,
    },
    /// A file with two values of what is one parameter of the model.
    #[error(
        "the adapter holds `{name}` and `{copy}` with different values, which are one parameter of this \
         model: load the model with a head of its own"
    )]
    OneParameter {
        /// The parameter.
        name: String,
        /// Its second name.
        copy: String,
    },
    /// A site that the targets name and that the method adapts by its settings, too, such as a table of which single rows are
    /// trained.
    #[error(
        "`{path}` would be adapted twice, by the targets and by the method's own settings: leave it out of \
         one of them"
    )]
    AdaptedTwice {
        /// The site, by the checkpoint's names.
        path: String,
    },
    /// Nothing would be trained.
    #[error("nothing would be trained: no adapter was attached and no module is trained in full")]
    NothingTrained,
}
