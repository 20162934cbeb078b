//! The rotten-tomatoes files, by the rules that xtask/python/prepare_data.py states in full.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

type Row = (String, &'static str);

/// All six CSV files from the reviews (CSV) and VADER's movie snippets (tab-separated).
pub fn files(reviews: &[u8], snippets: &[u8]) -> Result<BTreeMap<&'static str, Vec<u8>>> {
    let train = train_rows(reviews)?;
    ensure!(
        train.len() == 8530,
        "expected 8530 rows to train on, found {}",
        train.len()
    );
    let report = report_rows(snippets, &train)?;
    ensure!(
        report.len() == 2128,
        "expected 2128 rows to report on, found {}",
        report.len()
    );
    let mut order: Vec<usize> = (0..train.len()).collect();
    order.sort_by_cached_key(|&index| (split_key(&train[index].0, index), index));
    let mixed: Vec<Row> = order.iter().map(|&index| train[index].clone()).collect();
    let (select, fit) = mixed.split_at(train.len() / 10);
    Ok(BTreeMap::from([
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
fn report_rows(snippets: &[u8], train: &[Row]) -> Result<Vec<Row>> {
    let seen: HashSet<String> = train.iter().map(|(text, _)| normal_form(text)).collect();
    let text = std::str::from_utf8(snippets).context("the snippets are not UTF-8")?;
    let mut rows = Vec::new();
    for line in text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
    {
        if line.is_empty() {
            continue;
        }
        let mut parts = line.splitn(3, '\t').skip(1);
        let (score, text) = parts
            .next()
            .zip(parts.next())
            .with_context(|| format!("no two tabs in {line:?}"))?;
        let score: f64 = score
            .trim()
            .parse()
            .with_context(|| format!("no score in {line:?}"))?;
        if score != 0.0 && !seen.contains(&normal_form(text)) {
            rows.push((
                text.to_owned(),
                if score > 0.0 { "positive" } else { "negative" },
            ));
        }
    }
    Ok(rows)
}

fn normal_form(text: &str) -> String {
    let kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.to_lowercase().chars().filter(kept).collect()
}

/// Place of a row in the fixed shuffle: a hash, so that no generator has to be reproduced elsewhere.
fn split_key(text: &str, index: usize) -> [u8; 8] {
    let digest = Sha256::digest(format!("select:{text}:{index}"));
    std::array::from_fn(|place| digest[place])
}

fn csv(rows: &[Row]) -> Vec<u8> {
    let mut out = String::from("text,label\n");
    for (text, label) in rows {
        if text.contains([',', '"', '\r', '\n']) {
            out.push_str(&format!("\"{}\",{label}\n", text.replace('"', "\"\"")));
        } else {
            out.push_str(&format!("{text},{label}\n"));
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_where_needed_and_keeps_spaces() {
        let rows = [
            (" a \u{96}b ".to_owned(), "positive"),
            ("say \"no\", sir".to_owned(), "negative"),
        ];
        let want = "text,label\n a \u{96}b ,positive\n\"say \"\"no\"\", sir\",negative\n";
        assert_eq!(String::from_utf8(csv(&rows)).unwrap(), want);
    }

    #[test]
    fn report_drops_neutral_and_known_texts() {
        let train = [("It's GOOD, no. 1".to_owned(), "positive")];
        let snippets = "1\t0.0\tneutral\r\n2\t2.5\tits good no1!\n\n3\t-1.5\ta\tb\r\n";
        let rows = report_rows(snippets.as_bytes(), &train).unwrap();
        assert_eq!(rows, [("a\tb".to_owned(), "negative")]);
    }

    #[test]
    fn normal_form_follows_unicode_lower_case() {
        // The Kelvin sign lowers to an ASCII k, an accented capital to no ASCII letter.
        assert_eq!(normal_form("\u{212A}É Ab-9"), "kab9");
    }
}
