use std::path::{Path, PathBuf};

use crate::hub::{HubCache, RepoId};
use crate::{HubError, MINILM, Sources, cache_folder, minilm_files, names::with_organisation};

/// How a model may be looked for.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// Never touch the network.
    pub offline: bool,
    /// Told what is fetched, and what was tried in vain.
    pub tell: &'a dyn Fn(&str),
}

/// The folder or file that `--model` means: one that is there, or a model of the hub by its name.
///
/// `organisation/name:Q4_K_M` means a GGUF file of such a model, by its name or the end of it.
///
/// A path that is neither comes back as it is: whoever opens it says what is wrong with it.
///
/// # Errors
/// If the model of a name is in no cache and cannot be downloaded, or a known name lacks its organisation.
pub fn resolve(model: &Path, access: Access) -> Result<PathBuf, HubError> {
    let id = model.to_str().and_then(|text| text.parse::<RepoId>().ok());
    // A repository may be called so, but whoever writes this means a file.
    let file = model.extension().is_some_and(|ending| ending == "gguf");
    let id = id.filter(|id| !file || id.gguf().is_some());
    match id {
        Some(id) if !model.exists() => named(&id, &HubCache::from_env()?, access),
        None if !model.exists() => match model.to_str().and_then(with_organisation) {
            Some(whole) => Err(HubError::NoOrganisation {
                model: model.display().to_string(),
                whole,
            }),
            None => Ok(model.to_owned()),
        },
        _ => Ok(model.to_owned()),
    }
}

fn named(id: &RepoId, cache: &HubCache, access: Access) -> Result<PathBuf, HubError> {
    let found = cache.find(id).or_else(|| bundled(id));
    if let (false, Some(folder)) = (cfg!(feature = "download"), &found) {
        return Ok(folder.clone());
    }
    if access.offline {
        return found.ok_or_else(|| HubError::Offline {
            what: format!("the model `{id}`"),
            cache: cache.own().to_owned(),
            fix: "run the same command once with the network, or give a folder to --model".into(),
        });
    }
    match (download(id, cache, access), found) {
        (Ok(folder), _) => Ok(folder),
        (Err(error), None) => Err(error),
        (Err(error), Some(folder)) => {
            (access.tell)(&format!("using {}: {error}", folder.display()));
            Ok(folder)
        }
    }
}

/// The folder of a model that is fetched as a package, by its name on the hub: its files are the same.
fn bundled(id: &RepoId) -> Option<PathBuf> {
    const NAME: &str = "sentence-transformers/all-MiniLM-L6-v2";
    if id.name() != NAME || id.revision() != "main" || id.gguf().is_some() {
        return None;
    }
    let cache = cache_folder().ok()?;
    let whole = MINILM.is_complete(&cache).ok()?;
    whole.then(|| MINILM.path(&cache))
}

#[cfg(feature = "download")]
fn download(id: &RepoId, cache: &HubCache, access: Access) -> Result<PathBuf, HubError> {
    crate::download(&crate::Client::from_env()?, id, cache, access.tell)
}

#[cfg(not(feature = "download"))]
fn download(id: &RepoId, _: &HubCache, _: Access) -> Result<PathBuf, HubError> {
    Err(HubError::NotCompiled {
        model: id.to_string(),
    })
}

/// The folder of all-MiniLM-L6-v2: from the cache, else fetched into it from the hub where that is
/// compiled in, else as a package by pip. Its files are the same, byte for byte.
///
/// # Errors
/// If it cannot be had.
pub fn minilm(access: Access) -> Result<PathBuf, HubError> {
    let cache = cache_folder()?;
    let sources = Sources::of(access, &cache);
    #[cfg(feature = "download")]
    if !access.offline && !MINILM.is_complete(&cache)? {
        match from_hub(&cache, access) {
            Ok(folder) => return Ok(folder),
            Err(error) => (access.tell)(&format!("not from the hub: {error}")),
        }
    }
    MINILM.ensure(&cache, || minilm_files(&sources))
}

#[cfg(feature = "download")]
fn from_hub(cache: &Path, access: Access) -> Result<PathBuf, HubError> {
    let id = RepoId::minilm();
    let folder = download(&id, &HubCache::from_env()?, access)?;
    MINILM.ensure(cache, || {
        let read = |&(name, _): &(&'static str, &str)| {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(HubError::io("read", &path))?;
            Ok((name, bytes))
        };
        MINILM.files.iter().map(read).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(offline: bool) -> Access<'static> {
        Access {
            offline,
            tell: &|_| {},
        }
    }

    #[test]
    fn paths_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            dir.path(),
            Path::new("./missing/model"),
            Path::new("missing"),
            Path::new("missing/model.gguf"),
            Path::new("C:/missing"),
        ] {
            assert_eq!(resolve(path, silent(false)).unwrap(), path);
        }
    }

    #[test]
    fn a_name_without_an_organisation_is_told_with_it() {
        let error = resolve(Path::new("bert-base-uncased"), silent(true));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`google-bert/bert-base-uncased`"), "{error}");
    }

    #[test]
    fn a_name_without_a_model_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::new(dir.path(), Vec::new());
        let id: RepoId = "org/model".parse().unwrap();
        let error = named(&id, &cache, silent(true)).unwrap_err().to_string();
        assert!(
            error.contains("`org/model`") && error.contains("--offline"),
            "{error}"
        );
        #[cfg(not(feature = "download"))]
        {
            let error = named(&id, &cache, silent(false)).unwrap_err().to_string();
            assert!(
                error.contains("--features hub") && error.contains("org/model"),
                "{error}"
            );
        }
    }
}
