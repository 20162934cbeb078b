//! Reading the small files of a tokenizer folder.

use crate::error::DataError;
use crate::format::{LFS_FIX, LFS_PROBLEM, is_lfs_pointer};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest tokenizer file accepted; the largest known vocabularies take about 35 MB.
const MAX_BYTES: u64 = 256 << 20;
pub(crate) const REDOWNLOAD: &str = "download the file again from the checkpoint's source";

pub(crate) fn bad(path: &Path, problem: impl ToString, fix: &'static str) -> DataError {
    DataError::Tokenizer {
        path: path.to_owned(),
        problem: problem.to_string(),
        fix,
    }
}

/// A file's text; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, DataError> {
    let Some(bytes) = read_bytes(path)? else {
        return Ok(None);
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| bad(path, "not UTF-8", REDOWNLOAD))
}

/// A file's bytes; `None` if there is no such file.
pub(crate) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(bad(
            path,
            format!("larger than {MAX_BYTES} bytes"),
            REDOWNLOAD,
        ));
    }
    if is_lfs_pointer(&bytes) {
        return Err(bad(path, LFS_PROBLEM, LFS_FIX));
    }
    Ok(Some(bytes))
}

/// A file's JSON object; an empty one if there is no such file.
pub(crate) fn object(path: &Path) -> Result<Map<String, Value>, DataError> {
    let Some(text) = read(path)? else {
        return Ok(Map::new());
    };
    serde_json::from_str(&text)
        .map_err(|e| bad(path, format!("not a JSON object: {e}"), REDOWNLOAD))
}

/// An added token's text and how it is matched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AddedToken {
    pub(crate) content: String,
    pub(crate) flags: Map<String, Value>,
}

/// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, none of them needed.
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    config: Map<String, Value>,
    specials: Map<String, Value>,
    /// Tokens with ids of their own.
    pub(crate) added: Vec<(u32, AddedToken)>,
}

impl Config {
    pub(crate) fn read(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join("tokenizer_config.json");
        let config = object(&path)?;
        let specials = object(&dir.join("special_tokens_map.json"))?;
        let list = dir.join("added_tokens.json");
        let added = object(&list)?;
        Self::with(path, config, specials, (list, added))
    }

    /// Settings in memory, without any other file.
    pub(crate) fn of(source: &Path, config: Map<String, Value>) -> Result<Self, DataError> {
        let none = (source.to_owned(), Map::new());
        Self::with(source.to_owned(), config, Map::new(), none)
    }

    fn with(
        path: PathBuf,
        config: Map<String, Value>,
        specials: Map<String, Value>,
        (list_path, list): (PathBuf, Map<String, Value>),
    ) -> Result<Self, DataError> {
        let mut added = Vec::new();
        for (content, id) in list {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| bad(&list_path, "an id is not a number", REDOWNLOAD))?;
            added.push((
                id,
                AddedToken {
                    content,
                    flags: Map::new(),
                },
            ));
        }
        // The newer place, with flags; it repeats what the older file says.
        if let Some(Value::Object(tokens)) = config.get("added_tokens_decoder") {
            added.clear();
            for (id, token) in tokens {
                let parsed = id.parse().ok().zip(added_token(token));
                added.push(parsed.ok_or_else(|| {
                    bad(
                        &path,
                        "`added_tokens_decoder` is not a map of id to token",
                        REDOWNLOAD,
                    )
                })?);
            }
        }
        added.sort_by_key(|(id, _)| *id);
        Ok(Self {
            path,
            config,
            specials,
            added,
        })
    }

    /// A true-or-false setting; `None` if absent or null.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.config.get(name).and_then(Value::as_bool)
    }

    /// Whether a setting is written, if only as null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.config.contains_key(name)
    }

    /// The longest text that the tokenizer says it is made for. What is written for none is a number
    /// beyond any real length.
    pub(crate) fn max_length(&self) -> Option<usize> {
        let length = self.config.get("model_max_length")?.as_u64()?;
        usize::try_from(length)
            .ok()
            .filter(|length| (1..1 << 24).contains(length))
    }

    /// The special tokens of all roles, further ones included.
    pub(crate) fn all_specials(&self) -> Vec<AddedToken> {
        const FURTHER: &str = "additional_special_tokens";
        let roles = self.names().filter(|name| name.ends_with("_token"));
        let mut all: Vec<AddedToken> = roles.filter_map(|role| self.special(role)).collect();
        for map in [&self.specials, &self.config] {
            if let Some(Value::Array(tokens)) = map.get(FURTHER) {
                all.extend(tokens.iter().filter_map(added_token));
            }
        }
        all
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.config.get(name).and_then(Value::as_str)
    }

    /// The names of all settings and special tokens.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.config
            .keys()
            .chain(self.specials.keys())
            .map(String::as_str)
    }

    /// A special token such as `pad_token`.
    ///
    /// `special_tokens_map.json` may carry flags that older configurations lack, so it goes first.
    pub(crate) fn special(&self, name: &str) -> Option<AddedToken> {
        [&self.specials, &self.config]
            .iter()
            .find_map(|map| added_token(map.get(name)?))
    }

    /// Refuses a checkpoint whose tokenizer class is not among `known`; absent is taken as known.
    pub(crate) fn check_class(&self, known: &[&str]) -> Result<(), DataError> {
        let Some(class) = self.text("tokenizer_class") else {
            return Ok(());
        };
        if known.contains(&class.trim_end_matches("Fast")) {
            return Ok(());
        }
        let problem = format!(
            "the vocabulary files belong to a {}, which is read from tokenizer.json only",
            crate::error::shorten(class)
        );
        let fix = "write that file: python -c \"from transformers import AutoTokenizer as T; \
                   T.from_pretrained('DIR').save_pretrained('DIR')\"";
        Err(bad(&self.path, problem, fix))
    }
}

/// A token written as a string or as an object.
fn added_token(value: &Value) -> Option<AddedToken> {
    match value {
        Value::String(content) => Some(AddedToken {
            content: content.clone(),
            flags: Map::new(),
        }),
        Value::Object(map) => {
            let content = map.get("content")?.as_str()?.to_owned();
            let wanted = ["single_word", "lstrip", "rstrip", "normalized", "special"];
            let flags = map
                .iter()
                .filter(|(k, v)| wanted.contains(&k.as_str()) && v.is_boolean());
            Some(AddedToken {
                content,
                flags: flags.map(|(k, v)| (k.clone(), v.clone())).collect(),
            })
        }
        _ => None,
    }
}
