//! The report of a study of language models, written from the committed results alone.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use peft_plot::{Across, Anchor, COLOURS, Chart, Drawing, FAINT, INK, Look, Scale, Series};

use super::Standing;
use super::definition::{ClaimKind, Study};
use super::judge::{self, CURVE, EQUAL, Estimate, Ratios};
use super::material::Data;
use super::outcome::{Outcome, RowLosses};
use crate::files;
use crate::study::definition::{Engine, Rates};
use crate::study::plots::grouped;
use crate::study::readme::head;
use crate::study::statistics::{RESAMPLES, deviation, mean, median};
use crate::study::verdict::{Verdict, holm};

/// An arm's report rows, seed by seed, with those of the arm that it is held against.
fn pairs<'a>(
    arm: &'a Standing,
    against: &'a Standing,
) -> Option<(Vec<&'a RowLosses>, Vec<&'a RowLosses>)> {
    let pairs: Vec<(&RowLosses, &RowLosses)> = arm
        .outcomes
        .iter()
        .filter_map(|left| {
            let right = against
                .outcomes
                .iter()
                .find(|right| right.seed == left.seed)?;
            Some((left.report.as_ref()?, right.report.as_ref()?))
        })
        .collect();
    (!pairs.is_empty()).then(|| pairs.into_iter().unzip())
}

fn ratios(arm: &Standing, against: &Standing) -> Result<Option<Ratios>> {
    let pairs = pairs(arm, against);
    pairs
        .map(|(left, right)| Ratios::new(&left, &right))
        .transpose()
}

pub fn write(
    study: &Study,
    arms: &[Standing],
    unadapted: Option<&RowLosses>,
    docs: &Path,
) -> Result<()> {
    let mut text = head(&study.name, &study.title, &study.question);
    protocol(&mut text, study);
    if !study.remarks.is_empty() {
        let _ = write!(text, "\n## Remarks\n\n{}\n", study.remarks.trim());
    }
    let estimates: Vec<Option<Estimate>> = arms
        .iter()
        .map(|arm| Ok(ratios(arm, &arms[0])?.map(|ratios| ratios.estimate)))
        .collect::<Result<_>>()?;
    table(&mut text, study, arms, &estimates, unadapted);
    rates(&mut text, study, arms);
    incomplete(&mut text, study, arms);
    claims(&mut text, study, arms)?;
    text.push_str("\n## Plots\n\n");
    if arms.iter().any(|arm| !arm.outcomes.is_empty()) {
        let plot = perplexities(study, arms, &estimates);
        files::write_atomic(&docs.join("perplexity.svg"), plot.as_bytes())?;
        text.push_str("![Ratio of perplexities](perplexity.svg)\n");
    }
    let plot = losses(study, arms).svg();
    files::write_atomic(&docs.join("losses.svg"), plot.as_bytes())?;
    text.push_str("\n![Losses of the steps](losses.svg)\n");
    files::write_atomic(&docs.join("README.md"), text.as_bytes())
}

fn incomplete(text: &mut String, study: &Study, arms: &[Standing]) {
    let missing = arms.iter().filter_map(|arm| {
        let (tried, rates) = (arm.swept.len(), study.rates_of(arm.arm).len());
        let (measured, seeds) = (arm.outcomes.len(), study.seeds.len());
        let words = match arm.rate {
            None => format!("{} ({tried} of {rates} rates tried)", arm.arm.name),
            Some(_) => format!("{} ({measured} of {seeds} seeds measured)", arm.arm.name),
        };
        (measured < seeds).then_some(words)
    });
    let missing: Vec<String> = missing.collect();
    if !missing.is_empty() {
        let _ = writeln!(
            text,
            "\n**Incomplete**: {}. `cargo xtask study {}` goes on.",
            missing.join(", "),
            study.name
        );
    }
}

