use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::gguf;
use super::id::{RepoId, is_commit};
use crate::cache::variable;
use crate::{HubError, cache_folder};

/// Folders that hold models of the hub, in the layout of Hugging Face's libraries:
/// `models--owner--name/refs/REVISION` names a commit, `snapshots/COMMIT` has its files.
#[derive(Debug, Clone)]
pub struct HubCache {
    own: PathBuf,
    others: Vec<PathBuf>,
}

impl HubCache {
    /// Our own under [`cache_folder`], and that of Hugging Face's libraries, which is only read:
    /// `HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    ///
    /// # Errors
    /// [`HubError::NoCache`].
    pub fn from_env() -> Result<Self, HubError> {
        let theirs = variable("HF_HUB_CACHE")
            .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/huggingface/hub")));
        Ok(Self::new(&cache_folder()?, theirs.into_iter().collect()))
    }

    /// Our own under `cache`, and `others` that are only read.
    pub fn new(cache: &Path, others: Vec<PathBuf>) -> Self {
        Self {
            own: cache.join("hub"),
            others,
        }
    }

    /// The folder that models are written to.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// The folder of a model that is here, or its GGUF file.
    pub fn find(&self, id: &RepoId) -> Option<PathBuf> {
        let roots = std::iter::once(&self.own).chain(&self.others);
        roots
            .map(|root| root.join(id.folder()))
            .filter_map(|model| snapshot(&model, id.revision()))
            .find_map(|folder| content(folder, id.gguf()))
    }
}

/// What a snapshot has of what is meant.
fn content(folder: PathBuf, gguf: Option<&str>) -> Option<PathBuf> {
    if gguf.is_none() && folder.join("config.json").is_file() {
        return Some(folder);
    }
    let entries = fs::read_dir(&folder).ok()?.flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let name = gguf::choose(names.iter().map(String::as_str), gguf).ok()?;
    Some(folder.join(name))
}

/// The snapshot that a revision means.
fn snapshot(model: &Path, revision: &str) -> Option<PathBuf> {
    let commit = if is_commit(revision) {
        revision.to_owned()
    } else {
        let mut text = String::new();
        let file = File::open(model.join("refs").join(revision)).ok()?;
        file.take(64).read_to_string(&mut text).ok()?;
        text.trim().to_owned()
    };
    // What a file says must not lead out of the folder.
    let folder = is_commit(&commit).then(|| model.join("snapshots").join(commit))?;
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn finds_models_in_either_cache_and_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs");
        let cache = HubCache::new(dir.path(), vec![theirs.clone()]);
        let id: RepoId = "a/b".parse().unwrap();
        assert_eq!(cache.find(&id), None);
        let model = theirs.join("models--a--b");
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::create_dir_all(model.join("snapshots").join(COMMIT)).unwrap();
        fs::write(
            model.join("snapshots").join(COMMIT).join("config.json"),
            "{}",
        )
        .unwrap();
        fs::write(model.join("config.json"), "{}").unwrap();
        for (commit, found) in [("..", false), ("/", false), ("", false), (COMMIT, true)] {
            fs::write(model.join("refs/main"), commit).unwrap();
            assert_eq!(cache.find(&id).is_some(), found, "{commit}");
        }
        let gguf: RepoId = "a/b:Q4_0".parse().unwrap();
        assert_eq!(cache.find(&gguf), None);
        let file = model.join("snapshots").join(COMMIT).join("m-q4_0.gguf");
        fs::write(&file, "").unwrap();
        assert_eq!(cache.find(&gguf), Some(file));
        let exact: RepoId = format!("a/b@{COMMIT}").parse().unwrap();
        assert_eq!(cache.find(&exact), cache.find(&id));
        fs::create_dir_all(cache.own().join("models--a--b/refs")).unwrap();
        assert_eq!(
            cache.find(&exact),
            cache.find(&id),
            "an empty cache of our own hides theirs"
        );
    }
}
