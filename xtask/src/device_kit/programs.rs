//! The programs of a kit: built, stripped, and with the libraries that they need.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::copy;
use crate::{check, workspace};

/// Shared libraries that every Linux with a C library has.
const EVERYWHERE: [&str; 8] = [
    "linux-vdso",
    "ld-linux",
    "libc.so",
    "libm.so",
    "libdl.so",
    "librt.so",
    "libpthread.so",
    "libgcc_s.so",
];

/// A program without its symbols, or as it is where there is no `strip`.
pub fn strip(from: &Path, to: &Path) -> Result<()> {
    ensure!(from.is_file(), "there is no {}", from.display());
    copy(from, to)?;
    // A script, as in tests, is none of its formats: the copy stays.
    let _ = Command::new("strip").arg(to).output();
    let mut permissions = fs::metadata(to)
        .with_context(|| format!("cannot read {}", to.display()))?
        .permissions();
    permissions.set_mode(0o755);
    fs::set_permissions(to, permissions)
        .with_context(|| format!("cannot make {} executable", to.display()))
}

/// The shared libraries that a program is linked with and that a bare machine may lack.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot run ldd, which tells the libraries that a program needs")?;
    // It fails on what is linked with none.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let missing = text.lines().find(|line| line.contains("not found"));
    if let Some(line) = missing {
        bail!("{} needs {}", program.display(), line.trim());
    }
    Ok(needed(&text))
}

/// Of what `ldd` says, the paths of libraries that are not everywhere.
fn needed(text: &str) -> Vec<PathBuf> {
    let found = text.lines().filter_map(|line| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let path = rest.split(" (").next()?.trim();
        let usual = EVERYWHERE.iter().any(|usual| name.starts_with(usual));
        (!usual && path.starts_with('/')).then(|| path.into())
    });
    found.collect()
}

/// Builds the kernels' tests with cuda alone, optimised.
pub fn kernel_tests() -> Result<PathBuf> {
    check::backends::expect_llvm()?;
    let mut command = workspace::cargo();
    command
        .args(["test", "--release", "--no-run", "--package", "peft-kernels"])
        .args([
            "--test",
            "ops",
            "--no-default-features",
            "--features",
            "cuda",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .env("CARGO_TARGET_DIR", workspace::target().join("cuda"))
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "building the kernels' tests with cuda failed: see the messages above"
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let program = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "ops")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    let program = program.context("cargo named no test program")?;
    // Without the hash that cargo's own name has.
    let plain = program.with_file_name("kernels-ops");
    copy(&program, &plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_are_everywhere_are_not_carried() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz3.so.4 => /lib/x86_64-linux-gnu/libz3.so.4 (0x0000)\n\
                    \tlibstdc++.so.6 => /lib/libstdc++.so.6 (0x0)\n\tlibm.so.6 => /lib/libm.so.6 (0x0)\n\
                    \tlibc.so.6 => /lib/libc.so.6 (0x0)\n\t/lib64/ld-linux-x86-64.so.2 (0x0)\n";
        let found = needed(text);
        let expected = ["/lib/x86_64-linux-gnu/libz3.so.4", "/lib/libstdc++.so.6"];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
