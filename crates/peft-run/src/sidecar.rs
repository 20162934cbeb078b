//! Small JSON files: ours beside an adapter, which other tools pass over, and those of a model folder.

use std::{io::ErrorKind, path::Path};

use peft_format::{atomic::write_atomic_bytes, bounded, python_json};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::RunError;

const LIMIT: u64 = 16 << 20;

/// The file called `name` of an adapter folder; `None` where there is none.
pub fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, RunError> {
    let path = folder.join(name);
    let fault = |problem: String| RunError::File {
        path: path.clone(),
        problem,
        fix: "train again, or restore the file".into(),
    };
    let size = match std::fs::metadata(&path) {
        // Of a file that was given for a folder, whoever reads the adapter says what is wrong.
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        Err(error) => return Err(fault(error.to_string())),
        Ok(metadata) => metadata.len(),
    };
    if size > LIMIT {
        return Err(fault(format!("{size} bytes are more than it can hold")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| fault(error.to_string()))
}

/// Write such a file, atomically.
pub fn write<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<(), RunError> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    Ok(write_atomic_bytes(&folder.join(name), text.as_bytes())?)
}

/// The object in a file of a model folder; `None` where there is no file.
pub fn object(path: &Path) -> Result<Option<Map<String, Value>>, RunError> {
    let fault = |problem: String| RunError::File {
        path: path.to_owned(),
        problem,
        fix: "correct it, or fetch the file again".into(),
    };
    if !path.exists() {
        return Ok(None);
    }
    let text = bounded::read(path, "settings", LIMIT)?;
    let text = python_json::standard(&text);
    let map = serde_json::from_slice(&text).map_err(|error| fault(format!("not JSON: {error}")))?;
    Ok(Some(map))
}
