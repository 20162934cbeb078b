//! What an output folder holds, to compare runs byte by byte.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Files by their paths in the folder.
pub type Content = BTreeMap<PathBuf, Vec<u8>>;

/// All files below a folder; logs and states without the times and lengths in them,
/// settings without the place and the threads.
pub fn content(output: &Path) -> io::Result<Content> {
    let mut found = Content::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(output.join(&below))? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(name);
                continue;
            }
            let bytes = fs::read(entry.path())?;
            let timed: &[&str] = match name.to_str() {
                Some("metrics.jsonl") => &[
                    "tokens_per_s",
                    "step_time_s",
                    "peak_memory",
                    "train_time_s",
                    "machine",
                    "unix_time",
                ],
                Some("checkpoint/state.json") => &["train_time_s", "log_bytes"],
                _ => &[],
            };
            let bytes = if name.as_os_str() == "run.toml" {
                unplaced(&bytes)
            } else if name.as_os_str() == "report.html" {
                // It shows what the other files hold, and times with it.
                Vec::new()
            } else if name.as_os_str() == "events.out.tfevents.peft" {
                // As many records of the same length, with times in them.
                bytes.len().to_le_bytes().to_vec()
            } else if timed.is_empty() {
                bytes
            } else {
                without(&bytes, timed)?
            };
            found.insert(name, bytes);
        }
    }
    Ok(found)
}

/// The first file in which two folders differ.
pub fn difference(a: &Content, b: &Content) -> Option<String> {
    let (names, others): (Vec<_>, Vec<_>) = (a.keys().collect(), b.keys().collect());
    if names != others {
        return Some(format!("one folder holds {names:?}, the other {others:?}"));
    }
    let mut paths = a.keys().filter(|path| a.get(*path) != b.get(*path));
    paths
        .next()
        .map(|path| format!("{} differs", path.display()))
}

/// The settings of a run without what cannot change a bit of the result: where it is written, how
/// often it is saved, and by how many threads it is computed.
fn unplaced(settings: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(settings);
    let placed = [
        "# peft train --config ",
        "output = ",
        "threads = ",
        "save_steps = ",
    ];
    let kept = text
        .lines()
        .filter(|line| !placed.iter().any(|start| line.starts_with(start)));
    kept.map(|line| format!("{line}\n"))
        .collect::<String>()
        .into()
}

/// JSON objects without some of their keys.
fn without(bytes: &[u8], keys: &[&str]) -> io::Result<Vec<u8>> {
    let mut text = String::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let mut value = value?;
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| !keys.contains(&key.as_str()));
        }
        text += &format!("{value}\n");
    }
    Ok(text.into_bytes())
}
