//! Where things are: the workspace, its build folder, and the cache that lies outside the repository.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
pub use peft_hub::cache_folder as cache;

/// Root of the workspace this program was compiled in.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's build folder, honouring `CARGO_TARGET_DIR`.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}

/// Cargo, the one that runs us where there is one.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds a binary of the workspace and returns its path.
pub fn build(binary: &str, release: bool) -> Result<PathBuf> {
    let mut command = cargo();
    // The whole workspace's choice of features: a package's own would build Burn a second time.
    command.args(["build", "--workspace", "--bin", binary]);
    if release {
        command.arg("--release");
    }
    let status = command.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "`cargo build --workspace --bin {binary}` failed: see its messages above"
    );
    built(&target(), if release { "release" } else { "debug" }, binary)
}

/// Builds a package's binary with more features, optimised, in a build folder that they give its name to: Burn's
/// features differ, and in one folder they would rebuild each other.
pub fn build_with(package: &str, binary: &str, features: &[&str]) -> Result<PathBuf> {
    let folder = target().join(features.join("-"));
    let features = features.join(",");
    let mut command = cargo();
    command
        .args(["build", "--release", "--package", package, "--bin", binary])
        .args(["--features", &features])
        .env("CARGO_TARGET_DIR", &folder);
    let status = command.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "`cargo build --release --package {package} --bin {binary} --features {features}` failed: see its messages above"
    );
    built(&folder, "release", binary)
}

fn built(target: &Path, profile: &str, binary: &str) -> Result<PathBuf> {
    let path = target
        .join(profile)
        .join(format!("{binary}{}", env::consts::EXE_SUFFIX));
    ensure!(
        path.is_file(),
        "cargo built {binary}, but {} is not there",
        path.display()
    );
    Ok(path)
}
