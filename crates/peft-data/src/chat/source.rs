//! Where chat templates are kept in a model folder.

use super::clock::Clock;
use super::template::{ChatTemplate, DEFAULT, MAX_BYTES};
use crate::error::DataError;
use crate::tokenizer::read;
use serde_json::Value;
use std::path::Path;

/// Most templates of one model.
const MOST: usize = 64;

impl ChatTemplate {
    /// A template in a file of its own.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Template`].
    pub fn from_file(path: &Path, clock: Clock) -> Result<Self, DataError> {
        let text = read(path)?.ok_or_else(|| DataError::Io {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        Self::new(path, [(DEFAULT, text)], clock)
    }

    /// The templates of a model folder: `chat_template.jinja` and
    /// `additional_chat_templates/NAME.jinja`; failing the former, `chat_template` in
    /// `tokenizer_config.json`, a text or a list of `{name, template}`. `None` if there are none.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Template`].
    pub fn from_dir(dir: &Path, clock: Clock) -> Result<Option<Self>, DataError> {
        let (file, config) = (
            dir.join("chat_template.jinja"),
            dir.join("tokenizer_config.json"),
        );
        let (source, mut templates) = match read(&file)? {
            Some(text) => (file, vec![(DEFAULT.to_owned(), text)]),
            None => {
                let settings = read(&config)?.map(|text| serde_json::from_str::<Value>(&text));
                let settings = settings.transpose().map_err(|e| DataError::Template {
                    path: config.clone(),
                    problem: format!("not JSON: {e}"),
                    fix: "download the file again from the checkpoint's source",
                })?;
                let value = settings.and_then(|s| s.get("chat_template").cloned());
                (config.clone(), named(&config, value.unwrap_or_default())?)
            }
        };
        for (name, text) in additional(&dir.join("additional_chat_templates"))? {
            if !templates.iter().any(|(known, _)| *known == name) {
                templates.push((name, text));
            }
        }
        if templates.is_empty() {
            return Ok(None);
        }
        Self::new(&source, templates, clock).map(Some)
    }

    /// Templates as `tokenizer_config.json` has them: a text, or a list of `{name, template}`.
    ///
    /// # Errors
    /// [`DataError::Template`].
    pub fn from_json(source: &Path, value: Value, clock: Clock) -> Result<Self, DataError> {
        Self::new(source, named(source, value)?, clock)
    }
}

fn named(path: &Path, value: Value) -> Result<Vec<(String, String)>, DataError> {
    let wrong = || DataError::Template {
        path: path.to_owned(),
        problem: "`chat_template` is neither a text nor a list of names and templates".to_owned(),
        fix: "download the file again from the checkpoint's source",
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![(DEFAULT.to_owned(), text)]),
        Value::Array(list) if list.len() <= MOST => list
            .iter()
            .map(|entry| {
                let text = |key: &str| entry.get(key)?.as_str().map(str::to_owned);
                text("name").zip(text("template")).ok_or_else(wrong)
            })
            .collect(),
        _ => Err(wrong()),
    }
}

/// The files of a folder that may not be there, by name.
fn additional(dir: &Path) -> Result<Vec<(String, String)>, DataError> {
    let io = |source| DataError::Io {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "jinja") && paths.len() < MOST {
            paths.push(path);
        }
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_stem().and_then(|name| name.to_str());
        if let (Some(name), Some(text)) = (name, read(&path)?)
            && text.len() <= MAX_BYTES
        {
            found.push((name.to_owned(), text));
        }
    }
    Ok(found)
}
