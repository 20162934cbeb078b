//! Tells the binary which commit it is built from: runs record it.

use std::{env, fs, path::Path, process::Command};

fn main() {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = commit();
    let shown = match &commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo:rustc-env=PEFT_VERSION={shown}");
    println!("cargo:rustc-env=PEFT_COMMIT={}", commit.unwrap_or_default());
    println!("cargo:rerun-if-changed=build.rs");
}

/// The commit, marked where tracked files differ from it; none outside of this project's own repository, such as in a
/// folder of vendored crates.
fn commit() -> Option<String> {
    let own = env::var("CARGO_MANIFEST_DIR").ok()?;
    let root = Path::new(&git(&["rev-parse", "--show-toplevel"])?).to_owned();
    let same = |path: &Path| fs::canonicalize(path).ok();
    if same(&root.join("crates/peft-cli")) != same(Path::new(&own)) {
        return None;
    }
    // Every commit and every checkout adds a line to this log; what is not committed yet is in the sources.
    println!(
        "cargo:rerun-if-changed={}",
        git(&["rev-parse", "--git-path", "logs/HEAD"])?
    );
    for folder in fs::read_dir(root.join("crates")).ok()?.flatten() {
        println!(
            "cargo:rerun-if-changed={}",
            folder.path().join("src").display()
        );
    }
    let hash = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(match changes.is_empty() {
        true => hash,
        false => format!("{hash}, changed"),
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
