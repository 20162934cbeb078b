//! The report of a study of searches, from the committed records and results alone.

use std::fmt::Write as _;

use anyhow::Result;

use super::definition::Study;
use super::finals::{AT_MOST_WORSE, DEFAULT, FOUND, Finals};
use super::front::{self, Found};
use super::record::Record;
use super::run::Tools;
use super::{plots, student};
use crate::files;
use crate::study::plots::{grouped, percent};
use crate::study::readme::head;
use crate::study::statistics::{Interval, RESAMPLES, deviation, mean};
use crate::study::summary::ArmSummary;
use crate::study::verdict::{Verdict, holm};

/// A claim with what is known of it.
struct Claim {
    words: String,
    unit: &'static str,
    /// How a difference is written.
    decimals: usize,
    finding: Option<(Interval, [f64; 2])>,
}

pub fn write(study: &Study, tools: &Tools) -> Result<()> {
    let mut records = Vec::new();
    let mut text = head(&study.name, &study.title, &study.question);
    protocol(&mut text, study);
    let searches = study.searches();
    let mut missing = String::new();
    for search in &searches {
        match search.finished(study, tools)? {
            Some(record) => records.push(record),
            None => {
                let _ = writeln!(
                    missing,
                    "\n**Incomplete**: {} has {} of {} trials; `cargo xtask study {}` goes on with it.",
                    search.name(),
                    search.done(tools),
                    study.search.trials,
                    study.name
                );
            }
        }
    }
    let found = front::found(study, tools)?;
    let finals = match &found {
        Some(found) => Finals::both(study, found, tools)?,
        None => Vec::new(),
    };
    let mut claims = held_out_claims(study, &finals)?;
    claims.extend(proposer_claims(study, &records));
    text.push_str(&claims_table(&claims));
    if let Some(found) = &found {
        text.push_str(&found_section(study, found));
    }
    for finals in &finals {
        text.push_str(&finals_section(study, finals)?);
    }
    text.push_str(&searches_section(study, &records));
    text.push_str(&missing);
    text.push_str(&front_section(&records));
    if !study.remarks.trim().is_empty() {
        let _ = write!(text, "\n## Remarks\n\n{}\n", study.remarks.trim());
    }
    for (name, plot) in [
        ("hypervolume.svg", plots::volumes(study, &records)),
        ("front.svg", plots::front(study, &records)),
    ] {
        files::write_atomic(&tools.docs.join(name), plot.as_bytes())?;
    }
    files::write_atomic(&tools.docs.join("README.md"), text.as_bytes())
}

fn list(numbers: &[u64]) -> String {
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    words.join(", ")
}

fn protocol(text: &mut String, study: &Study) {
    let (search, training) = (&study.search, &study.training);
    let proposers: Vec<String> = study
        .proposers
        .iter()
        .map(|proposer| {
            let settings = proposer.settings.iter();
            let settings: Vec<String> = settings
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            match settings.is_empty() {
                true => format!("`{}`", proposer.name),
                false => format!("`{}` ({})", proposer.name, settings.join(", ")),
            }
        })
        .collect();
    let _ = write!(
        text,
        "## Protocol\n\n\
         - Searches: the space `workspace` of {} on `{}`; a trial is {} of the first {} rows of `{}`'s small fit, batches of {}, at most \
         {} tokens, no dropout, and counts by its accuracy on the tenth of the training rows that is kept for choices. Proposers: {}; \
         {} trials each, of equal steps and all to their end, with search seeds {}. All begin with LoRA as it is by default. Searches \
         share one cache of trials, and a trial from there counts as one that was run.\n\
         - Hypervolume: of accuracy and of decades of values, from the worst that counts in every search: more values than any \
         configuration has, and what the most frequent class scores.\n\
         - What was found: of `{}`'s searches, the trial of the best accuracy with at most {} values ({} % of default LoRA's); held-out rows \
         play no part in it.\n\
         - Held-out rows: it and default LoRA are trained anew by the small protocol, 2,000 rows to fit, 400 to select, batches of {}, at most \
         {} tokens, {} epochs, the checkpoint's dropout, seeds {}. On `{}`, each at half, all and twice its rate with the first seed, of which the \
         selection rows choose one; on `{}`, at these rates. The report rows are read once a run.\n\
         - Settings in full: [study.toml](study.toml); raw results: [searches](searches), [{}]({}/runs), [{}]({}/runs).\n",
        search.methods.join(", "),
        study.model,
        if search.epochs == 1 {
            "one pass".to_owned()
        } else {
            format!("{} passes", search.epochs)
        },
        grouped(search.rows as u64),
        study.data,
        search.batch_size,
        search.max_length,
        proposers.join(", "),
        search.trials,
        list(&search.seeds),
        study.proposers[0].name,
        grouped(study.most_values() as u64),
        percent(search.share),
        training.batch_size,
        training.max_length,
        training.epochs.unwrap_or_default(),
        list(&study.seeds),
        study.data,
        study.transfer,
        study.data,
        study.data,
        study.transfer,
        study.transfer,
    );
}

