//! Telling whether the files behind a run are still the same.

use std::{collections::BTreeMap, fmt, path::Path};

use peft_format::gguf::{self, GgufFile};
use serde::{Deserialize, Serialize};

use super::hash;
use crate::{BaseFile, RunConfig, RunError, event::fault};

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

/// Length and content of a file, or of a model's weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    length: u64,
    /// The name of the hash, a colon, and its digits.
    hash: String,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.hash.get(..18).unwrap_or(&self.hash);
        write!(f, "{} bytes ({start}…)", self.length)
    }
}

/// Fingerprints of the base and the data that a run reads, by the flag that names each.
pub fn inputs(
    config: &RunConfig,
    base: &BaseFile,
) -> Result<BTreeMap<String, Fingerprint>, RunError> {
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
    let weights = Fingerprint {
        length: base.fingerprint.bytes,
        hash: base.fingerprint.hash.clone(),
    };
    found.insert("--model (weights)".to_owned(), weights);
    if let Some(file) = gguf::locate(&config.model)? {
        let file = GgufFile::open(&file)?;
        let length = file.head().len() as u64;
        let hash = format!("sha256:{}", hash::bytes(std::iter::once(file.head())));
        found.insert(
            "--model (metadata)".to_owned(),
            Fingerprint { length, hash },
        );
        return Ok(found);
    }
    for file in ["config.json"].iter().chain(TOKENIZER) {
        let path = config.model.join(file);
        if path.is_file() {
            found.insert(format!("--model ({file})"), whole(&path)?);
        }
    }
    Ok(found)
}

/// Fingerprints of the adapter that a run continues, which belongs to this run alone.
pub fn adapter_inputs(config: &RunConfig) -> Result<BTreeMap<String, Fingerprint>, RunError> {
    let mut found = BTreeMap::new();
    // An adapter that is continued in its own folder is no input any more: it changes.
    if let Some(adapter) = &config.adapter
        && !same_place(adapter, &config.output)
    {
        for file in [
            "adapter_config.json",
            "adapter_model.safetensors",
            "adapter_model.bin",
            "adapters.safetensors",
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
fn whole(path: &Path) -> Result<Fingerprint, RunError> {
    let (length, digest) = hash::file(path).map_err(|error| fault(path, &error))?;
    let hash = format!("sha256:{digest}");
    Ok(Fingerprint { length, hash })
}
