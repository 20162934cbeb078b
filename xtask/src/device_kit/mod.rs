//! `cargo xtask device-kit`: one folder that checks and measures on a machine with a GPU and PyTorch, but without
//! Rust and without a network.

mod programs;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::programs::{kernel_tests, libraries, strip};
use crate::bench::{Backend, Machine};
use crate::{files, python, workspace};

/// Of the folder of goldens: tiny models, and their logits.
const FIXTURES: [&str; 14] = [
    "llama_tiny",
    "llama_tiny_tied",
    "mamba_tiny",
    "falcon_mamba_tiny",
    "mamba2_tiny",
    "gpt2_tiny",
    "causal/cases.json",
    "causal/llama_tiny.safetensors",
    "causal/llama_tiny_tied.safetensors",
    "ssm/cases.json",
    "ssm/families.json",
    "ssm/mamba_tiny.safetensors",
    "ssm/falcon_mamba_tiny.safetensors",
    "ssm/mamba2_tiny.safetensors",
];

/// PyTorch's side of the benchmarks.
const SCRIPTS: [&str; 6] = [
    "torch_bench.py",
    "random_model.py",
    "rss.py",
    "textdata.py",
    "versions.py",
    "requirements.txt",
];

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of the kit; beside it, DIR.tar.gz has it packed
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// `peft-bench` with the feature cuda, instead of building it
    #[arg(long, value_name = "PATH")]
    bench_binary: Option<PathBuf>,
    /// Build with Burn's autotuning, which `peft` itself does not have, to compare its levels
    #[arg(long, conflicts_with = "bench_binary")]
    autotune: bool,
    /// Also the `peft` binary, which tells what devices it sees
    #[arg(long, value_name = "PATH")]
    peft: Option<PathBuf>,
    /// Also build the kernels' tests with the feature cuda, which tens of megabytes of compiler come with
    #[arg(long)]
    tests: bool,
    /// A test program that was built with the feature cuda; may be given again
    #[arg(long, value_name = "PATH")]
    test_binary: Vec<PathBuf>,
    /// Megabytes that the packed kit may have
    #[arg(long, default_value_t = 50)]
    limit: u64,
}

#[derive(Serialize)]
struct Manifest {
    commit: String,
    rustc: String,
    files: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    path: String,
    bytes: u64,
    sha256: String,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let bench = match &arguments.bench_binary {
        Some(path) => path.clone(),
        None => Backend::Cuda.build(if arguments.autotune {
            &["autotune"]
        } else {
            &[]
        })?,
    };
    let mut tests = arguments.test_binary.clone();
    if arguments.tests {
        tests.push(kernel_tests()?);
    }
    let parts = Parts {
        bench: &bench,
        peft: arguments.peft.as_deref(),
        tests: &tests,
    };
    let archive = assemble(&arguments.output, &parts)?;
    let packed = fs::metadata(&archive)
        .with_context(|| format!("cannot read {}", archive.display()))?
        .len();
    println!(
        "{} ({:.1} MB packed: {})",
        arguments.output.display(),
        packed as f64 / 1e6,
        archive.display()
    );
    ensure!(
        packed <= arguments.limit * 1_000_000,
        "{} has {:.1} MB, more than {}: leave out test programs or the `peft` binary, or raise --limit",
        archive.display(),
        packed as f64 / 1e6,
        arguments.limit
    );
    Ok(())
}

/// Programs of the kit.
struct Parts<'a> {
    bench: &'a Path,
    peft: Option<&'a Path>,
    tests: &'a [PathBuf],
}

/// Lays the kit out and packs it; returns the path of the archive.
fn assemble(output: &Path, parts: &Parts<'_>) -> Result<PathBuf> {
    let name = output.file_name().with_context(|| {
        format!(
            "{} names no folder: give the kit a folder of its own",
            output.display()
        )
    })?;
    let is_kit = output.join("manifest.json").is_file();
    let is_free = fs::read_dir(output).map_or(true, |mut entries| entries.next().is_none());
    ensure!(
        is_kit || is_free,
        "{} holds something else than a kit: choose another folder, or remove it",
        output.display()
    );
    let programs = [Some(parts.bench), parts.peft].into_iter().flatten();
    // Before a kit that is there goes.
    for program in programs.chain(parts.tests.iter().map(PathBuf::as_path)) {
        ensure!(
            program.is_file(),
            "there is no program {}",
            program.display()
        );
    }
    files::remove_folder(output)?;

    let kit = workspace::root().join("xtask/kit");
    copy_tree(&kit, output)?;
    for script in SCRIPTS {
        copy(
            &python::scripts().join(script),
            &output.join("python").join(script),
        )?;
    }
    let goldens = workspace::root().join("tests/goldens");
    for fixture in FIXTURES {
        let (from, to) = (goldens.join(fixture), output.join("goldens").join(fixture));
        if from.is_dir() {
            copy_tree(&from, &to)?;
        } else {
            copy(&from, &to)?;
        }
    }
    let bin = output.join("bin");
    let mut programs = vec![(parts.bench, bin.join("peft-bench"))];
    programs.extend(parts.peft.map(|peft| (peft, bin.join("peft"))));
    for test in parts.tests {
        let name = test.file_name().context("a test program without a name")?;
        programs.push((test, bin.join("tests").join(name)));
    }
    for (from, to) in programs {
        strip(from, &to)?;
        for library in libraries(from)? {
            let name = library.file_name().context("a library without a name")?;
            copy(&library, &output.join("lib").join(name))?;
        }
    }

    let machine = Machine::look();
    let mut manifest = Manifest {
        commit: machine.commit,
        rustc: machine.rustc,
        files: Vec::new(),
    };
    list(output, output, &mut manifest.files)?;
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut text = serde_json::to_string_pretty(&manifest).context("cannot write the manifest")?;
    text.push('\n');
    files::write_atomic(&output.join("manifest.json"), text.as_bytes())?;

    let mut archive = name.to_owned();
    archive.push(".tar.gz");
    let archive = output.with_file_name(archive);
    pack(output, Path::new(name), &archive)?;
    Ok(archive)
}

fn pack(folder: &Path, name: &Path, archive: &Path) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let encoder = GzEncoder::new(File::create(archive)?, Compression::best());
        let mut builder = tar::Builder::new(encoder);
        builder.append_dir_all(name, folder)?;
        builder.into_inner()?.finish()?.flush()
    };
    write().with_context(|| format!("cannot write {}", archive.display()))
}

/// Copies a file with its permissions, making the folder it goes to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Copies a folder, without what Python made of its scripts.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for path in entries(from)? {
        let name = path.file_name().context("an entry without a name")?;
        if name == "__pycache__" {
            continue;
        }
        let target = to.join(name);
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            copy(&path, &target)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("cannot read {}", folder.display()))
}

fn list(folder: &Path, root: &Path, found: &mut Vec<Entry>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            list(&path, root, found)?;
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let inside = path.strip_prefix(root).unwrap_or(&path);
        let digest = Sha256::digest(&bytes);
        found.push(Entry {
            path: inside.to_string_lossy().into_owned(),
            bytes: bytes.len() as u64,
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
    }
    Ok(())
}
