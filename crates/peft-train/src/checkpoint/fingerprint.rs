//! Telling whether the files behind a run are still the same.

use std::{collections::BTreeMap, fmt, path::Path};

use peft_models::ModelFolder;
use serde::{Deserialize, Serialize};

use super::hash;
use crate::{RunConfig, TrainError, event::fault};

/// Parts of a weight file that are looked at: its beginning, where the header is, and places all
/// over it. Reading all of it would double the time of opening a large model.
const PLACES: u64 = 64;
const PLACE_BYTES: u64 = 4096;

/// Files that a tokenizer may come from.
const TOKENIZER: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
];

/// Length and content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    length: u64,
    sha256: String,
}

impl Fingerprint {
    fn new((length, sha256): (u64, String)) -> Self {
        Self { length, sha256 }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.sha256.get(..12).unwrap_or(&self.sha256);
        write!(f, "{} bytes (sha256 {start}…)", self.length)
    }
}

/// Fingerprints of everything that a run reads, by the flag that names it.
pub fn inputs(
    config: &RunConfig,
    folder: &ModelFolder,
) -> Result<BTreeMap<String, Fingerprint>, TrainError> {
    let mut found = BTreeMap::new();
    let data = [
        ("--data", Some(&config.data)),
        ("--select-data", config.select_data.as_ref()),
        ("--eval-data", config.eval_data.as_ref()),
    ];
    for (flag, path) in data {
        if let Some(path) = path {
            found.insert(flag.to_owned(), whole(path)?);
        }
    }
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    for path in folder.checkpoint().files() {
        let key = format!("--model ({})", name(path).unwrap_or_default());
        found.insert(key, sampled(path)?);
    }
    for file in ["config.json"].iter().chain(TOKENIZER) {
        let path = config.model.join(file);
        if path.is_file() {
            found.insert(format!("--model ({file})"), whole(&path)?);
        }
    }
    // An adapter that is continued in its own folder is no input any more: it changes.
    if let Some(adapter) = &config.adapter
        && !same_place(adapter, &config.output)
    {
        for file in [
            "adapter_config.json",
            "adapter_model.safetensors",
            "adapter_model.bin",
        ] {
            let path = adapter.join(file);
            if path.is_file() {
                found.insert(format!("--adapter ({file})"), whole(&path)?);
            }
        }
    }
    Ok(found)
}

fn same_place(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// All of a file.
fn whole(path: &Path) -> Result<Fingerprint, TrainError> {
    let found = hash::file(path);
    found.map(Fingerprint::new).map_err(|e| fault(path, &e))
}

/// The length of a file, and blocks spread over it.
fn sampled(path: &Path) -> Result<Fingerprint, TrainError> {
    let found = hash::sample(path, PLACES, PLACE_BYTES);
    found.map(Fingerprint::new).map_err(|e| fault(path, &e))
}
