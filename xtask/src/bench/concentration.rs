//! `cargo xtask bench gradient-energy`: how much of the gradient of batches that no basis has seen its strongest
//! entries hold, in the weight's own coordinates and in SparseGrad's.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use peft_plot::{Across, Chart, Look, Series};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::energy::pretty;
use super::server::Server;
use crate::files;

/// Shares of a weight's entries.
const ENTRIES: [f64; 6] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05];
/// Batches that the bases are made of, as many as SparseGrad's default, and batches that they are judged by.
const BATCHES: [usize; 2] = [11, 8];

#[derive(Debug, Deserialize, Serialize)]
struct Share {
    basis: String,
    entries: f64,
    mean: f64,
    least: f64,
    most: f64,
}

pub fn run(server: &mut Server, data: &Path, out: &Path, commit: &str) -> Result<()> {
    let [probe, held_out] = BATCHES;
    let answer = server.ask(&json!({
        "op": "concentration",
        "model": data.join("minilm"),
        "data": data.join("rotten_tomatoes/fit.csv"),
        "max_length": 64,
        "batch": 32,
        "probe": probe,
        "held_out": held_out,
        "shares": ENTRIES,
        "targets": [r".*\.layer\.\d+\.(intermediate|output)\.dense"],
    }))?;
    let modules = answer["modules"].as_u64().unwrap_or_default();
    let shares: Vec<Share> =
        serde_json::from_value(answer["shares"].clone()).context("not the shares expected")?;
    let json = json!({
        "commit": commit,
        "probe": probe,
        "held_out": held_out,
        "modules": modules,
        "shares": shares,
    });
    let name = |ending: &str| out.join(format!("gradient-concentration.{ending}"));
    files::write_atomic(&name("json"), pretty(&json)?.as_bytes())?;
    files::write_atomic(&name("svg"), chart(&shares).svg().as_bytes())?;
    files::write_atomic(&name("md"), markdown(commit, modules, &shares).as_bytes())?;
    println!("{}", name("md").display());
    Ok(())
}

/// The bases, in the order of the figures.
const BASES: [&str; 5] = [
    "original",
    "released code",
    "hosvd, leading window",
    "hosvd",
    "hosvd of each layer",
];

fn of<'a>(shares: &'a [Share], basis: &str) -> impl Iterator<Item = &'a Share> {
    shares.iter().filter(move |share| share.basis == basis)
}

fn chart(shares: &[Share]) -> Chart {
    let series = BASES.iter().enumerate().map(|(colour, basis)| Series {
        name: (*basis).to_owned(),
        colour,
        points: of(shares, basis)
            .map(|share| (share.entries * 100.0, share.mean))
            .collect(),
        look: Look::Dots,
    });
    Chart {
        title: "Held-out gradient energy in the strongest entries, by percent of all entries"
            .into(),
        across: Across::Numbers {
            name: "entries, in percent of all".into(),
            logarithmic: true,
        },
        axis: "share".into(),
        bounds: (0.0, 1.0),
        series: series.collect(),
        mark: None,
    }
}

fn markdown(commit: &str, modules: u64, shares: &[Share]) -> String {
    let [probe, held_out] = BATCHES;
    let mut text = format!(
        "# How concentrated gradients are in SparseGrad's bases\n\n<!-- Written by `cargo xtask bench gradient-energy`; \
         changes by hand are lost. -->\n\nThe share of the energy (sum of squares) of the loss's gradient to a weight that \
         its strongest entries hold: in the weight's own coordinates (*original*), in the bases that SparseGrad makes of {probe} \
         batches of 32 rows and shares between layers of a type (*hosvd*), in bases of {probe} batches of each layer alone (the first \
         500 vectors of each side), and in the coordinates that the paper's released code comes to, where the basis of the \
         inputs is turned the wrong way. *Leading window*: not the strongest entries, but as many in the first rows and columns, \
         which no gradient chooses. Means over {held_out} other batches and {modules} weights of MiniLM's feed-forward layers \
         (384 and 1,536 wide), with a fresh head on rotten tomatoes; least to most in parentheses. Commit {commit}; figures: \
         [gradient-concentration.json](gradient-concentration.json).\n\nNot measured at the shapes of BERT-base (768 and 3,072 \
         wide): no package that this project fetches holds such a checkpoint, and gradients of random weights say nothing \
         about trained ones.\n\n![Shares by percent of entries](gradient-concentration.svg)\n\n| entries |",
    );
    for basis in BASES {
        let _ = write!(text, " {basis} |");
    }
    text.push_str("\n|--:|");
    text.push_str(&"--:|".repeat(BASES.len()));
    for entries in ENTRIES {
        let _ = write!(text, "\n| {} % |", entries * 100.0);
        for basis in BASES {
            match of(shares, basis).find(|share| share.entries == entries) {
                Some(share) => {
                    let [mean, least, most] =
                        [share.mean, share.least, share.most].map(|share| share * 100.0);
                    let _ = write!(text, " {mean:.1} % ({least:.1}–{most:.1}) |");
                }
                None => text.push_str(" – |"),
            }
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
        crate::bench::expect_plot("gradient-concentration", |figures| {
            let shares: Vec<Share> = serde_json::from_value(figures["shares"].clone()).unwrap();
            chart(&shares).svg()
        });
    }
}
