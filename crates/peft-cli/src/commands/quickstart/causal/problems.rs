//! The word problems that the binary carries. `cargo xtask word-problems` makes them from their source.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::commands::quickstart::data::{self, Files};

const FIT: &str = include_str!("../../../../assets/word-problems/fit.jsonl");
const HELD_OUT: &str = include_str!("../../../../assets/word-problems/held-out.jsonl");
const NOTICE: &str = include_str!("../../../../assets/word-problems/NOTICE");

/// A problem and how it is solved.
#[derive(Debug, PartialEq)]
pub struct Problem {
    pub question: String,
    pub answer: String,
}

/// Writes the problems and their notice into `data` under `output`.
pub fn write(output: &Path) -> Result<Files> {
    data::write(
        output,
        NOTICE,
        ["fit.jsonl", FIT],
        ["held-out.jsonl", HELD_OUT],
    )
}

/// The first problems of a file.
pub fn read(path: &Path, count: usize) -> Result<Vec<Problem>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let problem = |line| parse(line).with_context(|| format!("in {}", path.display()));
    text.lines().take(count).map(problem).collect()
}

fn parse(line: &str) -> Result<Problem> {
    let row: Value = serde_json::from_str(line).context("a line is not JSON")?;
    let said = |turn: usize| {
        let content = row["messages"][turn]["content"].as_str();
        content.map(str::to_owned).context("a turn has no content")
    };
    Ok(Problem {
        question: said(0)?,
        answer: said(1)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_problems_are_those_of_the_notice() {
        let rows = |text: &str| -> Vec<Problem> {
            text.lines().map(|line| parse(line).unwrap()).collect()
        };
        let [fit, held_out] = [rows(FIT), rows(HELD_OUT)];
        assert_eq!((fit.len(), held_out.len()), (480, 200));
        assert!(NOTICE.contains("480 of train.jsonl to fit and 200 of test.jsonl held out"));
        assert!(NOTICE.contains("The above copyright notice and this permission notice"));
        for problem in fit.iter().chain(&held_out) {
            assert!(problem.answer.contains("\nThe answer is "), "{problem:?}");
            assert!(!problem.answer.contains("<<"), "{problem:?}");
        }
        let questions: HashSet<&String> = fit
            .iter()
            .chain(&held_out)
            .map(|problem| &problem.question)
            .collect();
        assert_eq!(questions.len(), 680, "a question is there twice");
    }
}
