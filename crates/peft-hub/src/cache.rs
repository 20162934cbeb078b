use std::env;
use std::path::PathBuf;

use crate::HubError;

/// Folder of the cache: `PEFT_CACHE`, else `$XDG_CACHE_HOME/peft`, else `~/.cache/peft`.
///
/// # Errors
/// [`HubError::NoCache`] where none of the three is set.
pub fn cache_folder() -> Result<PathBuf, HubError> {
    variable("PEFT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("peft")))
        .or_else(|| variable("HOME").map(|path| path.join(".cache/peft")))
        .ok_or(HubError::NoCache)
}

/// A variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
