use std::{env, path::PathBuf};

/// Folder of what is kept between runs: `PEFT_CACHE`, else `$XDG_CACHE_HOME/peft`, else
/// `~/.cache/peft`; none where the system has no such place.
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("PEFT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("peft")))
        .or_else(|| set("HOME").map(|path| path.join(".cache/peft")))
}