fn held_out_claims(study: &Study, finals: &[Finals]) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for (place, data) in [&study.data, &study.transfer].into_iter().enumerate() {
        let finding = match finals.get(place) {
            Some(finals) => finals.finding(&finals.progress()?)?,
            None => None,
        };
        claims.push(Claim {
            words: format!("{FOUND} at least equal to {DEFAULT} on `{data}`"),
            unit: "points",
            decimals: 2,
            finding: finding.map(|finding| {
                let Interval { mean, low, high } = finding.difference;
                let [mean, low, high] = [mean, low, high].map(|share| share * 100.0);
                (Interval { mean, low, high }, finding.chances)
            }),
        });
    }
    Ok(claims)
}

/// The first proposer against each other one, by the hypervolume at the end, paired by search seeds.
fn proposer_claims(study: &Study, records: &[Record]) -> Vec<Claim> {
    let (first, others) = study.proposers.split_at(1);
    let end = |name: &str, seed: u64| {
        let mut all = records.iter();
        let record = all.find(|record| record.proposer == name && record.seed == seed)?;
        record.volumes().last().copied()
    };
    others
        .iter()
        .map(|other| {
            let differences: Option<Vec<f64>> = study
                .search
                .seeds
                .iter()
                .map(|&seed| Some(end(&first[0].name, seed)? - end(&other.name, seed)?))
                .collect();
            Claim {
                words: format!("{} better than {} at the end", first[0].name, other.name),
                unit: "hypervolume",
                decimals: 4,
                finding: differences.as_deref().and_then(student::paired),
            }
        })
        .collect()
}

fn claims_table(claims: &[Claim]) -> String {
    let mut text = format!(
        "\n## Claims\n\n*At least equal*: less than {} point worse, by the weights of the last step; paired bootstrap over rows and seeds, {} \
         resamples. *Better*: a larger hypervolume; Student's interval of the differences over search seeds. Holm's correction over the {} claims; \
         a claim is *shown*, or *refuted* where its contrary is shown, or *undecided*; intervals are of each difference by itself.\n\n\
         | claim | difference | 95 % interval | verdict |\n|---|--:|--:|---|\n",
        percent(AT_MOST_WORSE),
        grouped(RESAMPLES as u64),
        claims.len()
    );
    let chances: Vec<_> = claims
        .iter()
        .map(|claim| claim.finding.as_ref().map(|(_, chances)| *chances))
        .collect();
    for (claim, verdict) in claims.iter().zip(holm(&chances)) {
        let row = match (&claim.finding, verdict) {
            (Some((interval, _)), Some(verdict)) => {
                let Interval { mean, low, high } = interval;
                let digits = claim.decimals;
                format!(
                    "{mean:+.digits$} {} | {low:+.digits$} … {high:+.digits$} | {}",
                    claim.unit,
                    Verdict::words(verdict)
                )
            }
            _ => "– | – | runs are missing".to_owned(),
        };
        let _ = writeln!(text, "| {} | {row} |", claim.words);
    }
    text
}

fn found_section(study: &Study, found: &Found) -> String {
    let trial = &found.trial;
    format!(
        "\n## What was found\n\nTrial {} of {}: **{}** at a learning rate of {:e}; {} values, {} % of default LoRA's {}; accuracy {} % on the rows that \
         chose it, which is too optimistic.\n\n```toml\nmethod = \"{}\"\nlearning_rate = {}\n{}```\n",
        trial.trial,
        found.search,
        trial.configuration,
        found.learning_rate,
        grouped(trial.values as u64),
        percent(trial.values / study.default.values as f64),
        grouped(study.default.values),
        percent(trial.accuracy.unwrap_or(f64::NAN)),
        found.method,
        found.learning_rate,
        found.settings
    )
}

