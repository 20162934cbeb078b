//! Which files make up the checkpoint at a path.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::index::ShardIndex;
use super::shard;
use crate::bounded;
use crate::error::{FormatError, Result, shorten};
use crate::gguf;

const SINGLE: &str = "model.safetensors";
const SINGLE_SHARD: &str = "model-00001-of-00001.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The files of a checkpoint by preference: safetensors first, for they need no interpreter.
const NAMES: [&str; 6] = [
    SINGLE,
    INDEX,
    SINGLE_SHARD,
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model-00001-of-00001.bin",
];
const EXPECTED: &str = "a safetensors, PyTorch or GGUF checkpoint";

/// The files of a checkpoint, in shard order.
#[derive(Debug)]
pub(crate) struct Located {
    pub files: Vec<PathBuf>,
    pub index: Option<ShardIndex>,
    pub config: Option<PathBuf>,
}

pub(crate) fn locate(path: &Path) -> Result<Located> {
    let meta = std::fs::metadata(path).map_err(FormatError::io("open", path))?;
    if meta.is_dir() {
        return locate_in(path);
    }
    if path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with(".index.json"))
    {
        return indexed(path.parent().unwrap_or(Path::new("")), path);
    }
    let config = beside(path.parent().unwrap_or(Path::new("")));
    Ok(Located {
        files: vec![path.to_owned()],
        index: None,
        config,
    })
}

/// The GGUF file that a path means: the file itself, or the only one of a folder that has neither
/// `config.json` nor other weights.
pub(crate) fn gguf_at(path: &Path) -> Result<Option<PathBuf>> {
    if path.is_dir() {
        let mut others = NAMES.into_iter().chain(["config.json"]);
        if others.any(|name| path.join(name).is_file()) {
            return Ok(None);
        }
        let mut files = gguf_files(path);
        return match (files.next(), files.next()) {
            (Some(_), Some(_)) => Err(nothing(path)),
            (file, _) => Ok(file),
        };
    }
    let named = path.extension().is_some_and(|ending| ending == "gguf");
    let begins = || {
        let mut magic = [0; gguf::MAGIC.len()];
        let mut file = bounded::open(path).ok()?;
        file.read_exact(&mut magic).ok()?;
        Some(shard::is_gguf(path, &magic))
    };
    Ok((named || begins() == Some(true)).then(|| path.to_owned()))
}

/// The files of a folder that end as GGUF files do.
fn gguf_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "gguf"))
}

fn locate_in(folder: &Path) -> Result<Located> {
    for name in NAMES {
        let file = folder.join(name);
        if file.is_file() {
            if name.ends_with(".index.json") {
                return indexed(folder, &file);
            }
            return Ok(Located {
                files: vec![file],
                index: None,
                config: beside(folder),
            });
        }
    }
    match gguf_at(folder)? {
        Some(file) => Ok(Located {
            files: vec![file],
            index: None,
            config: None,
        }),
        None => Err(nothing(folder)),
    }
}

fn indexed(folder: &Path, path: &Path) -> Result<Located> {
    let index = ShardIndex::read(path)?;
    Ok(Located {
        files: index.files(folder)?,
        index: Some(index),
        config: beside(folder),
    })
}

fn beside(folder: &Path) -> Option<PathBuf> {
    Some(folder.join("config.json")).filter(|file| file.is_file())
}

/// The folder has none of the known names: say what it does have.
fn nothing(folder: &Path) -> FormatError {
    let mut others: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            [".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf"]
                .iter()
                .any(|ending| name.ends_with(ending))
        })
        .collect();
    others.sort();
    let (found, fix) = if others.iter().any(|n| n.starts_with("adapter_model.")) {
        (
            "it is an adapter folder".into(),
            "give the base model here and the adapter separately",
        )
    } else if others.iter().all(|n| n.ends_with(".gguf")) && !others.is_empty() {
        let fix = match folder.join("config.json").is_file() {
            true => "give the path of the GGUF file itself: it has a configuration of its own",
            false => "give the path of one of them, or join the parts of a split model first",
        };
        (
            format!("there is only {}", shorten(&others.join(", "))),
            fix,
        )
    } else if others.iter().any(|n| n.contains("-of-")) {
        (
            "there are shards without their index".into(),
            "download the index file into the folder",
        )
    } else if others.is_empty() {
        (
            format!("there is neither `{SINGLE}` nor another of {NAMES:?}"),
            "check the path, or download the weights",
        )
    } else {
        (
            format!("there is only {}", shorten(&others.join(", "))),
            "give the path of the file itself",
        )
    };
    FormatError::WrongKind {
        path: folder.to_owned(),
        expected: EXPECTED,
        found,
        fix: fix.into(),
    }
}
