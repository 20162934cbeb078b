//! `cargo xtask bench profile`: where the processor time of a training step goes, by Linux's `perf`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::cases::{self, Places};
use super::machine::Machine;
use super::server::Server;
use crate::{fetch, files, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// The `peft-bench` binary with its symbols (mangled by v0), instead of building it
    #[arg(long, value_name = "PATH")]
    bench_binary: Option<PathBuf>,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Folder for the result, instead of docs/benchmarks
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What is looked at, and how many steps of it.
const CASES: [(&str, u32); 3] = [
    ("layer-train-lora", 60),
    ("minilm-step", 80),
    ("bert-base-step", 4),
];

/// What a function belongs to, by a part of its name; the first that fits counts.
const GROUPS: [(&str, &str); 21] = [
    ("[kernel", "the system: pages, scheduling"),
    ("attention", "attention, beside its products"),
    ("matmul", "matrix products"),
    ("gemm", "matrix products"),
    ("gated", "activations"),
    ("bias_activation", "activations"),
    ("activation", "activations"),
    ("layer_norm", "norms"),
    ("rms_norm", "norms"),
    ("embedding", "embeddings"),
    ("softmax", "softmax"),
    ("cross_entropy", "loss"),
    ("adamw", "optimiser"),
    ("dropout", "dropout"),
    ("random", "random numbers"),
    ("peft_spectral", "spectral update"),
    ("peft_fft", "spectral update"),
    ("rayon", "waiting for work"),
    ("crossbeam", "waiting for work"),
    ("burn", "Burn's own operations and graph"),
    ("libc", "C library: copies, allocation"),
];

#[derive(Debug, Serialize)]
struct Profile {
    case: String,
    samples: u64,
    /// Share of the samples, by group, the largest first.
    shares: Vec<(String, f64)>,
    /// The heaviest functions.
    functions: Vec<(String, f64)>,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    threads: u32,
    profiles: Vec<Profile>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let machine = Machine::look();
    let binary = match &arguments.bench_binary {
        Some(path) => path.clone(),
        None => build()?,
    };
    let places = Places {
        data: fetch::everything()?,
        threads: arguments.threads,
        quick: false,
    };
    let folder = workspace::target().join("profile");
    let all = cases::all();
    let mut profiles = Vec::new();
    for (name, steps) in CASES {
        let case = all.iter().find(|case| case.name == name);
        let case = case.with_context(|| format!("there is no case {name}"))?;
        eprintln!("{name} …");
        let setup = places.fill(&case.ours);
        profiles.push(record(&binary, name, &setup, steps, &folder)?);
    }
    let report = Report {
        machine,
        threads: arguments.threads,
        profiles,
    };
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| workspace::root().join("docs/benchmarks"));
    let mut json = serde_json::to_string_pretty(&report).context("cannot write the report")?;
    json.push('\n');
    files::write_atomic(&out.join("profile.json"), json.as_bytes())?;
    let path = out.join("profile.md");
    files::write_atomic(&path, report.markdown().as_bytes())?;
    println!("{}", path.display());
    Ok(())
}

/// With symbols whose names tell what generic code was made for; in a folder of its own, for other flags
/// would rebuild everything.
fn build() -> Result<PathBuf> {
    let target = workspace::target().join("profile");
    let mut command = workspace::cargo();
    command
        .args(["build", "--workspace", "--bin", "peft-bench", "--release"])
        .args(["--config", "profile.release.strip=false"])
        .env("RUSTFLAGS", "-C symbol-mangling-version=v0")
        .env("CARGO_TARGET_DIR", &target);
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "building peft-bench failed: see above");
    Ok(target.join("release/peft-bench"))
}

