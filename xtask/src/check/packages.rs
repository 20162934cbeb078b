//! The crates as others would get them.

use anyhow::Result;

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
