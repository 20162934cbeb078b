//! Which folder a model is in: one that was named, or one that is fetched into the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use peft_hub::Access;

/// The folder that `--model` means.
pub fn resolve(model: &Path, offline: bool) -> Result<PathBuf> {
    Ok(peft_hub::resolve(model, access(offline))?)
}

/// The folder of all-MiniLM-L6-v2.
pub fn minilm(offline: bool) -> Result<PathBuf> {
    peft_hub::minilm(access(offline))
        .context("all-MiniLM-L6-v2 (a model folder of yours goes to --model)")
}

/// The GGUF file of SmolLM2-135M-Instruct.
pub fn smollm2(offline: bool) -> Result<PathBuf> {
    peft_hub::smollm2(access(offline))
        .context("SmolLM2-135M-Instruct (a language model of yours goes to --model)")
}

fn access(offline: bool) -> Access<'static> {
    Access {
        offline,
        tell: &|what| tell!("{what}"),
    }
}
