//! The report of a study: README.md and its plots, written from the committed results alone.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::definition::{Checkpoint, ClaimKind, Protocol, Rates, Study};
use super::plots::{self, grouped};
use super::rows;
use super::runner::Progress;
use super::statistics::RESAMPLES;
use super::summary::{ArmSummary, EQUAL_WITHIN, Finding, find};
use super::verdict::holm;
use crate::files;

/// How a report begins.
pub fn head(name: &str, title: &str, question: &str) -> String {
    format!(
        "# {title}\n\n{}\n\n<!-- Written by `cargo xtask study {name}`; changes by hand are lost. -->\n\n",
        question.trim()
    )
}

pub fn write(study: &Study, arms: &[Progress], docs: &Path) -> Result<()> {
    let summaries: Vec<ArmSummary> = arms.iter().filter_map(ArmSummary::of).collect();
    let mut text = head(&study.name, &study.title, &study.question);
    protocol(&mut text, study);
    if summaries.is_empty() {
        text.push_str("\nNo run has finished.\n");
        return files::write_atomic(&docs.join("README.md"), text.as_bytes());
    }
    if !study.samples.is_empty() {
        text.push_str(&rows::table(study, &summaries));
    }
    table(&mut text, study, &summaries);
    rates(&mut text, study, arms);
    missing(&mut text, study, arms);
    claims(&mut text, study, arms)?;
    let accuracy = plots::accuracy(&study.title, &summaries);
    files::write_atomic(&docs.join("accuracy.svg"), accuracy.as_bytes())?;
    text.push_str("\n## Plots\n\n");
    if study.samples.is_empty() {
        let parameters = plots::parameters(&study.title, &summaries);
        files::write_atomic(&docs.join("parameters.svg"), parameters.as_bytes())?;
        text.push_str(
            "![Accuracy of each arm](accuracy.svg)\n\n\
             ![Accuracy against trained parameters](parameters.svg)\n",
        );
    } else {
        let plot = rows::plot(study, &summaries);
        files::write_atomic(&docs.join("rows.svg"), plot.as_bytes())?;
        text.push_str(
            "![Accuracy against rows](rows.svg)\n\n![Accuracy of each arm](accuracy.svg)\n",
        );
    }
    files::write_atomic(&docs.join("README.md"), text.as_bytes())
}

fn protocol(text: &mut String, study: &Study) {
    let training = &study.training;
    let size = match (study.protocol, study.samples.is_empty()) {
        (Protocol::Small, true) => "small: 2,000 rows to fit, 400 to select",
        (Protocol::Full, true) => "full: all rows but a tenth to fit, that tenth to select",
        (Protocol::Small, false) => "samples of `fit.csv` to fit, 400 other rows to select",
        (Protocol::Full, false) => "samples of `fit.csv` to fit, a tenth of all rows to select",
    };
    let rates = match study.rates {
        Rates::Sweep => {
            "each arm's learning rate is chosen on the selection split with the first seed"
        }
        Rates::Fixed => "the learning rate of each arm is fixed beforehand",
    };
    let length = match training.epochs {
        Some(epochs) => format!("{epochs} epochs"),
        None => {
            let samples = study.samples.iter().map(|sample| {
                let (rows, epochs) = (grouped(sample.rows as u64), sample.epochs);
                format!(
                    "{rows} ({epochs} epochs, selection every {})",
                    sample.select_epochs
                )
            });
            let samples: Vec<String> = samples.collect();
            format!(
                "{} rows drawn anew for each seed and the same for all arms",
                samples.join(", ")
            )
        }
    };
    let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
    let _ = write!(
        text,
        "## Protocol\n\n- Data `{}`, {size}; the report split chooses nothing.\n- Model `{}`, at most \
         {} tokens, batches of {}, {length}, seeds {}, {} {}.\n- AdamW, head at {}, weight \
         decay {}, {} schedule, warm-up over {} of the steps, gradient norm at most {}; {rates}.\n- \
         Settings in full: [study.toml](study.toml); raw results: [runs](runs).\n",
        study.data,
        study.model,
        training.max_length,
        training.batch_size,
        seeds.join(", "),
        training.threads,
        if training.threads == 1 {
            "thread"
        } else {
            "threads"
        },
        heads(study),
        training.weight_decay,
        training.schedule,
        training.warmup,
        training.clip,
    );
}

/// The rates of the head: the study's, and those of arms with their own.
fn heads(study: &Study) -> String {
    let mut rates: Vec<f64> = Vec::new();
    for arm in &study.arms {
        let rate = arm
            .head_learning_rate
            .unwrap_or(study.training.head_learning_rate);
        if !rates.contains(&rate) {
            rates.push(rate);
        }
    }
    match rates.as_slice() {
        [one] => format!("{one:e}"),
        _ => {
            let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:e}")).collect();
            format!("{} (by arm)", rates.join(", "))
        }
    }
}

