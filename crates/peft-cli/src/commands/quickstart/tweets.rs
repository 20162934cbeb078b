//! The tweets that the binary carries. `cargo xtask tweets` makes them from their source.

use std::path::Path;

use anyhow::Result;

use super::data::{self, Files};

const FIT: &str = include_str!("../../../assets/tweets/fit.csv");
const HELD_OUT: &str = include_str!("../../../assets/tweets/held-out.csv");
const NOTICE: &str = include_str!("../../../assets/tweets/NOTICE");

/// Writes the tweets and their notice into `data` under `output`.
pub fn write(output: &Path) -> Result<Files> {
    data::write(output, NOTICE, ["fit.csv", FIT], ["held-out.csv", HELD_OUT])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Texts without what makes two of them look different, and labels.
    fn rows(csv: &str) -> Vec<(String, &str)> {
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("text,label"));
        let bare = |text: &str| {
            let lower = text.to_lowercase();
            lower
                .chars()
                .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
                .collect()
        };
        lines
            .map(|line| line.rsplit_once(',').unwrap())
            .map(|(text, label)| (bare(text), label))
            .collect()
    }

    #[test]
    fn the_tweets_are_those_of_the_notice() {
        let [fit, held_out] = [rows(FIT), rows(HELD_OUT)];
        assert_eq!((fit.len(), held_out.len()), (3042, 1000));
        assert!(NOTICE.contains("3,042 rows to fit and 1,000"));
        assert!(NOTICE.contains("The above copyright notice and this permission notice"));
        for (rows, positive) in [(&fit, 2106), (&held_out, 713)] {
            let count = |name| rows.iter().filter(|(_, label)| *label == name).count();
            assert_eq!(
                (count("positive"), count("negative")),
                (positive, rows.len() - positive)
            );
        }
        let texts: HashSet<&String> = fit.iter().chain(&held_out).map(|(text, _)| text).collect();
        assert_eq!(texts.len(), 4042, "a text is there twice");
    }
}
