//! `cargo xtask bench matrix-completion`: deep matrix completion at full width and compressed.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use peft_plot::{Across, Chart, Look, Series};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::program;
use crate::study::{median, quantile};
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
    /// The `peft-completion` binary, instead of building it
    #[arg(long, value_name = "PATH")]
    bench_binary: Option<PathBuf>,
    /// Take the time of an iteration anew, and keep the curves that are there
    #[arg(long)]
    times_only: bool,
    /// Alternating turns for the time of an iteration
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
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

/// Times of an iteration, of turns in alternation.
#[derive(Debug, Deserialize, Serialize)]
struct Times {
    threads: u32,
    size: usize,
    arms: Vec<ArmTimes>,
}

#[derive(Debug, Deserialize, Serialize)]
struct ArmTimes {
    name: String,
    /// An iteration of each turn.
    milliseconds: Vec<f64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Report {
    /// Of the curves.
    machine: Machine,
    quick: bool,
    #[serde(flatten)]
    figures: Figures,
    times: Times,
    /// Of the times.
    timed: Machine,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let out = program::folder(arguments.out.as_deref(), arguments.quick);
    let report = if arguments.times_only {
        let json = out.join("matrix-completion.json");
        let before: Report = serde_json::from_str(&files::read(&json)?)
            .with_context(|| format!("{} is not a report of this task", json.display()))?;
        let timed = Machine::look();
        let times: Times = benchmark(arguments, &arguments.timing())?;
        ensure!(
            times.size == before.figures.size,
            "the report is of size {}, not {}",
            before.figures.size,
            times.size
        );
        Report {
            times,
            timed,
            ..before
        }
    } else {
        let (machine, figures) = curves(arguments)?;
        let timed = Machine::look();
        let times = benchmark(arguments, &arguments.timing())?;
        Report {
            machine,
            quick: arguments.quick,
            figures,
            times,
            timed,
        }
    };
    let curves = chart(&report.figures).svg();
    files::write_atomic(&out.join("matrix-completion.svg"), curves.as_bytes())?;
    let path = program::write(&out, "matrix-completion", &report, &markdown(&report))?;
    if !arguments.times_only {
        files::remove_folder(&parts(arguments.quick))?;
    }
    println!("{}", path.display());
    Ok(())
}

/// The networks, as the benchmark names them. The last takes most of the time.
const NETWORKS: [&str; 4] = [
    "compressed",
    "compressed, γ = 0",
    "random narrow",
    "original",
];

/// What is kept of a network until the report is written, so that a run that was cut off goes on.
#[derive(Deserialize, Serialize)]
struct Part {
    flags: Vec<String>,
    threads: u32,
    machine: Machine,
    figures: Figures,
}

/// A quick run keeps its own: it must not take those of a long one away.
fn parts(quick: bool) -> PathBuf {
    let name = if quick { "quick" } else { "full" };
    workspace::target()
        .join("benchmarks/matrix-completion")
        .join(name)
}

/// The curves of all networks, each kept as it ends; the machine is the first one's. A curve of another
/// commit is made again.
fn curves(arguments: &Arguments) -> Result<(Machine, Figures)> {
    let mut all: Option<(Machine, Figures)> = None;
    let commit = Machine::look().commit;
    for (index, network) in NETWORKS.iter().enumerate() {
        let flags = arguments.flags(&["--network", network]);
        let path = parts(arguments.quick).join(format!("{index}.json"));
        let kept = path.exists().then(|| files::read(&path)).transpose()?;
        let kept = kept.and_then(|text| serde_json::from_str::<Part>(&text).ok());
        let same = |part: &Part| {
            part.flags == flags
                && part.threads == arguments.threads
                && part.machine.commit == commit
        };
        let part = if let Some(part) = kept.filter(same) {
            eprintln!("{network}: kept in {}", path.display());
            part
        } else {
            let machine = Machine::look();
            let part = Part {
                threads: arguments.threads,
                machine,
                figures: benchmark(arguments, &flags)?,
                flags,
            };
            let text = serde_json::to_string(&part).context("cannot keep the curve")?;
            files::write_atomic(&path, text.as_bytes())?;
            part
        };
        match &mut all {
            Some((_, figures)) => figures.arms.extend(part.figures.arms),
            None => all = Some((part.machine, part.figures)),
        }
    }
    all.context("no network")
}

impl Arguments {
    /// What the benchmark is asked for.
    fn flags(&self, more: &[&str]) -> Vec<String> {
        let mut flags: Vec<String> = vec!["--json".into()];
        flags.extend(more.iter().map(|&one| one.to_owned()));
        let mut set = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
        let (size, gamma) = if self.quick {
            set("--rank", "2".into());
            set("--observed", "0.4".into());
            set("--epsilon", "2e-3".into());
            (80, 0.1)
        } else {
            (1000, 0.01)
        };
        set("--size", self.size.unwrap_or(size).to_string());
        set("--gamma", self.gamma.unwrap_or(gamma).to_string());
        set("--seed", self.seed.to_string());
        flags
    }

