//! `cargo xtask bench gradient-energy`: where rules of selection put sDCTFT's coefficients, and how much of the
//! gradient of batches that they have not seen lies there.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use peft_plot::{Across, Chart, Look, Series};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::concentration;
use super::machine::Machine;
use super::server::Server;
use crate::{fetch, files, workspace};

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Where sDCTFT's rules of selection lie
    Sdctft,
    /// How concentrated gradients are in SparseGrad's bases
    Sparsegrad,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// What is looked at, instead of all
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Batches of 32 rows whose gradient `select = "grad"` sees
    #[arg(long, default_value_t = 8)]
    probe: usize,
    /// Batches whose gradient is looked at
    #[arg(long, default_value_t = 32)]
    held_out: usize,
    /// The `peft-bench` binary, instead of building it
    #[arg(long, value_name = "PATH")]
    bench_binary: Option<PathBuf>,
    /// Folder for the result, instead of docs/benchmarks
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const COUNTS: [usize; 5] = [100, 400, 1200, 2400, 9600];

#[derive(Debug, Deserialize, Serialize)]
struct Share {
    select: String,
    count: usize,
    mean: f64,
    least: Option<f64>,
    most: Option<f64>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let commit = Machine::look().commit;
    let data = fetch::everything()?;
    let binary = match &arguments.bench_binary {
        Some(path) => path.clone(),
        None => workspace::build("peft-bench", true)?,
    };
    let mut server = Server::start("peft", &mut Command::new(binary))?;
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| workspace::root().join("docs/benchmarks"));
    if arguments.only != Some(Part::Sdctft) {
        concentration::run(&mut server, &data, &out, &commit)?;
    }
    if arguments.only == Some(Part::Sparsegrad) {
        return Ok(());
    }
    let answer = server.ask(&json!({
        "op": "energy",
        "model": data.join("minilm"),
        "data": data.join("rotten_tomatoes/fit.csv"),
        "max_length": 64,
        "batch": 32,
        "probe": arguments.probe,
        "held_out": arguments.held_out,
        "counts": COUNTS,
        "targets": ["query", "value"],
    }))?;
    let modules = answer["modules"].as_u64().unwrap_or_default();
    let shares: Vec<Share> =
        serde_json::from_value(answer["shares"].clone()).context("not the shares expected")?;
    let json = json!({
        "commit": commit,
        "probe": arguments.probe,
        "held_out": arguments.held_out,
        "modules": modules,
        "shares": shares,
    });
    let name = |ending: &str| out.join(format!("gradient-energy.{ending}"));
    files::write_atomic(&name("json"), pretty(&json)?.as_bytes())?;
    files::write_atomic(&name("svg"), chart(&shares).svg().as_bytes())?;
    files::write_atomic(
        &name("md"),
        markdown(arguments, &commit, modules, &shares).as_bytes(),
    )?;
    println!("{}", name("md").display());
    Ok(())
}

pub fn pretty(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value).context("cannot write the figures")? + "\n")
}

/// The rules, in the order of the figures.
fn rules(shares: &[Share]) -> Vec<&str> {
    let mut rules: Vec<&str> = Vec::new();
    for share in shares {
        if !rules.contains(&share.select.as_str()) {
            rules.push(&share.select);
        }
    }
    rules
}

fn chart(shares: &[Share]) -> Chart {
    let series = rules(shares).into_iter().enumerate();
    let series = series.map(|(colour, rule)| Series {
        name: rule.to_owned(),
        colour,
        points: shares
            .iter()
            .filter(|share| share.select == rule)
            .map(|share| (share.count as f64, share.mean))
            .collect(),
        look: Look::Dots,
    });
    Chart {
        title: "Held-out gradient energy inside the support, by number of coefficients".into(),
        across: Across::Numbers {
            name: "trained coefficients of a weight".into(),
            logarithmic: true,
        },
        axis: "share".into(),
        bounds: (0.0, 1.0),
        series: series.collect(),
        mark: None,
    }
}

fn markdown(arguments: &Arguments, commit: &str, modules: u64, shares: &[Share]) -> String {
    let mut text = format!(
        "# How much of the gradient a support holds\n\n<!-- Written by `cargo xtask bench gradient-energy`; changes by \
         hand are lost. -->\n\nThe share of the energy (sum of squares) of the loss's gradient, in the cosine spectrum of \
         a weight, that lies in the places that sDCTFT would train. MiniLM with a fresh head on rotten tomatoes; mean of \
         {modules} weights (queries and values; least to most in parentheses); gradient over {} batches of 32 rows that no \
         rule has seen, `grad` looks at {} others, `product` takes half of the crossings of √2n rows and columns. `best` are the strongest places of the held-out gradient itself, which \
         no rule can know. Commit {commit}; figures: [gradient-energy.json](gradient-energy.json).\n\n\
         ![Shares by number of coefficients](gradient-energy.svg)\n\n| coefficients | of all |",
        arguments.held_out, arguments.probe,
    );
    let rules = rules(shares);
    for rule in &rules {
        let _ = write!(text, " {rule} |");
    }
    text.push_str("\n|--:|--:|");
    text.push_str(&"--:|".repeat(rules.len()));
    for count in COUNTS {
        let all = count as f64 / (384.0 * 384.0);
        let _ = write!(text, "\n| {count} | {:.2} % |", all * 100.0);
        for rule in &rules {
            let share = shares
                .iter()
                .find(|share| share.select == *rule && share.count == count);
            let Some(share) = share else {
                text.push_str(" – |");
                continue;
            };
            let _ = write!(text, " {:.1} %", share.mean * 100.0);
            if let (Some(least), Some(most)) = (share.least, share.most) {
                let _ = write!(text, " ({:.1}–{:.1})", least * 100.0, most * 100.0);
            }
            text.push_str(" |");
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_shows_the_figures_beside_it() {
        crate::bench::expect_plot("gradient-energy", |figures| {
            let shares: Vec<Share> = serde_json::from_value(figures["shares"].clone()).unwrap();
            chart(&shares).svg()
        });
    }
}
