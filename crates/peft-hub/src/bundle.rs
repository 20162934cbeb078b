use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use peft_format::atomic::write_atomic_bytes;

use crate::{HubError, sha256, sha256_of};

/// A folder of files whose sha256 are known.
#[derive(Debug, Clone, Copy)]
pub struct Bundle {
    /// Name of the folder.
    pub folder: &'static str,
    /// Names of the files and their sha256 in lower-case hexadecimal.
    pub files: &'static [(&'static str, &'static str)],
}

/// Bytes of files by name.
pub type Made = BTreeMap<&'static str, Vec<u8>>;

impl Bundle {
    /// The folder under `out`.
    pub fn path(&self, out: &Path) -> PathBuf {
        out.join(self.folder)
    }

    /// Whether every file is under `out` as it should be.
    ///
    /// # Errors
    /// If a file is there and cannot be read.
    pub fn is_complete(&self, out: &Path) -> Result<bool, HubError> {
        for (name, expected) in self.files {
            if sha256_of(&self.path(out).join(name))?.as_deref() != Some(expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the folder under `out` complete with what `make` gives; touches nothing where it is.
    ///
    /// # Errors
    /// Those of `make`; if a file comes out with other bytes, or cannot be written.
    pub fn ensure<E: From<HubError>>(
        &self,
        out: &Path,
        make: impl FnOnce() -> Result<Made, E>,
    ) -> Result<PathBuf, E> {
        let folder = self.path(out);
        if self.is_complete(out)? {
            return Ok(folder);
        }
        let made = make()?;
        for (name, expected) in self.files {
            let found = made.get(name).map(|bytes| sha256(bytes));
            if found.as_deref() != Some(expected) {
                return Err(E::from(HubError::Digest {
                    path: folder.join(name),
                    found: found.unwrap_or_else(|| "of no file".into()),
                    expected: (*expected).to_owned(),
                }));
            }
        }
        fs::create_dir_all(&folder).map_err(HubError::io("create", &folder))?;
        for (name, _) in self.files {
            write_atomic_bytes(&folder.join(name), &made[name]).map_err(HubError::from)?;
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: Bundle = Bundle {
        folder: "abc",
        files: &[(
            "abc.txt",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        )],
    };

    #[test]
    fn makes_what_is_missing_or_damaged_and_only_that() {
        let out = tempfile::tempdir().unwrap();
        let make = |bytes: &'static str| {
            move || Ok::<_, HubError>(Made::from([("abc.txt", bytes.into())]))
        };
        let wrong = ABC.ensure(out.path(), make("abd")).unwrap_err().to_string();
        assert!(wrong.contains("expected ba7816bf"), "{wrong}");
        assert!(
            !out.path().join("abc").exists(),
            "a refused file was written"
        );
        let folder = ABC.ensure(out.path(), make("abc")).unwrap();
        let untouched = || -> Result<Made, HubError> { panic!("made again") };
        assert_eq!(ABC.ensure(out.path(), untouched).unwrap(), folder);
        fs::write(folder.join("abc.txt"), "ab").unwrap();
        assert!(!ABC.is_complete(out.path()).unwrap());
        ABC.ensure(out.path(), make("abc")).unwrap();
        assert_eq!(fs::read(folder.join("abc.txt")).unwrap(), b"abc");
    }
}
