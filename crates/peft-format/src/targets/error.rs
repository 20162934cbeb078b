//! What can be wrong with a choice of targets.

use std::fmt;

use super::ModuleKind;
use crate::near;

/// What the user may have meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMisses {
    /// Per entry that matched nothing, the names most like it.
    pub suggestions: Vec<(String, Vec<String>)>,
    /// The distinct last path components of the linear layers, with their counts, in model order.
    pub linear_leaves: Vec<(String, usize)>,
    /// The same of what the method adapts, where none of it is a linear layer.
    pub other_leaves: Vec<(String, usize)>,
}

impl fmt::Display for NearMisses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (entry, names) in self
            .suggestions
            .iter()
            .filter(|(_, names)| !names.is_empty())
        {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            write!(
                f,
                "; `{}`{}",
                crate::error::shorten(entry),
                near::did_you_mean(&names)
            )?;
        }
        let (what, leaves) = match self.linear_leaves.as_slice() {
            [] => ("what the method adapts", &self.other_leaves),
            _ => ("linear layers", &self.linear_leaves),
        };
        if leaves.is_empty() {
            return f.write_str(
                "; this model has none of the modules that the method works on (a state-space model, for one, has \
                 no attention): choose another method",
            );
        }
        const SHOWN: usize = 24;
        let shown = leaves.iter().take(SHOWN);
        let shown: Vec<String> = shown.map(|(leaf, n)| format!("{leaf} ({n})")).collect();
        let rest = if leaves.len() > SHOWN { ", …" } else { "" };
        write!(f, "; {what} here: {}{rest}", shown.join(", "))
    }
}

/// Why a choice of targets cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A pattern is not a regular expression, or one that is too large or too slow.
    #[error(
        "{place}: the pattern `{pattern}` {reason}; write a simpler regular expression, or list module names"
    )]
    Pattern {
        /// Which setting holds the pattern.
        place: &'static str,
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Settings that contradict one another.
    #[error(
        "{place}: expected {expected}, found {found}; see PEFT's documentation of `target_modules`"
    )]
    Setting {
        /// Which setting.
        place: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// No module at all matches.
    #[error("no module matches target_modules {targets}{near}")]
    NoMatch {
        /// The targets as the user would write them.
        targets: String,
        /// What may have been meant.
        near: NearMisses,
    },
    /// A matched module cannot be adapted.
    #[error(
        "target_modules matches `{path}`, a {kind:?} module, but this method adapts only {supported:?}; name the layers inside it instead"
    )]
    UnsupportedKind {
        /// The module.
        path: String,
        /// Its kind.
        kind: ModuleKind,
        /// What the method can adapt.
        supported: Vec<ModuleKind>,
    },
}
