//! Few-shot studies: every arm on several numbers of rows, drawn anew for every seed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::definition::{Arm, Claim, Study};
use super::statistics::Random;
use crate::files;

/// How many rows of `fit.csv` are fitted, and for how long.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    pub rows: usize,
    /// Passes over these rows.
    pub epochs: u32,
    /// Passes between two looks at the selection split.
    #[serde(rename = "select-epochs")]
    pub select_epochs: u32,
}

/// An arm on one number of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The arm's name in the file.
    pub arm: String,
    pub sample: Sample,
}

impl Sample {
    fn check(&self) -> Result<()> {
        let Self {
            rows,
            epochs,
            select_epochs,
        } = *self;
        ensure!(
            rows > 0 && epochs > 0 && select_epochs > 0,
            "a [[sample]] needs `rows`, `epochs` and `select-epochs` above 0"
        );
        ensure!(
            epochs.is_multiple_of(select_epochs),
            "the sample of {rows} rows: `select-epochs` must divide `epochs`"
        );
        Ok(())
    }

    /// File name of the rows that a seed draws.
    pub fn file(&self, seed: u64) -> String {
        format!("fit_{}_s{seed}.csv", self.rows)
    }
}

/// Replaces every arm and claim by one for each number of rows, of the name `ARM-nROWS`.
pub fn expand(study: &mut Study) -> Result<()> {
    if study.samples.is_empty() {
        return Ok(());
    }
    study.samples.iter().try_for_each(Sample::check)?;
    let rows = study.samples.iter().map(|sample| sample.rows);
    ensure!(
        rows.clone().is_sorted_by(|a, b| a < b),
        "[[sample]]s must ascend by `rows`"
    );
    let (samples, mut claims) = (&study.samples, Vec::new());
    for claim in &study.claims {
        let on = claim.rows.as_deref();
        let on = on.context("a claim of a study with samples needs `rows`, a list")?;
        for &count in on {
            ensure!(
                rows.clone().any(|rows| rows == count),
                "a claim is about {count} rows, of which there is no [[sample]]"
            );
            claims.push(Claim {
                arm: named(&claim.arm, count),
                against: named(&claim.against, count),
                ..claim.clone()
            });
        }
    }
    let cell = |arm: &Arm, sample: Sample| Arm {
        name: named(&arm.name, sample.rows),
        drawn: Some(Drawn {
            arm: arm.name.clone(),
            sample,
        }),
        ..arm.clone()
    };
    study.arms = (study.arms.iter())
        .flat_map(|arm| samples.iter().map(move |&sample| cell(arm, sample)))
        .collect();
    study.claims = claims;
    Ok(())
}

fn named(arm: &str, rows: usize) -> String {
    format!("{arm}-n{rows}")
}

/// Writes the rows that `seed` draws from the file `all` into `folder`. They are the first of one
/// shuffle, so that the smaller samples of a seed are within its larger ones; all arms get the same.
pub fn draw(sample: &Sample, seed: u64, all: &Path, folder: &Path) -> Result<PathBuf> {
    let mut reader =
        csv::Reader::from_path(all).with_context(|| format!("cannot read {}", all.display()))?;
    let header = reader.headers()?.clone();
    let mut rows = reader.records().collect::<Result<Vec<_>, _>>()?;
    ensure!(
        sample.rows <= rows.len(),
        "{} has {} rows, not {}",
        all.display(),
        rows.len(),
        sample.rows
    );
    let mut random = Random::new(seed);
    for place in 0..sample.rows {
        let other = place + random.below(rows.len() - place);
        rows.swap(place, other);
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&header)?;
    for row in &rows[..sample.rows] {
        writer.write_record(row)?;
    }
    let path = folder.join(sample.file(seed));
    let bytes = writer.into_inner().context("cannot write rows")?;
    files::write_atomic(&path, &bytes)?;
    Ok(path)
}

/// Writes the first rows of a file into another.
pub fn first_rows(all: &Path, count: usize, path: &Path) -> Result<()> {
    let mut reader =
        csv::Reader::from_path(all).with_context(|| format!("cannot read {}", all.display()))?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(reader.headers()?)?;
    let mut written = 0;
    for row in reader.records().take(count) {
        writer.write_record(&row?)?;
        written += 1;
    }
    ensure!(
        written == count,
        "{} has {written} rows, not {count}",
        all.display()
    );
    let bytes = writer.into_inner().context("cannot write rows")?;
    files::write_atomic(path, &bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::study::definition_tests::{EXAMPLE, sampled};

    #[test]
    fn arms_and_claims_are_multiplied_by_the_samples() {
        let study = Study::parse(&sampled()).unwrap();
        let names: Vec<&str> = study.arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["lora-n2", "lora-n4", "vera-n2", "vera-n4"]);
        let drawn = study.arms[3].drawn.as_ref().unwrap();
        assert_eq!((drawn.arm.as_str(), drawn.sample.epochs), ("vera", 2));
        let [claim] = study.claims.as_slice() else {
            panic!("one claim about one number of rows");
        };
        assert_eq!(
            (claim.arm.as_str(), claim.against.as_str()),
            ("lora-n4", "vera-n4")
        );
    }

    #[test]
    fn samples_that_make_no_sense_are_refused() {
        let cases = [
            ("rows = [4]", "rows = [8]", "no [[sample]]"),
            ("rows = [4]", "", "needs `rows`"),
            ("rows = 2", "rows = 4", "ascend"),
            ("rows = 2", "rows = 0", "above 0"),
            ("select-epochs = 2", "select-epochs = 3", "must divide"),
            ("[training]", "[training]\nepochs = 2", "`epochs`"),
            ("engine = \"peft\"", "engine = \"hf-peft\"", "hf-peft"),
        ];
        for (from, to, message) in cases {
            let text = sampled().replacen(from, to, 1);
            assert_ne!(text, sampled(), "{from} is not in the example");
            let error = format!("{:#}", Study::parse(&text).unwrap_err());
            assert!(error.contains(message), "{to}: {error}");
        }
        let text = EXAMPLE.replacen("epochs = 2", "", 1);
        let error = format!("{:#}", Study::parse(&text).unwrap_err());
        assert!(error.contains("`epochs`"), "{error}");
    }

    #[test]
    fn rows_depend_on_the_seed_and_larger_samples_hold_smaller_ones() {
        let folder = std::env::temp_dir().join(format!("xtask-sample-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let all = folder.join("fit.csv");
        let rows: String = (0..100).map(|row| format!("\"a, {row}\",b\n")).collect();
        std::fs::write(&all, format!("text,label\n{rows}")).unwrap();
        let drawn = |rows, seed| {
            let sample = Sample {
                rows,
                epochs: 1,
                select_epochs: 1,
            };
            let path = draw(&sample, seed, &all, &folder).unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            let mut lines = text.lines().map(str::to_owned);
            assert_eq!(lines.next().as_deref(), Some("text,label"));
            lines.collect::<Vec<_>>()
        };
        let few = drawn(8, 1);
        assert_eq!(few, drawn(8, 1));
        assert_eq!(few, drawn(50, 1)[..8]);
        assert_ne!(few, drawn(8, 2));
        let everything: HashSet<String> = drawn(100, 3).into_iter().collect();
        assert_eq!(everything.len(), 100);
        let sample = Sample {
            rows: 101,
            epochs: 1,
            select_epochs: 1,
        };
        let error = draw(&sample, 0, &all, &folder).unwrap_err().to_string();
        assert!(error.contains("has 100 rows"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
