//! The backends beside the default one, the GPU's as far as a machine without a GPU can check them, each in
//! its own build folder: Burn's features differ, and in one folder they would rebuild each other.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::steps;
use super::tally::Tally;
use crate::workspace;

/// The crates whose operations run on a device; the others only call them.
const PACKAGES: [&str; 4] = ["peft-kernels", "peft-core", "peft-lowrank", "peft-methods"];

/// Those of them that others call through: a model and its training, whole runs.
const CALLERS: [&str; 2] = ["peft-models", "peft-run"];

/// All together leave the rest of CI half an hour.
const NDARRAY_LIMIT: Duration = Duration::from_secs(15 * 60);
const WGPU_LIMIT: Duration = Duration::from_secs(25 * 60);
const CUDA_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Tests on Burn's older CPU backend.
pub fn ndarray(tally: &mut Tally) -> Result<()> {
    let mut command = build("test", "ndarray", &PACKAGES);
    // The tests' tensors are tiny: optimised dependencies would cost more than they gain.
    command.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    command.args(["--tests", "--no-fail-fast"]);
    command.env("PEFT_TEST_DEVICE", "ndarray");
    steps::run(command, Some(NDARRAY_LIMIT), tally)
}

/// Tests on wgpu, which Mesa's lavapipe serves where there is no GPU.
pub fn wgpu(tally: &mut Tally) -> Result<()> {
    ensure!(
        vulkan_driver(),
        "no Vulkan driver: install one, on Debian without a GPU `apt-get install \
         mesa-vulkan-drivers libvulkan1`"
    );
    // Without flex, whose own tests compare it with itself: what the CPU made of the models' steps is in a file.
    let packages = [&PACKAGES[..], &["peft-models"]].concat();
    let mut command = build("test", "wgpu", &packages);
    unoptimised(&mut command);
    command.args(["--tests", "--no-fail-fast", "--", "--test-threads=1"]);
    command.env("PEFT_TEST_DEVICE", "wgpu");
    steps::run(command, Some(WGPU_LIMIT), tally)
}

/// Type checks of all that runs on a GPU, with cuda and with wgpu; running cuda needs one.
pub fn cuda(tally: &mut Tally) -> Result<()> {
    expect_llvm()?;
    let mut command = build("check", "cuda,wgpu", &[&PACKAGES[..], &CALLERS].concat());
    // Nothing of it runs but macros and build scripts.
    unoptimised(&mut command);
    steps::run(command, Some(CUDA_LIMIT), tally)
}

/// A cargo command on packages with features of Burn's backends; its build folder is called by the first.
fn build(verb: &str, features: &str, packages: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command
        .arg(verb)
        .args(["--no-default-features", "--features", features]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    let folder = features.split(',').next().unwrap_or(features);
    command.env("CARGO_TARGET_DIR", workspace::target().join(folder));
    command
}

/// Compiled without optimisation. For wgpu, whose stack is four times the rest, that takes 13 minutes of processor
/// time instead of 38 at level 1, and its tests, of tiny tensors, take minutes more.
fn unoptimised(command: &mut Command) {
    for profile in [
        "profile.dev",
        "profile.dev.package.\"*\"",
        "profile.dev.package.peft-kernels",
        "profile.dev.package.peft-linalg",
        "profile.dev.package.peft-sparse",
    ] {
        command.args(["--config", &format!("{profile}.opt-level=0")]);
    }
}

/// A driver's manifest, where the loader looks for them.
fn vulkan_driver() -> bool {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
        .iter()
        .any(|name| env::var_os(name).is_some());
    let folders = [
        "/usr/share/vulkan/icd.d",
        "/etc/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
    ];
    let holds = |folder: &&str| fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    named || folders.iter().any(holds)
}

/// Fails where what Burn's cuda feature is built with is missing.
pub fn expect_llvm() -> Result<()> {
    ensure!(
        llvm_laid_out()?,
        "Burn's cuda feature needs an LLVM bundle that is not there: run xtask/llvm-for-cuda.sh as \
         root once"
    );
    Ok(())
}

fn llvm_laid_out() -> Result<bool> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    let folder = data
        .context("neither HOME nor XDG_DATA_HOME is set")?
        .join("tracel");
    let complete = |path: &Path| path.join(".tracel-llvm-installed").exists();
    Ok(fs::read_dir(folder).is_ok_and(|files| files.flatten().any(|file| complete(&file.path()))))
}
