//! Labelled texts: VADER's rated ones, what makes two texts the same, and CSV.

use anyhow::{Context, Result};
use peft_hub::Sources;

use super::{archive, table};

pub type Row = (String, &'static str);

/// Texts with their mean rating, from -4 to 4.
pub struct Rated {
    pub score: f64,
    pub text: String,
}

impl Rated {
    pub fn sign(&self) -> &'static str {
        if self.score > 0.0 {
            "positive"
        } else {
            "negative"
        }
    }
}

/// One of VADER's ground truths, out of its source distribution.
pub fn ground_truth(name: &str, sources: &Sources) -> Result<Vec<Rated>> {
    let path = table::VADER.fetch(sources)?;
    let file =
        std::fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let inner = archive::from_tar_gz(
        file,
        "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
    )?;
    let path = format!("hutto_ICWSM_2014/{name}_GroundTruth.txt");
    let bytes = archive::from_tar_gz(inner.as_slice(), &path)?;
    parse(std::str::from_utf8(&bytes).with_context(|| format!("{path} is not UTF-8"))?)
}

/// Lines of id, rating and text, separated by tabs.
pub fn parse(lines: &str) -> Result<Vec<Rated>> {
    let mut rows = Vec::new();
    for line in lines
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
        rows.push(Rated {
            score,
            text: text.to_owned(),
        });
    }
    Ok(rows)
}

/// Texts of one normal form count as the same text.
pub fn normal_form(text: &str) -> String {
    let kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.to_lowercase().chars().filter(kept).collect()
}

pub fn csv(rows: &[(String, impl AsRef<str>)]) -> Vec<u8> {
    let mut out = String::from("text,label\n");
    for (text, label) in rows {
        let label = label.as_ref();
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
    fn normal_form_follows_unicode_lower_case() {
        // The Kelvin sign lowers to an ASCII k, an accented capital to no ASCII letter.
        assert_eq!(normal_form("\u{212A}É Ab-9"), "kab9");
    }

    #[test]
    fn a_text_may_hold_tabs_and_a_line_without_a_score_is_an_error() {
        let rows = parse("1\t-1.5\ta\tb\r\n\n").unwrap();
        assert_eq!(
            (rows[0].text.as_str(), rows[0].sign()),
            ("a\tb", "negative")
        );
        assert!(parse("1\tx\ta").is_err() && parse("1\t2").is_err());
    }
}
