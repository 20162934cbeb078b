//! The rotten-tomatoes files, by the rules that xtask/python/prepare_data.py states in full.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use peft_hub::Made;
use sha2::{Digest, Sha256};

use super::rows::{Rated, Row, csv, normal_form};

/// All six CSV files from the reviews (CSV) and VADER's movie snippets.
pub fn files(reviews: &[u8], snippets: &[Rated]) -> Result<Made> {
    let train = train_rows(reviews)?;
    ensure!(
        train.len() == 8530,
        "expected 8530 rows to train on, found {}",
        train.len()
    );
    let report = report_rows(snippets, &train);
    ensure!(
        report.len() == 2128,
        "expected 2128 rows to report on, found {}",
        report.len()
    );
    let mut order: Vec<usize> = (0..train.len()).collect();
    order.sort_by_cached_key(|&index| (split_key(&train[index].0, index), index));
    let mixed: Vec<Row> = order.iter().map(|&index| train[index].clone()).collect();
    let (select, fit) = mixed.split_at(train.len() / 10);
    Ok(Made::from([
        ("train.csv", csv(&train)),
        ("report.csv", csv(&report)),
        ("select.csv", csv(select)),
        ("fit.csv", csv(fit)),
        ("select_small.csv", csv(&select[..400])),
        ("fit_small.csv", csv(&fit[..2000])),
    ]))
}

fn train_rows(reviews: &[u8]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for record in csv::Reader::from_reader(reviews).deserialize() {
        let (text, label, source): (String, u8, String) =
            record.context("the reviews are damaged")?;
        if source == "rotten_tomatoes" {
            rows.push((text, if label == 0 { "negative" } else { "positive" }));
        }
    }
    Ok(rows)
}

/// Snippets with a sign whose text is not among the training rows (most of them are).
fn report_rows(snippets: &[Rated], train: &[Row]) -> Vec<Row> {
    let seen: HashSet<String> = train.iter().map(|(text, _)| normal_form(text)).collect();
    (snippets.iter())
        .filter(|row| row.score != 0.0 && !seen.contains(&normal_form(&row.text)))
        .map(|row| (row.text.clone(), row.sign()))
        .collect()
}

/// Place of a row in the fixed shuffle: a hash, so that no generator has to be reproduced elsewhere.
fn split_key(text: &str, index: usize) -> [u8; 8] {
    let digest = Sha256::digest(format!("select:{text}:{index}"));
    std::array::from_fn(|place| digest[place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::rows::parse;

    #[test]
    fn report_drops_neutral_and_known_texts() {
        let train = [("It's GOOD, no. 1".to_owned(), "positive")];
        let snippets = parse("1\t0.0\tneutral\r\n2\t2.5\tits good no1!\n\n3\t-1.5\ta\tb\r\n");
        let rows = report_rows(&snippets.unwrap(), &train);
        assert_eq!(rows, [("a\tb".to_owned(), "negative")]);
    }
}
