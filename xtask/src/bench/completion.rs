//! `cargo xtask bench matrix-completion`: deep matrix completion at full width and compressed.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use peft_plot::{Chart, Look, Series};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::{files, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// A small matrix, to see that it runs; the result goes to the build folder
    #[arg(long)]
    quick: bool,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Rows and columns of the matrix [default: 1000, with --quick 80]
    #[arg(long)]
    size: Option<usize>,
    /// Rate of the subspaces, as a share of that of the core [default: 0.01, with --quick 0.1]
    #[arg(long)]
    gamma: Option<f64>,
    /// Seed of the matrix, of what is observed of it, and of the networks
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The `completion` benchmark of peft-lowrank, instead of building it
    #[arg(long, value_name = "PATH")]
    bench_binary: Option<PathBuf>,
    /// Folder for the result, instead of docs/benchmarks
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What the benchmark prints.
#[derive(Debug, Deserialize, Serialize)]
struct Figures {
    threads: u32,
    size: usize,
    rank: usize,
    depth: usize,
    observed_entries: usize,
    epsilon: f64,
    gamma: f64,
    rate: f64,
    tolerance: f64,
    every: u64,
    seed: u64,
    arms: Vec<Arm>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Arm {
    name: String,
    width: usize,
    parameters: usize,
    /// Iterations until the error was below the tolerance.
    found_after: Option<u64>,
    iterations: u64,
    error: f64,
    seconds: f64,
    /// Iteration and error.
    points: Vec<(f64, f64)>,
}

impl Arm {
    fn milliseconds(&self) -> f64 {
        1e3 * self.seconds / self.iterations.max(1) as f64
    }
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    quick: bool,
    #[serde(flatten)]
    figures: Figures,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let machine = Machine::look();
    let mut command = match &arguments.bench_binary {
        Some(path) => Command::new(path),
        None => {
            let mut cargo = workspace::cargo();
            cargo.args(["bench", "--workspace", "--bench", "completion", "--"]);
            cargo
        }
    };
    let (size, gamma) = if arguments.quick {
        command.args(["--rank", "2", "--observed", "0.4", "--epsilon", "2e-3"]);
        (80, 0.1)
    } else {
        (1000, 0.01)
    };
    command
        .arg("--json")
        .args(["--size", &arguments.size.unwrap_or(size).to_string()])
        .args(["--gamma", &arguments.gamma.unwrap_or(gamma).to_string()])
        .args(["--seed", &arguments.seed.to_string()]);
    command.env("RAYON_NUM_THREADS", arguments.threads.to_string());
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "the benchmark ended with {}: see its messages above",
        output.status
    );
    let figures: Figures = serde_json::from_slice(&output.stdout)
        .context("the benchmark's output is not what it should print with --json")?;
    let report = Report {
        machine,
        quick: arguments.quick,
        figures,
    };
    let out = match (&arguments.out, arguments.quick) {
        (Some(path), _) => path.clone(),
        (None, true) => workspace::target().join("benchmarks"),
        (None, false) => workspace::root().join("docs/benchmarks"),
    };
    let mut json = serde_json::to_string(&report).context("cannot write the report")?;
    json.push('\n');
    files::write_atomic(&out.join("matrix-completion.json"), json.as_bytes())?;
    let curves = chart(&report.figures).svg();
    files::write_atomic(&out.join("matrix-completion.svg"), curves.as_bytes())?;
    let path = out.join("matrix-completion.md");
    files::write_atomic(&path, markdown(&report).as_bytes())?;
    println!("{}", path.display());
    Ok(())
}

fn chart(figures: &Figures) -> Chart {
    let series = figures.arms.iter().enumerate().map(|(colour, arm)| Series {
        name: arm.name.clone(),
        colour,
        look: Look::Line,
        points: (arm.points.iter())
            .map(|(iteration, error)| (*iteration, error.log10()))
            .collect(),
    });
    Chart {
        title: format!(
            "Deep matrix completion, {0} × {0}, rank {1}",
            figures.size, figures.rank
        ),
        axis: "log₁₀ of the error on unobserved entries".into(),
        bounds: (f64::NEG_INFINITY, f64::INFINITY),
        series: series.collect(),
        mark: None,
    }
}