fn record(
    binary: &Path,
    name: &str,
    setup: &serde_json::Value,
    steps: u32,
    folder: &Path,
) -> Result<Profile> {
    let mut server = Server::start("peft", &mut Command::new(binary))?;
    server.set_up("default", setup)?;
    // What the first steps allocate and look up is not what a step costs.
    server.run("default", steps.div_ceil(4), false)?;
    std::fs::create_dir_all(folder).context("cannot make the folder for samples")?;
    let samples = folder.join(format!("{name}.perf"));
    let mut perf = Command::new("perf")
        .args(["record", "--quiet", "--freq", "997", "--pid"])
        .arg(server.process().to_string())
        .arg("--output")
        .arg(&samples)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start perf (Debian: apt-get install linux-perf)")?;
    thread::sleep(Duration::from_millis(300));
    server.run("default", steps, false)?;
    // perf writes what it has when it is interrupted.
    let stopped = Command::new("kill")
        .args(["-INT", &perf.id().to_string()])
        .status();
    ensure!(
        stopped.is_ok_and(|status| status.success()),
        "cannot stop perf"
    );
    perf.wait().context("cannot wait for perf")?;
    let output = Command::new("perf")
        .args(["script", "--fields", "sym,dso", "--input"])
        .arg(&samples)
        .stderr(Stdio::null())
        .output()
        .context("cannot read the samples")?;
    ensure!(output.status.success(), "perf could not read its samples");
    profile(name, &String::from_utf8_lossy(&output.stdout))
}

fn profile(name: &str, samples: &str) -> Result<Profile> {
    let (mut groups, mut functions) = (BTreeMap::new(), BTreeMap::new());
    let mut count = 0_u64;
    for line in samples
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        count += 1;
        let group = GROUPS.iter().find(|(part, _)| line.contains(part));
        let group = group.map_or("other", |(_, group)| group);
        *groups.entry(group.to_owned()).or_insert(0_u64) += 1;
        let function = line
            .rsplit_once(" (")
            .map_or(line, |(function, _)| function);
        *functions.entry(function.to_owned()).or_insert(0_u64) += 1;
    }
    ensure!(count > 0, "{name}: perf took no samples");
    let shares = |counts: BTreeMap<String, u64>, most: usize| {
        let mut list: Vec<(String, f64)> = counts
            .into_iter()
            .map(|(what, found)| (what, found as f64 / count as f64))
            .collect();
        list.sort_by(|a, b| b.1.total_cmp(&a.1));
        list.truncate(most);
        list
    };
    Ok(Profile {
        case: name.to_owned(),
        samples: count,
        shares: shares(groups, usize::MAX),
        functions: shares(functions, 12),
    })
}

impl Report {
    fn markdown(&self) -> String {
        let mut text = format!(
            "# Where a step's time goes\n\n<!-- Written by `cargo xtask bench profile`; changes by hand are \
             lost. -->\n\n{} threads of {} cores ({}; {}); commit {}. Samples of all threads by Linux's perf; \
             functions by name: [profile.json](profile.json).\n",
            self.threads,
            self.machine.cores,
            self.machine.architecture,
            self.machine.vector_units.join(", "),
            self.machine.commit,
        );
        let mut names: Vec<&str> = Vec::new();
        for (group, _) in self.profiles.iter().flat_map(|profile| &profile.shares) {
            if !names.contains(&group.as_str()) {
                names.push(group);
            }
        }
        text.push_str("\n| |");
        for profile in &self.profiles {
            let _ = write!(text, " {} |", profile.case);
        }
        text.push_str("\n|---|");
        text.push_str(&"--:|".repeat(self.profiles.len()));
        for name in names {
            let _ = write!(text, "\n| {name} |");
            for profile in &self.profiles {
                let share = profile.shares.iter().find(|(group, _)| group == name);
                let share = share.map_or_else(
                    || "–".to_owned(),
                    |(_, share)| format!("{:.1} %", share * 100.0),
                );
                let _ = write!(text, " {share} |");
            }
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_by_what_they_belong_to() {
        let samples = "
            peft_simd::avx512::<peft_kernels::backends::flex::layer_norm::Plain<f32>> (/t/peft-bench)
            peft_kernels::backends::flex::matmul::sets::avx512::at::<f32, 14, 2> (/t/peft-bench)
            peft_kernels::backends::flex::matmul::sets::avx512::at::<f32, 14, 2> (/t/peft-bench)
            clear_page_erms ([kernel.kallsyms])
        ";
        let found = profile("case", samples).unwrap();
        assert_eq!(found.samples, 4);
        assert_eq!(found.shares[0], ("matrix products".to_owned(), 0.5));
        assert_eq!(found.functions[0].1, 0.5);
        assert!(profile("case", "\n").is_err());
    }
}