fn protocol(text: &mut String, study: &Study) {
    let training = &study.training;
    let rates = match study.rates {
        Rates::Sweep => format!(
            "each arm's learning rate is chosen by the loss of {} selection rows with the first seed",
            study.data.selection()
        ),
        Rates::Fixed => "the learning rate of each arm is fixed beforehand".to_owned(),
    };
    let shared = match study.is_against_reference() {
        true => {
            "\n- Both engines begin with the same adapter, which PEFT initialises anew for each seed, and see the \
             same batches of the same tokens."
        }
        false => "",
    };
    let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
    let _ = write!(
        text,
        "## Protocol\n\n- Model: {}.\n- Data: {}. Loss and \
         perplexity are those of the completions' tokens.\n- {} steps of \
         {} rows, at most {} tokens a row, seeds {}.\n- AdamW, weight decay {}, {} schedule, warm-up over {} of the \
         steps, gradient norm at most {}; {rates}.{shared}\n- Settings in full: [study.toml](study.toml); raw results: \
         [runs](runs).\n",
        study.model_words(),
        study.data.words(),
        training.steps,
        training.batch_size,
        training.max_length,
        seeds.join(", "),
        training.weight_decay,
        training.schedule,
        training.warmup,
        training.clip,
    );
}

fn perplexity(outcomes: &[Outcome]) -> Option<String> {
    let values: Vec<f64> = outcomes
        .iter()
        .filter_map(|outcome| Some(outcome.report.as_ref()?.perplexity()))
        .collect();
    if values.is_empty() {
        return None;
    }
    Some(match deviation(&values) {
        Some(deviation) => format!("{:.3} ± {deviation:.3}", mean(&values)),
        None => format!("{:.3}", mean(&values)),
    })
}

/// Accuracies behind a perplexity, in points.
fn accuracy(outcomes: &[Outcome]) -> Option<String> {
    let values: Option<Vec<f64>> = outcomes
        .iter()
        .map(|outcome| Some(100.0 * outcome.report.as_ref()?.accuracy()?))
        .collect();
    let values = values.filter(|values| !values.is_empty())?;
    Some(match deviation(&values) {
        Some(deviation) => format!("{:.1} ± {deviation:.1}", mean(&values)),
        None => format!("{:.1}", mean(&values)),
    })
}

fn ratio_words(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(
        || "–".to_owned(),
        |Estimate { value, low, high }| format!("{value:.3} ({low:.3} … {high:.3})"),
    )
}

fn table(
    text: &mut String,
    study: &Study,
    arms: &[Standing],
    estimates: &[Option<Estimate>],
    unadapted: Option<&RowLosses>,
) {
    let first = &arms[0].arm.name;
    let chosen = study.data == Data::FileTypes;
    let _ = write!(
        text,
        "\n## Results\n\n| arm | engine, method | runs | trained | bytes | rate | selection loss | report perplexity \
         | by {first}'s (95 %) | step, ms |{}\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|{}\n",
        if chosen { " right, % |" } else { "" },
        if chosen { "--:|" } else { "" },
    );
    if let Some(rows) = unadapted {
        let _ = writeln!(
            text,
            "| the model as it is | – | – | 0 | – | – | – | {:.3} | – | – |{}",
            rows.perplexity(),
            rows.accuracy()
                .map_or_else(String::new, |share| format!(" {:.1} |", 100.0 * share))
        );
    }
    for (arm, estimate) in arms.iter().zip(estimates) {
        let Some(run) = arm.outcomes.first().or_else(|| arm.swept.first()) else {
            continue;
        };
        let selection = arm.outcomes.first().and_then(|run| run.selection_loss);
        let times: Vec<f64> = arm.outcomes.iter().map(|run| run.step_time_s).collect();
        let contended = arm.outcomes.iter().any(|run| run.contended);
        let time = match times.is_empty() || contended {
            true => "†".to_owned(),
            false => format!("{:.0}", 1e3 * median(&times)),
        };
        let _ = writeln!(
            text,
            "| {} | {}, {} | {} of {} | {} | {} | {} | {} | {} | {} | {time} |{}",
            arm.arm.name,
            arm.arm.engine.name(),
            arm.arm.method,
            arm.outcomes.len(),
            study.seeds.len(),
            grouped(run.trainable_parameters),
            grouped(run.adapter_bytes),
            arm.rate
                .map_or_else(|| "–".to_owned(), |rate| format!("{rate:e}")),
            selection.map_or_else(|| "–".to_owned(), |loss| format!("{loss:.4}")),
            perplexity(&arm.outcomes).unwrap_or_else(|| "–".to_owned()),
            ratio_words(*estimate),
            match chosen {
                true => format!(
                    " {} |",
                    accuracy(&arm.outcomes).unwrap_or_else(|| "–".into())
                ),
                false => String::new(),
            },
        );
    }
    text.push_str(
        "\nPerplexities are exp of the mean loss over all report tokens, means over the seeds ± their standard \
         deviation, after the last step. Ratios are paired over rows and seeds, with the seeds that both arms have.\n",
    );
    if arms
        .iter()
        .flat_map(|arm| &arm.outcomes)
        .any(|run| run.contended)
    {
        text.push_str("\n† Other work shared the machine: its times are no measurement.\n");
    }
}

