//! What lies where something is to be written: no verb replaces what it did not write.

use std::path::Path;

use crate::{RunError, event::fault};

/// Names that are told of what is there.
const SHOWN: usize = 3;

/// Refuse a folder that holds something of these names, whatever it is. What has other names stays as it
/// is and does no harm.
pub fn expect_vacant(output: &Path, names: &[&str]) -> Result<(), RunError> {
    let taken: Vec<&str> = names
        .iter()
        .copied()
        // A link that leads nowhere is something, too.
        .filter(|name| output.join(name).symlink_metadata().is_ok())
        .collect();
    match taken.is_empty() {
        true => Ok(()),
        false => Err(occupied(output, &taken)),
    }
}

/// Refuse a folder with anything in it, unless `overwrite` is given and all of it is of these names and the
/// first of them is there, which says that it is ours.
pub fn expect_ours(output: &Path, names: &[&str], overwrite: bool) -> Result<(), RunError> {
    if !output.exists() {
        return Ok(());
    }
    if !output.is_dir() {
        return Err(RunError::Output {
            folder: output.to_owned(),
            problem: "it is a file, and a folder is to be written".into(),
            fix: "choose another `output`".into(),
        });
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(output).map_err(|error| fault(output, &error))? {
        let name = entry.map_err(|error| fault(output, &error))?.file_name();
        found.push(name.to_string_lossy().into_owned());
    }
    found.sort();
    let strange: Vec<&str> = (found.iter().map(String::as_str))
        .filter(|name| !names.contains(name))
        .collect();
    let ours = names
        .first()
        .is_some_and(|mark| output.join(mark).is_file());
    match (found.is_empty(), ours && strange.is_empty()) {
        (true, _) => Ok(()),
        (_, true) if overwrite => Ok(()),
        (_, true) => Err(RunError::Output {
            folder: output.to_owned(),
            problem: "it holds what an earlier command of this kind wrote".into(),
            fix: "add `overwrite` to replace it, or choose another `output`".into(),
        }),
        _ if strange.is_empty() => {
            let all: Vec<&str> = found.iter().map(String::as_str).collect();
            Err(occupied(output, &all))
        }
        _ => Err(occupied(output, &strange)),
    }
}

fn occupied(output: &Path, names: &[&str]) -> RunError {
    let first = names[..names.len().min(SHOWN)].join("`, `");
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    RunError::Output {
        folder: output.to_owned(),
        problem: format!("it holds `{first}`{more}, which no command of this kind wrote"),
        fix: "choose another `output`: what is there would be replaced".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_replaced_when_asked_for_and_nothing_else_ever() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("out");
        let names = ["mark.json", "model.safetensors"];
        let told = |overwrite| expect_ours(&folder, &names, overwrite).map_err(|e| e.to_string());
        assert_eq!(told(false), Ok(()));
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(told(false), Ok(()));
        std::fs::write(folder.join("model.safetensors"), "theirs").unwrap();
        for overwrite in [false, true] {
            let error = told(overwrite).unwrap_err();
            assert!(error.contains("`model.safetensors`"), "{error}");
        }
        std::fs::write(folder.join("mark.json"), "").unwrap();
        assert!(told(false).unwrap_err().contains("add `overwrite`"));
        assert_eq!(told(true), Ok(()));
        std::fs::write(folder.join("notes.txt"), "theirs").unwrap();
        for overwrite in [false, true] {
            assert!(told(overwrite).unwrap_err().contains("`notes.txt`"));
        }
        assert!(expect_vacant(&folder, &["README.md"]).is_ok());
        let error = expect_vacant(&folder, &["notes.txt"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("`notes.txt`"), "{error}");
    }
}
