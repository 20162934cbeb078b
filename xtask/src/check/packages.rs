//! The crates as others would get them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::steps;
use super::tally::Tally;
use crate::workspace;

/// Every published crate is packed: manifests, files and versions of one another.
pub fn package(tally: &mut Tally) -> Result<()> {
    let mut command = workspace::cargo();
    // Building each once more would take as long as all other steps together.
    command.args(["package", "--workspace", "--no-verify", "--allow-dirty"]);
    for unpublished in ["xtask", "peft-benches"] {
        command.args(["--exclude", unpublished]);
    }
    steps::run(command, None, tally)
}

/// Downloads from a hub on this machine. Apart from the rest, for the client's dependencies switch on
/// features of Burn's, which would then be built a second time.
pub fn hub(tally: &mut Tally) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["test", "--package", "peft-hub", "--features", "download"]);
    command.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    command.env("CARGO_TARGET_DIR", workspace::target().join("hub"));
    steps::run(command, None, tally)
}

const ARM: &str = "aarch64-unknown-linux-gnu";

/// Type checks of what users build, for 64-bit ARM; nothing of it is linked or run.
pub fn arm(tally: &mut Tally) -> Result<()> {
    if !has_target(ARM)? {
        tally.skip(format!("`rustup target add {ARM}` installs what it needs"));
        return Ok(());
    }
    let mut command = workspace::cargo();
    command.args(["check", "--workspace", "--target", ARM]);
    // These tasks make certificates with a library of C and assembly, which another target's compiler
    // would have to be installed for.
    command.args(["--exclude", "xtask"]);
    // Nothing of it runs but macros and build scripts.
    command.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    command.env("CARGO_TARGET_DIR", workspace::target().join("arm"));
    steps::run(command, None, tally)
}

/// Whether the standard library of a target is there.
fn has_target(target: &str) -> Result<bool> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]);
    let told = command.output().context("cannot start rustc")?;
    ensure!(told.status.success(), "rustc knows no target {target}");
    let folder = String::from_utf8_lossy(&told.stdout);
    Ok(Path::new(folder.trim()).is_dir())
}