fn markdown(report: &Report) -> String {
    let Report {
        machine, figures, ..
    } = report;
    let share = 100.0 * figures.observed_entries as f64 / (figures.size * figures.size) as f64;
    let mut text = format!(
        "# Deep matrix completion\n\n<!-- Written by `cargo xtask bench matrix-completion`; changes by hand \
         are lost. -->\n\n{} of {} cores ({}, {}; {}). {}; commit {}. Load before the run: {}.\n\n\
         A {size} × {size} matrix of rank {} of which {share:.1} % of the entries are observed, by gradient \
         descent on a product of {} matrices from ε = {:e}, step {:e}, in f64; seed {} \
         ([2406.04112](https://arxiv.org/abs/2406.04112)). The matrix counts as found when half the mean square \
         of what is missed of the unobserved entries is at most {:e}; it is looked at every {} iterations. γ = {} \
         is the rate of the compressed network's subspaces. Raw figures: \
         [matrix-completion.json](matrix-completion.json).\n",
        figures.threads,
        machine.cores,
        machine.architecture,
        machine.system,
        machine.vector_units.join(", "),
        machine.rustc,
        machine.commit,
        machine
            .load_before
            .map_or_else(|| "unknown".to_owned(), |load| load.to_string()),
        figures.rank,
        figures.depth,
        figures.epsilon,
        figures.rate,
        figures.seed,
        figures.tolerance,
        figures.every,
        figures.gamma,
        size = figures.size,
    );
    if report.quick {
        text.push_str("\n**A quick run on a small matrix: nothing to conclude from.**\n");
    }
    text.push_str("\n![curves](matrix-completion.svg)\n\n");
    text.push_str(
        "| network | width | trained values | iterations | of the original's | ms an iteration | times as fast \
         | seconds | last error |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let original = figures.arms.iter().find(|arm| arm.name == "original");
    for arm in &figures.arms {
        let found = arm.found_after.map_or_else(
            || format!("not in {}", arm.iterations),
            |steps| steps.to_string(),
        );
        let share = match (arm.found_after, original.and_then(|one| one.found_after)) {
            (Some(own), Some(other)) => format!("{:.3}", own as f64 / other as f64),
            _ => String::new(),
        };
        let faster = original.map_or_else(String::new, |one| {
            format!("{:.1}", one.milliseconds() / arm.milliseconds())
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {found} | {share} | {:.3} | {faster} | {:.1} | {:.1e} |",
            arm.name,
            arm.width,
            arm.parameters,
            arm.milliseconds(),
            arm.seconds,
            arm.error
        );
    }
    text.push_str(
        "\nTimes are those of the steps alone. The compressed network and the random narrow one compute the \
         observed entries only and never form the matrix; the original multiplies whole matrices.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_compares_with_the_original() {
        let arm = |name: &str, found_after, seconds| Arm {
            name: name.into(),
            width: 4,
            parameters: 48,
            found_after,
            iterations: 200,
            error: 1e-13,
            seconds,
            points: vec![(0.0, 1e-2), (200.0, 1e-13)],
        };
        let figures = Figures {
            threads: 2,
            size: 10,
            rank: 2,
            depth: 3,
            observed_entries: 20,
            epsilon: 1e-3,
            gamma: 0.01,
            rate: 0.5,
            tolerance: 1e-12,
            every: 50,
            seed: 0,
            arms: vec![
                arm("compressed", Some(210), 0.1),
                arm("compressed, γ = 0", None, 0.1),
                arm("original", Some(200), 4.0),
            ],
        };
        let chart = chart(&figures).svg();
        assert!(chart.contains("compressed") && chart.contains("Deep matrix completion"));
        let report = Report {
            machine: Machine::look(),
            quick: true,
            figures,
        };
        let text = markdown(&report);
        let line = "| compressed | 4 | 48 | 210 | 1.050 | 0.500 | 40.0 | 0.1 | 1.0e-13 |\n";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("| not in 200 |  |") && text.contains("20.0 %"),
            "{text}"
        );
        assert!(text.contains("A quick run"));
    }
}
