//! Trials that were run before, by what determines them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::RunsError;

/// Largest file that is read.
const LARGEST: u64 = 1 << 20;

/// A folder of what trials came to, by a [digest](peft_run::Prepared::digest) of all that determines their bits:
/// settings, contents of model and data, version and instructions of the program. Studies may share it; several
/// workers may read and write it at once.
#[derive(Debug, Clone)]
pub struct TrialCache {
    folder: PathBuf,
}

/// What a trial came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cached {
    /// Measured objectives on the way, by epochs.
    #[serde(default)]
    pub reports: BTreeMap<u32, Vec<f64>>,
    /// The measured objectives at the end.
    pub measured: Vec<f64>,
}

impl TrialCache {
    /// A cache in a folder, which is made when the first trial is put there.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.json"))
    }

    /// What a trial came to; none where it was not run, or its file is broken, for it can be run again.
    pub(crate) fn get(&self, digest: &str) -> Option<Cached> {
        let path = self.path(digest);
        let text = peft_format::bounded::read(&path, "cache of trials", LARGEST).ok()?;
        let cached: Cached = serde_json::from_slice(&text).ok()?;
        let finite = |values: &Vec<f64>| values.iter().all(|value| value.is_finite());
        (finite(&cached.measured) && cached.reports.values().all(finite)).then_some(cached)
    }

    /// Keep what a trial came to.
    pub(crate) fn put(&self, digest: &str, cached: &Cached) -> Result<(), RunsError> {
        fs::create_dir_all(&self.folder).map_err(|error| {
            RunsError::setting(
                self.folder.display().to_string(),
                format!("it cannot be made: {error}"),
                "choose another folder for the cache of trials",
            )
        })?;
        let text = serde_json::to_vec(cached).unwrap_or_default();
        let written = peft_format::atomic::write_atomic_bytes(&self.path(digest), &text);
        Ok(written.map_err(peft_run::RunError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_run_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = TrialCache::new(&dir.path().join("cache"));
        let cached = Cached {
            reports: BTreeMap::from([(1, vec![0.5])]),
            measured: vec![0.75],
        };
        assert_eq!(cache.get("a"), None);
        cache.put("a", &cached).unwrap();
        assert_eq!(cache.get("a"), Some(cached));
        for broken in [
            "",
            "{",
            r#"{"measured":[null]}"#,
            r#"{"measured":[1],"more":1}"#,
        ] {
            fs::write(cache.path("b"), broken).unwrap();
            assert_eq!(cache.get("b"), None, "{broken}");
        }
    }
}