fn finals_section(study: &Study, finals: &Finals) -> Result<String> {
    let standing = finals.progress()?;
    let mut text = format!(
        "\n## Held-out rows of `{}`\n\n| arm | runs | values | bytes | rate | selection % | report %, last | report %, kept |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
        finals.arms.data
    );
    for progress in &standing {
        let Some(arm) = ArmSummary::of(progress) else {
            let _ = writeln!(
                text,
                "| {} | rates: {} of {} | – | – | – | – | – | – |",
                progress.arm.name,
                progress.swept.len(),
                finals.arms.rates_of(progress.arm).len()
            );
            continue;
        };
        let _ = writeln!(
            text,
            "| {} | {} of {} | {} | {} | {:e} | {:.2} | {} | {} |",
            arm.name,
            arm.runs,
            study.seeds.len(),
            grouped(arm.trained),
            grouped(arm.bytes),
            arm.rate,
            arm.selection * 100.0,
            arm.last.words(),
            arm.kept.words()
        );
    }
    text.push_str("\nMeans over the seeds ± their standard deviation; *last* is the last step, *kept* the epoch of the best selection accuracy.");
    for progress in standing.iter().filter(|one| one.swept.len() > 1) {
        let tried: Vec<String> = progress
            .swept
            .iter()
            .map(|(rate, run)| format!("{rate:e}: {:.2}", run.selection_accuracy() * 100.0))
            .collect();
        let _ = write!(
            text,
            " Selection by rates of {}: {}.",
            progress.arm.name,
            tried.join(", ")
        );
    }
    text.push('\n');
    Ok(text)
}

fn searches_section(study: &Study, records: &[Record]) -> String {
    let end = study.search.trials;
    let marks: Vec<usize> = [end / 3, 2 * end / 3, end]
        .into_iter()
        .filter(|mark| *mark > 0)
        .collect();
    let mut text = String::from("\n## Searches\n\n| proposer | searches |");
    for mark in &marks {
        let _ = write!(text, " after {mark} trials |");
    }
    text.push_str(" mean over the trials |\n|---|--:|");
    text.push_str(&"--:|".repeat(marks.len() + 1));
    let words = |values: &[f64]| match (values.is_empty(), deviation(values)) {
        (true, _) => "–".to_owned(),
        (false, Some(spread)) => format!("{:.4} ± {spread:.4}", mean(values)),
        (false, None) => format!("{:.4}", mean(values)),
    };
    for proposer in &study.proposers {
        let own = records
            .iter()
            .filter(|record| record.proposer == proposer.name);
        let own: Vec<Vec<f64>> = own.map(Record::volumes).collect();
        let _ = write!(text, "\n| {} | {} |", proposer.name, own.len());
        for mark in &marks {
            let at: Vec<f64> = own
                .iter()
                .filter_map(|one| one.get(mark - 1))
                .copied()
                .collect();
            let _ = write!(text, " {} |", words(&at));
        }
        let areas: Vec<f64> = own.iter().map(|one| mean(one)).collect();
        let _ = write!(text, " {} |", words(&areas));
    }
    text.push_str(
        "\n\nHypervolume, mean over the search seeds ± their standard deviation.\n\n![Hypervolume by trials](hypervolume.svg)\n\n\
         | search | trials | from the cache | failed | processor, min | best with few values | its values | selection % |\n\
         |---|--:|--:|--:|--:|---|--:|--:|\n",
    );
    for record in records {
        let best = record.best(study.most_values());
        let of = |text: fn(&super::record::Trial) -> String| best.map_or_else(|| "–".into(), text);
        let count = |wanted: fn(&super::record::Trial) -> bool| {
            record.trials.iter().filter(|trial| wanted(trial)).count()
        };
        let _ = writeln!(
            text,
            "| {}-s{} | {} | {} | {} | {} | {} | {} | {} |",
            record.proposer,
            record.seed,
            record.trials.len(),
            count(|trial| trial.known),
            count(|trial| trial.accuracy.is_none()),
            record.processor_s.map_or_else(
                || "– †".to_owned(),
                |seconds| format!("{:.1}", seconds / 60.0)
            ),
            of(|trial| trial.configuration.clone()),
            of(|trial| grouped(trial.values as u64)),
            of(|trial| percent(trial.accuracy.unwrap_or(f64::NAN))),
        );
    }
    if records.iter().any(|record| record.processor_s.is_none()) {
        text.push_str(
            "\n† The search was interrupted and gone on with, so that its time is not known.\n",
        );
    }
    text
}

fn front_section(records: &[Record]) -> String {
    let mut text = String::from(
        "\n## The front of all searches\n\nBy the rows that choose, which flatter the best of many trials.\n\n\
         | values | selection % | configuration | tried by |\n|--:|--:|---|---|\n",
    );
    for one in front::front(records) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            grouped(one.trial.values as u64),
            percent(one.trial.accuracy.unwrap_or(f64::NAN)),
            one.trial.configuration,
            one.searches.join(", ")
        );
    }
    text.push_str("\n![Trials and fronts](front.svg)\n");
    text
}