fn rates(text: &mut String, study: &Study, arms: &[Standing]) {
    if study.rates != Rates::Sweep {
        return;
    }
    text.push_str(
        "\n## Learning rates\n\nSelection loss of the first seed at each rate; the chosen one in bold, once all are \
         there.\n\n| arm | rates |\n|---|---|\n",
    );
    for arm in arms {
        let tried = arm.swept.iter().filter_map(|run| {
            let mark = match arm.rate == Some(run.learning_rate) {
                true => "**",
                false => "",
            };
            let loss = run.selection_loss?;
            Some(format!("{mark}{:e}: {loss:.4}{mark}", run.learning_rate))
        });
        let tried: Vec<String> = tried.collect();
        let _ = writeln!(text, "| {} | {} |", arm.arm.name, tried.join(", "));
    }
}

fn claims(text: &mut String, study: &Study, arms: &[Standing]) -> Result<()> {
    if study.claims.is_empty() {
        return Ok(());
    }
    let [low, high] = EQUAL;
    let accurate = match study.data {
        Data::FileTypes => {
            "*more accurate*: the difference of the shares of right answers is above 0; "
        }
        Data::WordProblems => "",
    };
    let _ = write!(
        text,
        "\n## Claims\n\nPaired bootstrap over rows and seeds, {} resamples, with Holm's correction over the {} claims \
         (one about curves is a bound and needs none). *Equal*: the ratio of perplexities lies within {low} to {high}; \
         *better*: below 1; {accurate}*the same curve*: the losses of each step differ by at most {CURVE}, at every seed. A claim is \
         judged when all its runs are there.\n\n| claim | found | 95 % interval | verdict |\n|---|--:|--:|---|\n",
        grouped(RESAMPLES as u64),
        study.claims.len(),
    );
    let find = |name: &str| {
        arms.iter()
            .find(|arm| arm.arm.name == name && arm.outcomes.len() == study.seeds.len())
    };
    let mut chances = Vec::new();
    let mut found = Vec::new();
    for claim in &study.claims {
        let pair = find(&claim.arm).zip(find(&claim.against));
        let curve = claim.kind == ClaimKind::Curve;
        if claim.kind == ClaimKind::Accurate {
            let rows = pair.and_then(|(arm, against)| pairs(arm, against));
            let judged = rows.map(|(left, right)| judge::accuracies(&left, &right));
            let (estimate, chance) = judged.transpose()?.unzip();
            chances.push(chance);
            found.push((estimate, None));
            continue;
        }
        let ratios = match pair {
            Some((arm, against)) if !curve => ratios(arm, against)?,
            _ => None,
        };
        chances.push(ratios.as_ref().map(|ratios| ratios.chances(claim.kind)));
        let largest = match pair {
            Some((arm, against)) if curve => Some(judge::curve(&arm.outcomes, &against.outcomes)?),
            _ => None,
        };
        found.push((ratios.map(|ratios| ratios.estimate), largest));
    }
    let verdicts = holm(&chances);
    for ((claim, (estimate, largest)), verdict) in study.claims.iter().zip(found).zip(verdicts) {
        let words = match claim.kind {
            ClaimKind::Equal => "equal to",
            ClaimKind::Better => "better than",
            ClaimKind::Curve => "has the same curve as",
            ClaimKind::Accurate => "more accurate than",
        };
        let row = match (estimate, largest, verdict) {
            (Some(Estimate { value, low, high }), _, Some(verdict)) => {
                format!("{value:.4} | {low:.4} … {high:.4} | {}", verdict.words())
            }
            (_, Some(largest), _) => {
                let verdict = match largest <= CURVE {
                    true => Verdict::Shown,
                    false => Verdict::Refuted,
                };
                format!("{largest:.2e} | – | {}", verdict.words())
            }
            _ => "– | – | runs are missing".to_owned(),
        };
        let _ = writeln!(text, "| {} {words} {} | {row} |", claim.arm, claim.against);
    }
    Ok(())
}

