//! The adapter that a folder means: itself, or the one in its only subfolder with an adapter.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

const CONFIG: &str = "adapter_config.json";
/// Names that are told of several.
const SHOWN: usize = 5;

/// The folder of an adapter. PEFT saves one with a name of its own into a subfolder of that name, and
/// Hugging Face's trainer one into each of its checkpoints; of several the user has to choose.
pub fn resolve(given: &Path) -> Result<PathBuf> {
    if !given.is_dir() || given.join(CONFIG).is_file() {
        return Ok(given.to_owned());
    }
    let entries = std::fs::read_dir(given).into_iter().flatten().flatten();
    let mut below: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|folder| folder.join(CONFIG).is_file())
        .collect();
    below.sort();
    match below.as_slice() {
        [] => Ok(given.to_owned()),
        [only] => {
            tell!("adapter: {}", only.display());
            Ok(only.clone())
        }
        several => {
            let shown = several
                .iter()
                .take(SHOWN)
                .map(|path| path.display().to_string());
            let more = match several.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            bail!(
                "{}: there are several adapters in this folder; give one of {}{more}",
                given.display(),
                shown.collect::<Vec<_>>().join(", ")
            )
        }
    }
}
