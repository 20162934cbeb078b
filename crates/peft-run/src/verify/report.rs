use std::path::Path;

use serde::Serialize;

use crate::BaseFile;

/// What [`verify`](crate::verify) found.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// The base's folder.
    pub model: String,
    /// The adapter's folder.
    pub adapter: String,
    /// The adapter's method.
    pub method: String,
    /// Whether the base is the one that the adapter was trained on.
    pub base: BaseVerdict,
    /// The adapted weights that could be looked at.
    pub modules: Vec<ModuleCheck>,
    /// Parameters that the adapter holds in full: the head.
    pub saved: Vec<String>,
    /// Norm of all changes together, `‖ΔW‖`.
    pub change: f64,
    /// The same over the norm of the changed weights.
    pub relative_change: f64,
    /// Share of it that rounding to the base's types would swallow in a merge.
    pub lost_share: f64,
    /// Whether weights can hold all of the adapter, so that it can be merged.
    pub mergeable: bool,
    /// What is wrong; nothing if all is well.
    pub problems: Vec<Problem>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

/// The base that an adapter was trained on, and the one at hand.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BaseVerdict {
    /// What training recorded; nothing in adapters of PEFT.
    pub recorded: Option<BaseFile>,
    /// The base at hand.
    pub found: Option<BaseFile>,
    /// Whether both hold the same weights; unknown without a record.
    pub same: Option<bool>,
}

/// A weight and its change `ΔW`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModuleCheck {
    /// The module, by the checkpoint's name.
    pub module: String,
    /// `[out, in]`
    pub shape: [usize; 2],
    /// The checkpoint's type of the weight.
    pub dtype: String,
    /// Frobenius norm `‖ΔW‖`.
    pub change: f64,
    /// `‖ΔW‖ / ‖W‖`
    pub relative_change: f64,
    /// Largest element of `ΔW`.
    pub largest_change: f64,
    /// Whether nothing changes at all.
    pub zero: bool,
    /// Norm of what rounding the sum to `dtype` changes, over `‖ΔW‖`.
    pub lost_share: f64,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The module, the tensor or the key.
    pub place: String,
    /// `other base`, `no place`, `not targeted`, `no tensors`, `tensor missing`, `tensor left over`,
    /// `shape`, `not finite`, `zero`, `target` or `head`.
    pub kind: &'static str,
    /// What it is.
    pub problem: String,
}

impl BaseVerdict {
    pub(super) fn new(recorded: Option<BaseFile>, found: BaseFile) -> Self {
        let same = recorded
            .as_ref()
            .map(|base| base.fingerprint.hash == found.fingerprint.hash);
        Self {
            recorded,
            found: Some(found),
            same,
        }
    }

    /// The folder that the adapter was trained on, as it was called then.
    pub fn trained_on(&self) -> &str {
        self.recorded.as_ref().map_or("", |base| &base.model)
    }
}

impl VerifyReport {
    pub(super) fn new(model: &Path, adapter: &Path, method: &str) -> Self {
        Self {
            model: model.to_string_lossy().into_owned(),
            adapter: adapter.to_string_lossy().into_owned(),
            method: method.to_owned(),
            base: BaseVerdict::default(),
            modules: Vec::new(),
            saved: Vec::new(),
            change: 0.0,
            relative_change: 0.0,
            lost_share: 0.0,
            mergeable: true,
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, place: &str, kind: &'static str, problem: String) {
        self.problems.push(Problem {
            place: place.to_owned(),
            kind,
            problem,
        });
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}