fn colour(arm: &Standing) -> &'static str {
    COLOURS[usize::from(arm.arm.engine != Engine::Peft)]
}

/// Ratios to the first arm's perplexity with their intervals.
fn perplexities(study: &Study, arms: &[Standing], estimates: &[Option<Estimate>]) -> String {
    let longest = arms.iter().map(|arm| arm.arm.name.chars().count()).max();
    let (left, right, top) = (30.0 + 7.2 * longest.unwrap_or(0) as f64, 780.0, 56.0);
    let bottom = top + 32.0 * arms.len() as f64;
    let mut drawing = Drawing::new(800.0, bottom + 56.0);
    drawing.heading((20.0, 26.0), &study.title);
    let values: Vec<f64> = estimates
        .iter()
        .flatten()
        .flat_map(|estimate| [estimate.low, estimate.high])
        .collect();
    let scale = Scale::linear(&values, left, right);
    for tick in scale.ticks() {
        let x = scale.place(tick);
        drawing.line((x, top), (x, bottom), FAINT, 1.0);
        let label = format!("{}", (tick * 1e4).round() / 1e4);
        drawing.text((x, bottom + 19.0), &label, Anchor::Middle, 12.0);
    }
    drawing.line((left, bottom), (right, bottom), INK, 1.0);
    drawing.dashes(scale.place(1.0), top, bottom, INK);
    let axis = format!(
        "perplexity of the report rows over that of {}, with 95 % interval; lower is better",
        arms[0].arm.name
    );
    drawing.text(
        ((left + right) / 2.0, bottom + 42.0),
        &axis,
        Anchor::Middle,
        12.0,
    );
    for (row, (arm, estimate)) in arms.iter().zip(estimates).enumerate() {
        let y = top + 32.0 * (row as f64 + 0.5);
        drawing.text((left - 12.0, y + 4.0), &arm.arm.name, Anchor::End, 13.0);
        let Some(Estimate { value, low, high }) = *estimate else {
            continue;
        };
        let [low, high] = [low, high].map(|value| scale.place(value));
        drawing.line((low, y), (high, y), colour(arm), 1.8);
        for end in [low, high] {
            drawing.line((end, y - 4.0), (end, y + 4.0), colour(arm), 1.8);
        }
        drawing.dot((scale.place(value), y), colour(arm), true);
    }
    drawing.finish()
}

/// Losses of the steps of the first seed, smoothed where they are of different batches.
fn losses(study: &Study, arms: &[Standing]) -> Chart {
    let span = match study.is_against_reference() {
        true => 1.0,
        false => f64::from(study.training.steps) / 10.0,
    };
    let series = arms.iter().enumerate().filter_map(|(number, arm)| {
        let run = arm.outcomes.first().or_else(|| arm.swept.first())?;
        let points: Vec<(f64, f64)> = (1..)
            .map(f64::from)
            .zip(run.losses.iter().copied())
            .collect();
        Some(Series {
            name: arm.arm.name.clone(),
            colour: number,
            look: Look::Line,
            points: peft_plot::smoothed(&points, span),
        })
    });
    Chart {
        title: format!("{}: losses of the steps", study.title),
        across: Across::Steps,
        axis: "loss".into(),
        bounds: (0.0, f64::INFINITY),
        series: series.collect(),
        mark: None,
    }
}
