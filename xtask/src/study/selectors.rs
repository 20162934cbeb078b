//! The study of selectors: a program that trains every choice of a toy, and a page about the ranks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::program;
use crate::files;

/// The name of the study.
pub const NAME: &str = "ssm-selectors";

/// What the program prints.
#[derive(Serialize, Deserialize)]
struct Results {
    /// Steps that every choice is trained for.
    steps: usize,
    /// Seconds that all of it took, on one core.
    #[serde(default)]
    seconds: f64,
    toys: Vec<Toy>,
}

#[derive(Serialize, Deserialize)]
struct Toy {
    name: String,
    /// How many choices there are.
    choices: usize,
    instances: Vec<Instance>,
}

#[derive(Serialize, Deserialize)]
struct Instance {
    seed: u64,
    frozen_loss: f64,
    best: f64,
    median: f64,
    worst: f64,
    selectors: Vec<Selected>,
}

#[derive(Serialize, Deserialize)]
struct Selected {
    selector: String,
    rank: usize,
    area: f64,
    choice: Vec<Vec<usize>>,
}

/// Train what is to be trained, or read what was found, and write the page.
pub fn run(docs: &Path, report_only: bool) -> Result<()> {
    let path = docs.join("results.json");
    let results = match report_only {
        true => serde_json::from_str(&files::read(&path)?)
            .with_context(|| format!("{} is not what the study writes", path.display()))?,
        false => {
            let start = Instant::now();
            let mut results: Results = program::figures("selectors", None, 1, &[])?;
            results.seconds = start.elapsed().as_secs_f64().round();
            let mut text = serde_json::to_string_pretty(&results)?;
            text.push('\n');
            files::write_atomic(&path, text.as_bytes())?;
            results
        }
    };
    ensure!(
        results.toys.iter().all(|toy| !toy.instances.is_empty()),
        "{} has a toy without instances",
        path.display()
    );
    let page = docs.join("README.md");
    files::write_atomic(&page, page_of(&results).as_bytes())?;
    println!("{}", page.display());
    Ok(())
}

/// Ranks of each selector in a toy, in the order of the first instance.
fn ranks(toy: &Toy) -> Vec<(&str, Vec<usize>)> {
    let first = toy.instances.first().into_iter();
    let names = first.flat_map(|one| one.selectors.iter().map(|s| s.selector.as_str()));
    names
        .map(|name| {
            let all = toy.instances.iter().flat_map(|one| &one.selectors);
            let own = all.filter(|s| s.selector == name);
            (name, own.map(|s| s.rank).collect())
        })
        .collect()
}

fn mean_share(ranks: &[usize], choices: usize) -> f64 {
    let sum: usize = ranks.iter().sum();
    100.0 * sum as f64 / (ranks.len() * choices) as f64
}

fn page_of(results: &Results) -> String {
    let mut page = String::from(INTRODUCTION);
    let _ = writeln!(
        page,
        "Every choice is trained for {} steps from the same model on the same rows, {} instances of each toy; all of it took {} s \
         on one core.\n",
        results.steps,
        results.toys.first().map_or(0, |toy| toy.instances.len()),
        results.seconds
    );
    let mut shares: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for toy in &results.toys {
        let _ = writeln!(page, "## `{}`: {} choices\n", toy.name, toy.choices);
        let seeds: Vec<String> = toy
            .instances
            .iter()
            .map(|one| format!("seed {}", one.seed))
            .collect();
        let _ = writeln!(page, "| selector | {} | mean rank, % |", seeds.join(" | "));
        let _ = writeln!(page, "|---|{}--:|", "--:|".repeat(seeds.len()));
        let mut rows = ranks(toy);
        rows.sort_by(|a, b| {
            mean_share(&a.1, toy.choices).total_cmp(&mean_share(&b.1, toy.choices))
        });
        for (name, own) in &rows {
            let share = mean_share(own, toy.choices);
            shares.entry(name).or_default().push(share);
            let cells: Vec<String> = own.iter().map(usize::to_string).collect();
            let _ = writeln!(page, "| `{name}` | {} | {share:.1} |", cells.join(" | "));
        }
        let _ = writeln!(
            page,
            "\nMean loss over the steps of the best choice, the median and the worst, and the frozen model's loss:\n"
        );
        let _ = writeln!(
            page,
            "| | best | median | worst | frozen |\n|---|--:|--:|--:|--:|"
        );
        for one in &toy.instances {
            let _ = writeln!(
                page,
                "| seed {} | {:.4} | {:.4} | {:.4} | {:.4} |",
                one.seed, one.best, one.median, one.worst, one.frozen_loss
            );
        }
        page.push('\n');
    }
    let best = shares
        .iter()
        .filter(|(_, shares)| shares.iter().all(|share| *share <= 10.0));
    let best: Vec<String> = best.map(|(name, _)| format!("`{name}`")).collect();
    let _ = writeln!(
        page,
        "In the best tenth of the choices in both toys, on average: {}.",
        match best.is_empty() {
            true => "none".into(),
            false => best.join(", "),
        }
    );
    page
}

const INTRODUCTION: &str = "# Which selector finds the channels and states that are worth training?

<!-- Written by `cargo xtask study ssm-selectors`; changes by hand are lost. -->

The toys of the released code of the paper of SDLoRA ([2410.09016](https://arxiv.org/abs/2410.09016)), in which all choices can be
tried: a deep S4 model of theory with four channels, pretrained for 50 steps on what it is to learn, is tuned to a smaller one.
`keep`: two layers of two states a channel, a target of one layer and one state; of each layer two channels with one state each are
kept and trained, the others silenced. `train`: one layer of four states, a target of its size; of two channels two states each are
trained. A choice trains its entries of `A` and `C`, the columns of its channels in the layer that mixes, and all steps, skips and biases.
Choices are ranked by the mean loss over the steps: 1 is the best. The sizes are smaller than the paper's (8 rows of 50 tokens, not 4000
of 200), the instances are other ones, and there are several.

`change`, `decay`, `gradient_change`, `fisher` and `loss_change` are this repository's selectors (`sdt` and `sdlora`), with the warm-up of
20 steps that they are made for, summed over the numbers of an entry. `released` is the published criterion with its mistakes, `removal` the
published loss-based one of the frozen model; `removal_warmed` is the same behind the warm-up, `saliency` its first order, and `kept_warmed`
looks at every choice of a layer by itself. The release's own notes say of one instance: magnitude 531st and loss 175th of 576 (`keep`);
magnitude 137th, loss 43rd and gradient 167th of 180 (`train`).

";