    fn timing(&self) -> Vec<String> {
        self.flags(&["--turns", &self.turns.to_string()])
    }
}

/// Runs the benchmark.
fn benchmark<T: DeserializeOwned>(arguments: &Arguments, flags: &[String]) -> Result<T> {
    let flags: Vec<Option<&str>> = flags.iter().map(|flag| Some(flag.as_str())).collect();
    let binary = match &arguments.bench_binary {
        Some(path) => path.clone(),
        None => workspace::build("peft-completion", true)?,
    };
    program::figures("peft-completion", Some(&binary), arguments.threads, &flags)
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
        across: Across::Numbers {
            name: "iteration".into(),
            logarithmic: false,
        },
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
         are lost. -->\n\n{}\n\n\
         A {size} × {size} matrix of rank {} of which {share:.1} % of the entries are observed, by gradient \
         descent on a product of {} matrices from ε = {:e}, step {:e}, in f64; seed {} \
         ([2406.04112](https://arxiv.org/abs/2406.04112)). The matrix counts as found when half the mean square \
         of what is missed of the unobserved entries is at most {:e}; it is looked at every {} iterations. γ = {} \
         is the rate of the compressed network's subspaces. Raw figures: \
         [matrix-completion.json](matrix-completion.json).\n",
        machine.line(figures.threads),
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
         | last error |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let times = |name: &str| {
        let arm = report.times.arms.iter().find(|arm| arm.name == name);
        arm.map_or(&[][..], |arm| &arm.milliseconds)
    };
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
        let own = times(&arm.name);
        let pairs = times("original").iter().zip(own);
        let faster: Vec<f64> = pairs.map(|(original, own)| original / own).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {found} | {share} | {:.3} ({:.3}–{:.3}) | {:.1} ({:.1}–{:.1}) | {:.1e} |",
            arm.name,
            arm.width,
            arm.parameters,
            median(own),
            quantile(own, 0.1),
            quantile(own, 0.9),
            median(&faster),
            quantile(&faster, 0.1),
            quantile(&faster, 0.9),
            arm.error
        );
    }
    let turns = times("original").len();
    let _ = write!(
        text,
        "\nAn iteration's time is the median of {turns} alternating turns of all networks in one run, with the \
         10th to 90th percentile, apart from the curves; the factor is that of the turns, pair by pair. Load \
         before it: {}; commit {}. The compressed network and the random narrow one compute the observed \
         entries only and never form the matrix; the original multiplies whole matrices.\n",
        report.timed.load(),
        report.timed.commit,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_shows_the_figures_beside_it() {
        crate::bench::expect_plot("matrix-completion", |figures| {
            chart(&serde_json::from_value(figures).unwrap()).svg()
        });
    }

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
        let times = |name: &str, milliseconds: &[f64]| ArmTimes {
            name: name.into(),
            milliseconds: milliseconds.to_vec(),
        };
        let chart = chart(&figures).svg();
        assert!(chart.contains("compressed") && chart.contains("Deep matrix completion"));
        let report = Report {
            machine: Machine::look(),
            quick: true,
            figures,
            times: Times {
                threads: 2,
                size: 10,
                arms: vec![
                    times("compressed", &[0.5, 0.25, 0.5]),
                    times("compressed, γ = 0", &[0.5, 0.5, 0.5]),
                    times("original", &[20.0, 20.0, 20.0]),
                ],
            },
            timed: Machine::look(),
        };
        let json = serde_json::to_string(&report).unwrap();
        let report: Report = serde_json::from_str(&json).unwrap();
        let text = markdown(&report);
        let line = "| compressed | 4 | 48 | 210 | 1.050 | 0.500 (0.300–0.500) | 40.0 (40.0–72.0) | 1.0e-13 |\n";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("| not in 200 |  |") && text.contains("20.0 %"),
            "{text}"
        );
        assert!(text.contains("A quick run"));
    }
}
