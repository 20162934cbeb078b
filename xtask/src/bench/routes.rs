//! `cargo xtask bench spectral-routes`: what the ways to apply a spectral update cost, and whether the cost
//! model of peft-spectral chooses the best.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::program;

#[derive(clap::Args)]
pub struct Arguments {
    /// Small layers, to see that it runs; the result goes to the build folder
    #[arg(long)]
    quick: bool,
    /// Turns of each way; the least time counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// The `routes` benchmark of peft-spectral, instead of building it
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
    quick: bool,
    rounds: u32,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Case {
    out: usize,
    #[serde(rename = "in")]
    inner: usize,
    support: String,
    coefficients: usize,
    rows: usize,
    out_rows: usize,
    in_rows: usize,
    plain_ms: f64,
    ways: Vec<Way>,
    chosen: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Way {
    way: String,
    ms: f64,
    predicted_ms: f64,
}

impl Case {
    fn best(&self) -> Option<&Way> {
        self.ways.iter().min_by(|a, b| a.ms.total_cmp(&b.ms))
    }

    /// Time of a step the way that was chosen over that of the best, and the same of what is added to the
    /// frozen layer.
    fn regret(&self) -> Result<[f64; 2]> {
        let chosen = self.ways.iter().find(|way| way.way == self.chosen);
        let (Some(chosen), Some(best)) = (chosen, self.best()) else {
            anyhow::bail!("no way is called `{}`, which was chosen", self.chosen);
        };
        // Less than a hundredth of the layer is no time that was measured.
        let added = |way: &Way| (way.ms - self.plain_ms).max(0.01 * self.plain_ms);
        Ok([chosen.ms / best.ms, added(chosen) / added(best)])
    }
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// Of every case: of the step, and of what is added to the frozen layer.
    regrets: Vec<[f64; 2]>,
    #[serde(flatten)]
    figures: Figures,
}

impl Report {
    fn new(machine: Machine, figures: Figures) -> Result<Self> {
        ensure!(!figures.cases.is_empty(), "the benchmark timed no case");
        let regrets = figures.cases.iter().map(Case::regret);
        Ok(Self {
            machine,
            regrets: regrets.collect::<Result<_>>()?,
            figures,
        })
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let machine = Machine::look();
    let rounds = arguments.rounds.to_string();
    let figures: Figures = program::figures(
        "routes",
        arguments.bench_binary.as_deref(),
        arguments.threads,
        &[
            arguments.quick.then_some("--quick"),
            Some("--rounds"),
            Some(&rounds),
        ],
    )?;
    let report = Report::new(machine, figures).context("the benchmark's figures")?;
    let out = program::folder(arguments.out.as_deref(), arguments.quick);
    let path = program::write(&out, "spectral-routes", &report, &markdown(&report))?;
    println!("{}", path.display());
    Ok(())
}

fn markdown(report: &Report) -> String {
    let Report {
        machine, figures, ..
    } = report;
    let mut text = format!(
        "# Ways to apply a spectral update\n\n<!-- Written by `cargo xtask bench spectral-routes`; changes by \
         hand are lost. -->\n\n{} Raw \
         figures: [spectral-routes.json](spectral-routes.json).\n\n{}\n",
        machine.line(figures.threads),
        verdict(report),
    );
    if figures.quick {
        text.push_str("\n**A quick run on small layers: nothing to conclude from.**\n");
    }
    let names: Vec<&str> = (figures.cases[0].ways.iter())
        .map(|way| way.way.as_str())
        .collect();
    let both: Vec<String> = names
        .iter()
        .map(|name| format!("{name}, ms | predicted"))
        .collect();
    let _ = writeln!(
        text,
        "\n| layer | places | n | rows of the bases | tokens | layer alone, ms | {} | chosen | best | regret \
         | of what is added |\n|---|---|--:|--:|--:|--:|{}---|---|--:|--:|",
        both.join(" | "),
        "--:|--:|".repeat(names.len()),
    );
    for (case, regret) in figures.cases.iter().zip(&report.regrets) {
        let ways: Vec<String> = case
            .ways
            .iter()
            .map(|way| format!("{:.2} | {:.2}", way.ms, way.predicted_ms))
            .collect();
        let _ = writeln!(
            text,
            "| {}×{} | {} | {} | {} + {} | {} | {:.2} | {} | {} | {} | {:.2} | {:.2} |",
            case.out,
            case.inner,
            case.support,
            case.coefficients,
            case.out_rows,
            case.in_rows,
            case.rows,
            case.plain_ms,
            ways.join(" | "),
            case.chosen,
            case.best().map_or("", |way| &way.way),
            regret[0],
            regret[1],
        );
    }
    let _ = writeln!(
        text,
        "\nA step is one frozen layer with the update, forward and backward, with the gradients of the input \
         and the coefficients; a time is the least of {} turns, the ways in turns. Predicted is what the model \
         says of the update alone, in units of its machine of one core: its order counts, not its size. Regret \
         is the time of the way that was chosen over that of the best.",
        figures.rounds
    );
    text
}

/// The largest regret, and how many are above what is taken for noise.
fn verdict(report: &Report) -> String {
    let of_step = report.regrets.iter().map(|regret| regret[0]);
    let largest = of_step.clone().fold(0.0, f64::max);
    let high = of_step.filter(|regret| *regret > 1.15).count();
    format!(
        "The way that the cost model chooses takes at most {largest:.2} times as long a step as the best; in \
         {high} of {} cases it is more than 1.15.",
        report.regrets.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(chosen: &str, times: [f64; 2]) -> Case {
        let way = |name: &str, ms| Way {
            way: name.into(),
            ms,
            predicted_ms: 2.0,
        };
        Case {
            out: 8,
            inner: 4,
            support: "random".into(),
            coefficients: 3,
            rows: 16,
            out_rows: 3,
            in_rows: 2,
            plain_ms: 1.0,
            ways: vec![way("rows", times[0]), way("fast", times[1])],
            chosen: chosen.into(),
        }
    }

    fn report(cases: Vec<Case>) -> Result<Report> {
        let figures = Figures {
            threads: 2,
            quick: true,
            rounds: 3,
            cases,
        };
        Report::new(Machine::look(), figures)
    }

    #[test]
    fn regret_is_against_the_best_way() {
        let report = report(vec![case("rows", [3.0, 2.0]), case("fast", [3.0, 2.0])]).unwrap();
        assert_eq!(report.regrets, [[1.5, 2.0], [1.0, 1.0]]);
        let text = markdown(&report);
        assert!(text.contains("at most 1.50 times"), "{text}");
        assert!(text.contains("in 1 of 2 cases"), "{text}");
        assert!(
            text.contains(
                "| 8×4 | random | 3 | 3 + 2 | 16 | 1.00 | 3.00 | 2.00 | 2.00 | 2.00 | rows | fast | 1.50 | 2.00 |"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_way_that_was_not_timed_is_refused() {
        assert!(report(vec![case("merged", [3.0, 2.0])]).is_err());
        assert!(report(Vec::new()).is_err());
    }
}
