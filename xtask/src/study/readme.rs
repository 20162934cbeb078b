//! The report of a study: README.md and its plots, written from the committed results alone.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::definition::{Checkpoint, ClaimKind, Protocol, Rates, Study};
use super::plots::{self, grouped};
use super::runner::Progress;
use super::statistics::RESAMPLES;
use super::summary::{Accuracy, ArmSummary, EQUAL_WITHIN, judge};
use crate::files;

pub fn write(study: &Study, arms: &[Progress], docs: &Path) -> Result<()> {
    let summaries: Vec<ArmSummary> = arms.iter().filter_map(ArmSummary::of).collect();
    let mut text = format!(
        "# {}\n\n{}\n\n<!-- Written by `cargo xtask study {}`; changes by hand are lost. -->\n\n",
        study.title,
        study.question.trim(),
        study.name
    );
    protocol(&mut text, study);
    if summaries.is_empty() {
        text.push_str("\nNo run has finished.\n");
        return files::write_atomic(&docs.join("README.md"), text.as_bytes());
    }
    table(&mut text, study, &summaries);
    rates(&mut text, study, arms);
    missing(&mut text, study, arms);
    claims(&mut text, study, arms)?;
    let accuracy = plots::accuracy(&study.title, &summaries);
    let parameters = plots::parameters(&study.title, &summaries);
    files::write_atomic(&docs.join("accuracy.svg"), accuracy.as_bytes())?;
    files::write_atomic(&docs.join("parameters.svg"), parameters.as_bytes())?;
    text.push_str(
        "\n## Plots\n\n![Accuracy of each arm](accuracy.svg)\n\n\
         ![Accuracy against trained parameters](parameters.svg)\n",
    );
    files::write_atomic(&docs.join("README.md"), text.as_bytes())
}

fn protocol(text: &mut String, study: &Study) {
    let training = &study.training;
    let size = match study.protocol {
        Protocol::Small => "small: 2,000 rows to fit, 400 to select",
        Protocol::Full => "full: all rows but a tenth to fit, that tenth to select",
    };
    let rates = match study.rates {
        Rates::Sweep => {
            "each arm's learning rate is chosen on the selection split with the first seed"
        }
        Rates::Fixed => "the learning rate of each arm is fixed beforehand",
    };
    let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
    let _ = write!(
        text,
        "## Protocol\n\n- Data `{}`, {size}; the report split chooses nothing.\n- Model `{}`, at most \
         {} tokens, batches of {}, {} epochs, seeds {}, {} threads.\n- AdamW, head at {:e}, weight \
         decay {}, {} schedule, warm-up over {} of the steps, gradient norm at most {}; {rates}.\n- \
         Settings in full: [study.toml](study.toml); raw results: [runs](runs).\n",
        study.data,
        study.model,
        training.max_length,
        training.batch_size,
        training.epochs,
        seeds.join(", "),
        training.threads,
        training.head_learning_rate,
        training.weight_decay,
        training.schedule,
        training.warmup,
        training.clip,
    );
}

fn table(text: &mut String, study: &Study, arms: &[ArmSummary]) {
    text.push_str(
        "\n## Results\n\n| arm | engine, method | runs | trained | bytes | rate | selection % \
         | report %, last | report %, kept | step, ms | tokens/s | peak, MB |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for arm in arms {
        let mark = if arm.contended { " †" } else { "" };
        let megabytes = |bytes: Option<u64>| {
            bytes.map_or_else(
                || "–".to_owned(),
                |bytes| format!("{:.0}", bytes as f64 / 1e6),
            )
        };
        let _ = writeln!(
            text,
            "| {} | {}, {} | {} of {} | {} | {} | {:e} | {:.2} | {} | {} | {:.1}{mark} | {:.0}{mark} | {} ({}) |",
            arm.name,
            arm.engine,
            arm.method,
            arm.runs,
            study.seeds.len(),
            grouped(arm.trained),
            grouped(arm.bytes),
            arm.rate,
            arm.selection * 100.0,
            percent(&arm.last),
            percent(&arm.kept),
            arm.step_time_s * 1e3,
            arm.tokens_per_s,
            megabytes(arm.peak_anonymous),
            megabytes(arm.peak_resident),
        );
    }
    text.push_str(
        "\nTrained parameters leave out the head, bytes are those of `adapter_model.safetensors` with \
         it. Accuracies are means over the seeds ± their standard deviation; *last* is the last step, \
         *kept* the epoch of the best selection accuracy. Steps, tokens (without padding) and peaks are \
         of training; the peak is of anonymous memory, in parentheses of all resident memory.\n",
    );
    if arms.iter().any(|arm| arm.contended) {
        text.push_str("\n† Other work shared the machine: not a measurement of speed.\n");
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

fn percent(accuracy: &Accuracy) -> String {
    match accuracy.deviation {
        Some(deviation) => format!(
            "{:.2} ± {:.2}",
            accuracy.interval.mean * 100.0,
            deviation * 100.0
        ),
        None => format!("{:.2}", accuracy.interval.mean * 100.0),
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
        "\n## Claims\n\nPaired bootstrap over rows and seeds, {} resamples. *Equal* holds where the \
         95 % interval of the difference lies within ±{} point, *better* where it lies above 0.\n\n\
         | claim | checkpoint | difference, points | 95 % interval | verdict |\n|---|---|--:|--:|---|\n",
        grouped(RESAMPLES as u64),
        EQUAL_WITHIN * 100.0
    );
    for claim in &study.claims {
        let words = match claim.kind {
            ClaimKind::Equal => "equal to",
            ClaimKind::Better => "better than",
        };
        let checkpoint = if claim.checkpoint == Checkpoint::Last {
            "last"
        } else {
            "kept"
        };
        let row = match judge(study, arms, claim)? {
            None => "– | – | runs are missing".to_owned(),
            Some(verdict) => format!(
                "{:+.2} | {:+.2} … {:+.2} | {}",
                verdict.difference.mean * 100.0,
                verdict.difference.low * 100.0,
                verdict.difference.high * 100.0,
                if verdict.holds {
                    "**holds**"
                } else {
                    "not shown"
                }
            ),
        };
        let _ = writeln!(
            text,
            "| {} {words} {} | {checkpoint} | {row} |",
            claim.arm, claim.against
        );
    }
    Ok(())
}
