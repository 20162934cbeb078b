//! `model.safetensors.index.json` and `pytorch_model.bin.index.json`: which shard holds which
//! tensor.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use crate::bounded;
use crate::error::{FormatError, Result, shorten};
use crate::json;

/// More shards than this is no checkpoint but an attack on the file table.
const MAX_SHARDS: usize = 4096;

/// The index with its file names checked.
#[derive(Debug)]
pub(crate) struct ShardIndex {
    path: PathBuf,
    weight_map: IndexMap<String, String>,
}

impl ShardIndex {
    pub fn read(path: &Path) -> Result<Self> {
        // The limit of JSON files is too small here: a mixture of experts lists very many tensors.
        let bytes = bounded::read(path, "the shard index", super::HEADER_LIMIT)?;
        let mut object = json::parse_object::<Value>(path, &bytes)?;
        let weight_map = match object.swap_remove("weight_map") {
            Some(Value::Object(map)) if !map.is_empty() => map,
            other => {
                let found = other.map_or("nothing".into(), |v| shorten(&v.to_string()));
                return Err(FormatError::Field {
                    path: path.to_owned(),
                    key: "weight_map".into(),
                    expected: "an object from tensor names to shard names".into(),
                    found,
                });
            }
        };
        let mut names = IndexMap::with_capacity(weight_map.len());
        for (tensor, file) in weight_map {
            match file {
                Value::String(file) if is_plain(&file) => names.insert(tensor, file),
                other => {
                    return Err(FormatError::UnsafePath {
                        path: path.to_owned(),
                        place: format!("weight_map, tensor `{}`", shorten(&tensor)),
                        name: shorten(other.as_str().unwrap_or(&other.to_string())),
                    });
                }
            };
        }
        Ok(Self {
            path: path.to_owned(),
            weight_map: names,
        })
    }

    /// The distinct shard files, sorted by name, each of them present.
    pub fn files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let names: BTreeSet<&String> = self.weight_map.values().collect();
        if names.len() > MAX_SHARDS {
            let reason = format!("{} shards, expected at most {MAX_SHARDS}", names.len());
            return Err(FormatError::corrupt(&self.path, "weight_map", reason));
        }
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let missing: Vec<String> = (names.iter().zip(&files))
            .filter(|(_, file)| !file.is_file())
            .map(|(name, _)| shorten(name))
            .collect();
        if missing.is_empty() {
            return Ok(files);
        }
        Err(FormatError::WrongKind {
            path: self.path.clone(),
            expected: "every shard of the index beside it",
            found: shorten(&format!(
                "{} of {} are missing: {}",
                missing.len(),
                files.len(),
                missing.join(", ")
            )),
            fix: "download the missing files into the folder".into(),
        })
    }

    /// Checks that no listed tensor is in another shard than it is listed for. `stored` gives the
    /// names in a shard's file of the tensors that it has.
    ///
    /// A tensor in no shard is passed over, as `transformers` does: indices list tied weights and
    /// heads that were left out when the shards were written.
    pub fn check<'a>(
        &self,
        files: &[PathBuf],
        stored: impl Iterator<Item = (&'a str, usize)>,
    ) -> Result<()> {
        for (tensor, number) in stored {
            let (Some(listed), Some(place)) = (self.weight_map.get(tensor), files.get(number))
            else {
                continue;
            };
            if place.file_name() == Some(listed.as_ref()) {
                continue;
            }
            let at = format!("weight_map, tensor `{}`", shorten(tensor));
            let found = format!("it is in `{}`", place.display());
            let reason = format!("listed in `{}` but {found}", shorten(listed));
            return Err(FormatError::corrupt(&self.path, at, reason));
        }
        Ok(())
    }
}

/// A single normal path component, on every operating system: shards lie in the folder itself.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let single = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    );
    let weights = name.ends_with(".safetensors") || name.ends_with(".bin");
    single && weights && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn only_plain_names_pass() {
        assert!(is_plain("model-00001-of-00002.safetensors"));
        assert!(is_plain("pytorch_model-00001-of-00002.bin"));
        for bad in [
            "",
            "..",
            "../x.safetensors",
            "/x.safetensors",
            "a/b.safetensors",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
        for bad in [
            "./x.safetensors",
            "a\\b.safetensors",
            "C:x.safetensors",
            "x.py",
            "../x.bin",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
