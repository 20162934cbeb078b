//! `cargo xtask tweets`: the tweets that `peft quickstart` carries, made again from their source.
//!
//! The rules: VADER's rated tweets in file order; those rated exactly 0 and those whose normal form
//! came before are dropped; the label is the sign of the mean rating. Sorted by the first 8 bytes of
//! sha256("tweets:" + text), the first 1,000 are held out and the others are to fit. Texts are kept as
//! they are, HTML entities included.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use peft_hub::{Made, Sources};
use sha2::{Digest, Sha256};

use super::rows::{Rated, Row, csv, ground_truth, normal_form};
use crate::{files, workspace};

const HELD_OUT: usize = 1000;

/// Rows that studies select on, the first of those to fit.
const SELECT: usize = 400;
/// Rows that the small protocol fits on, those that follow.
const FIT_SMALL: usize = 2000;

#[derive(clap::Args)]
pub struct Arguments {
    /// Compare with the committed files instead of writing them
    #[arg(long)]
    check: bool,
    /// A folder that already has the package
    #[arg(long, value_name = "DIR")]
    wheels: Option<PathBuf>,
}

/// Whether the committed tweets are those of their source.
pub fn check() -> Result<()> {
    run(&Arguments {
        check: true,
        wheels: None,
    })
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = workspace::cache()?;
    let sources = Sources {
        wheels: arguments.wheels.as_deref(),
        ..super::sources(&cache)
    };
    let rated = ground_truth("tweets", &sources)?;
    let (fit, held_out) = split(&rated);
    let folder = workspace::root().join("crates/peft-cli/assets/tweets");
    for (name, rows) in [("fit.csv", fit), ("held-out.csv", held_out)] {
        let (path, bytes) = (folder.join(name), csv(&rows));
        if arguments.check {
            ensure!(
                files::read(&path)?.as_bytes() == bytes,
                "{} differs from what its source gives: run `cargo xtask tweets`",
                path.display()
            );
        } else {
            files::write_atomic(&path, &bytes)?;
        }
        println!("{}  {} rows", path.display(), rows.len());
    }
    Ok(())
}

/// The files of a study: the quickstart's rows, with some of those to fit taken out to select on.
pub fn files(sources: &Sources) -> Result<Made> {
    let (rows, report) = split(&ground_truth("tweets", sources)?);
    ensure!(
        rows.len() >= SELECT + FIT_SMALL,
        "expected more rows than {}",
        rows.len()
    );
    let (select, fit) = rows.split_at(SELECT);
    Ok(Made::from([
        ("report.csv", csv(&report)),
        ("select.csv", csv(select)),
        ("fit.csv", csv(fit)),
        ("select_small.csv", csv(select)),
        ("fit_small.csv", csv(&fit[..FIT_SMALL])),
    ]))
}

/// The rows to fit and the rows held out.
fn split(rated: &[Rated]) -> (Vec<Row>, Vec<Row>) {
    let mut seen = HashSet::new();
    let mut rows: Vec<Row> = (rated.iter())
        .filter(|row| row.score != 0.0 && seen.insert(normal_form(&row.text)))
        .map(|row| (row.text.clone(), row.sign()))
        .collect();
    rows.sort_by_cached_key(|(text, _)| {
        let digest = Sha256::digest(format!("tweets:{text}"));
        std::array::from_fn::<u8, 8, _>(|place| digest[place])
    });
    let fit = rows.split_off(HELD_OUT.min(rows.len()));
    (fit, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::rows::parse;

    #[test]
    fn nothing_is_on_both_sides_and_nothing_is_lost() {
        let lines: String = (0..3000)
            .map(|i| format!("{i}\t{}\ttweet number {}\n", i % 3 - 1, i / 2))
            .collect();
        let (fit, held_out) = split(&parse(&lines).unwrap());
        let all: HashSet<&Row> = fit.iter().chain(&held_out).collect();
        // Of each pair of equal texts, at least one has a sign.
        assert_eq!((held_out.len(), fit.len(), all.len()), (1000, 500, 1500));
    }
}