fn table(text: &mut String, study: &Study, arms: &[ArmSummary]) {
    // Older results do not know it.
    let optimizer = arms.iter().any(|arm| arm.optimizer.is_some());
    let (name, rule) = match optimizer {
        true => (" optimizer, kB |", "--:|"),
        false => ("", ""),
    };
    let _ = write!(
        text,
        "\n## Results\n\n| arm | engine, method | runs | trained | bytes | rate | selection % \
         | report %, last | report %, kept | step, ms | tokens/s | peak, MB |{name}\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|{rule}\n",
    );
    for arm in arms {
        // Times of a shared machine would be compared with those of a quiet one.
        let times = match arm.contended {
            true => "– † | – †".to_owned(),
            false => format!("{:.1} | {:.0}", arm.step_time_s * 1e3, arm.tokens_per_s),
        };
        let scaled = |bytes: Option<u64>, unit: f64| {
            bytes.map_or_else(
                || "–".to_owned(),
                |bytes| grouped((bytes as f64 / unit).round() as u64),
            )
        };
        let _ = write!(
            text,
            "| {} | {}, {} | {} of {} | {} | {} | {:e} | {:.2} | {} | {} | {times} | {} ({}) |",
            arm.name,
            arm.engine,
            arm.method,
            arm.runs,
            study.seeds.len(),
            grouped(arm.trained),
            grouped(arm.bytes),
            arm.rate,
            arm.selection * 100.0,
            arm.last.words(),
            arm.kept.words(),
            scaled(arm.peak_anonymous, 1e6),
            scaled(arm.peak_resident, 1e6),
        );
        if optimizer {
            let _ = write!(text, " {} |", scaled(arm.optimizer, 1e3));
        }
        text.push('\n');
    }
    text.push_str(
        "\nTrained parameters leave out the head, bytes are those of `adapter_model.safetensors` with \
         it. Accuracies are means over the seeds ± their standard deviation; *last* is the last step, \
         *kept* the epoch of the best selection accuracy. Steps, tokens (without padding) and peaks are \
         of training; the peak is of anonymous memory, in parentheses of all resident memory.\n",
    );
    if optimizer {
        text.push_str(
            "\nThe optimizer's bytes are what is remembered from step to step: moments, of the head, too, \
             ages and places.\n",
        );
    }
    if arms.iter().any(|arm| arm.contended) {
        text.push_str("\n† Other work shared the machine, so that no time was measured.\n");
    }
}

/// What each rate came to on the first seed: whether the best lies inside of what was tried.
fn rates(text: &mut String, study: &Study, arms: &[Progress]) {
    if study.rates != Rates::Sweep {
        return;
    }
    text.push_str(
        "\n## Learning rates\n\nSelection accuracy in per cent, and mean training loss of the last \
         epoch, of the first seed at each rate; the chosen one in bold.\n\n| arm | rates |\n|---|---|\n",
    );
    for progress in arms {
        let tried = progress.swept.iter().filter_map(|(rate, outcome)| {
            let loss = outcome.epochs.last()?.train_loss;
            let accuracy = outcome.selection_accuracy() * 100.0;
            let mark = if progress.rate == Some(*rate) {
                "**"
            } else {
                ""
            };
            Some(format!("{mark}{rate:e}: {accuracy:.2} ({loss:.3}){mark}"))
        });
        let tried: Vec<String> = tried.collect();
        let _ = writeln!(text, "| {} | {} |", progress.arm.name, tried.join(", "));
    }
}

fn missing(text: &mut String, study: &Study, arms: &[Progress]) {
    for progress in arms
        .iter()
        .filter(|progress| progress.outcomes.len() < study.seeds.len())
    {
        let _ = writeln!(
            text,
            "\n**Incomplete**: {} has {} of {} runs; `cargo xtask study {}` goes on with it.",
            progress.arm.name,
            progress.outcomes.len(),
            study.seeds.len(),
            study.name
        );
    }
}

fn claims(text: &mut String, study: &Study, arms: &[Progress]) -> Result<()> {
    if study.claims.is_empty() {
        return Ok(());
    }
    let _ = write!(
        text,
        "\n## Claims\n\nPaired bootstrap over rows and seeds, {} resamples, with Holm's correction over the {} claims. \
         *Equal*: the difference lies within ±{} point; *better*: above 0. A claim is *shown*, or *refuted* where its \
         contrary is shown, or *undecided*; intervals are of each difference by itself.\n\n\
         | claim | checkpoint | difference, points | 95 % interval | verdict |\n|---|---|--:|--:|---|\n",
        grouped(RESAMPLES as u64),
        study.claims.len(),
        EQUAL_WITHIN * 100.0
    );
    let findings: Vec<Option<Finding>> = study
        .claims
        .iter()
        .map(|claim| find(study, arms, claim))
        .collect::<Result<_>>()?;
    let chances: Vec<_> = findings
        .iter()
        .map(|finding| finding.as_ref().map(|finding| finding.chances))
        .collect();
    let judged = findings.iter().zip(holm(&chances));
    for (claim, (finding, verdict)) in study.claims.iter().zip(judged) {
        let words = match claim.kind {
            ClaimKind::Equal => "equal to",
            ClaimKind::Better => "better than",
        };
        let checkpoint = if claim.checkpoint == Checkpoint::Last {
            "last"
        } else {
            "kept"
        };
        let row = match (finding, verdict) {
            (Some(Finding { difference, .. }), Some(verdict)) => format!(
                "{:+.2} | {:+.2} … {:+.2} | {}",
                difference.mean * 100.0,
                difference.low * 100.0,
                difference.high * 100.0,
                verdict.words()
            ),
            _ => "– | – | runs are missing".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} {words} {} | {checkpoint} | {row} |",
            claim.arm, claim.against
        );
    }
    Ok(())
}
