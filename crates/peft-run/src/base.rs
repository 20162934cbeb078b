//! Which base an adapter was trained on: the file beside it.

use std::path::Path;

use peft_format::Fingerprint;
use peft_models::ModelFolder;
use serde::{Deserialize, Serialize};

use crate::{RunError, sidecar};

/// Name of the file.
pub(crate) const NAME: &str = "base.json";

/// Models of the hub that are fetched elsewhere, too, by their weights.
const KNOWN: [(&str, &str); 1] = [(
    "xxh3:23d65775e5bb5fbec28b2e0afea6fcad",
    "sentence-transformers/all-MiniLM-L6-v2",
)];

/// The base of an adapter, in `base.json` beside it.
///
/// PEFT's own files name the base, but folders are moved and models are updated under the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    /// The model folder, as it was given.
    pub model: String,
    /// Its weights.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
}

impl BaseFile {
    /// The base in a folder.
    ///
    /// # Errors
    /// If its tensors cannot be read.
    pub fn of(folder: &ModelFolder) -> Result<Self, RunError> {
        Ok(Self {
            model: folder.path().to_string_lossy().into_owned(),
            fingerprint: Fingerprint::of(folder.checkpoint())?,
        })
    }

    /// Its name on the hub, `organisation/name`, where its folder is one of a cache of the hub or its weights are known.
    pub fn hub_name(&self) -> Option<String> {
        let known = KNOWN
            .iter()
            .find(|(hash, _)| *hash == self.fingerprint.hash);
        let known = known.map(|(_, name)| (*name).to_owned());
        known.or_else(|| name_in_cache(Path::new(&self.model)))
    }

    /// Read the file of an adapter folder; `None` where there is none, as in adapters of PEFT.
    ///
    /// # Errors
    /// If it is broken.
    pub fn read(adapter: &Path) -> Result<Option<Self>, RunError> {
        sidecar::read(adapter, NAME)
    }

    /// Write the file into an adapter folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, adapter: &Path) -> Result<(), RunError> {
        sidecar::write(adapter, NAME, self)
    }

    /// Refuse a base whose weights are not those that the adapter was trained on; an adapter
    /// without a record is taken at its word.
    ///
    /// # Errors
    /// [`RunError::OtherBase`].
    pub fn expect(adapter: &Path, folder: &ModelFolder) -> Result<(), RunError> {
        let Some(recorded) = Self::read(adapter)? else {
            return Ok(());
        };
        recorded.expect_same(adapter, &Self::of(folder)?)
    }

    /// Refuse a base other than this record of an adapter's.
    ///
    /// # Errors
    /// [`RunError::OtherBase`].
    pub fn expect_same(&self, adapter: &Path, found: &Self) -> Result<(), RunError> {
        if self.fingerprint.hash == found.fingerprint.hash {
            return Ok(());
        }
        Err(RunError::OtherBase {
            adapter: adapter.to_owned(),
            recorded: Box::new(self.clone()),
            found: Box::new(found.clone()),
        })
    }
}

/// The model of the hub that `models--organisation--name/snapshots/COMMIT` is, as Hugging Face's caches have it. Of a
/// single file in there the folder is meant, and the file is not a name.
fn name_in_cache(path: &Path) -> Option<String> {
    let parts: Vec<&str> = path
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .collect();
    let [.., model, "snapshots", commit] = parts.as_slice() else {
        return None;
    };
    let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    let (owner, name) = model.strip_prefix("models--")?.split_once("--")?;
    let whole = !owner.is_empty() && !name.is_empty() && !name.contains("--");
    (is_commit && whole).then(|| format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(model: &str, hash: &str) -> Option<String> {
        let text = format!(r#"{{"model": "{model}", "hash": "{hash}", "tensors": 1, "bytes": 4}}"#);
        serde_json::from_str::<BaseFile>(&text).unwrap().hub_name()
    }

    #[test]
    fn a_base_is_called_by_its_name_on_the_hub_where_that_is_known() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let cached = format!("/home/me/.cache/huggingface/hub/models--a-b--c.d/snapshots/{commit}");
        assert_eq!(named(&cached, "xxh3:00").as_deref(), Some("a-b/c.d"));
        assert_eq!(named("anywhere", KNOWN[0].0).as_deref(), Some(KNOWN[0].1));
        for folder in [
            "models/bert",
            "models--a--b/snapshots/main",
            &format!("models--a/snapshots/{commit}"),
            &format!("{cached}/model.gguf"),
        ] {
            assert_eq!(named(folder, "xxh3:00"), None, "{folder}");
        }
    }
}
