//! `cargo xtask word-problems`: the word problems that `peft quickstart --causal` carries, made again from their
//! source.
//!
//! The rules: of GSM8K's own two parts, rows whose question and answer have at most 350 characters together; what
//! stands between `<<` and `>>` is cut out of answers, and their last line, `#### N`, becomes `The answer is N.`
//! Sorted by sha256 of the question, the first 480 of the training part are to fit, and the first 200 of the test
//! part are held out. Nothing else of the texts is changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{files, workspace};

/// Characters of a question and its answer.
const LONGEST: usize = 350;

/// A file that is made: its name, what it is made of, its sha256, and how many rows it has.
const FILES: [(&str, &str, &str, usize); 2] = [
    (
        "fit.jsonl",
        "train.jsonl",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        480,
    ),
    (
        "held-out.jsonl",
        "test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        200,
    ),
];

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder with train.jsonl and test.jsonl of github.com/openai/grade-school-math
    #[arg(long, value_name = "DIR")]
    source: PathBuf,
    /// Compare with the committed files instead of writing them
    #[arg(long)]
    check: bool,
}

/// Where the problems lie in the repository.
pub fn folder() -> PathBuf {
    workspace::root().join("crates/peft-cli/assets/word-problems")
}

pub fn run(arguments: &Arguments) -> Result<()> {
    for (name, source, sha256, rows) in FILES {
        let text = read(&arguments.source.join(source), sha256)?;
        let made = chosen(&text, rows).with_context(|| format!("in {source}"))?;
        let path = folder().join(name);
        if arguments.check {
            ensure!(
                files::read(&path)? == made,
                "{} differs from what its source gives: run `cargo xtask word-problems` without --check",
                path.display()
            );
        } else {
            files::write_atomic(&path, made.as_bytes())?;
        }
        println!("{}  {rows} rows", path.display());
    }
    Ok(())
}

fn read(path: &Path, expected: &str) -> Result<String> {
    let text = files::read(path)?;
    let found = peft_hub::sha256(text.as_bytes());
    ensure!(
        found == expected,
        "{} has sha256 {found}, not {expected}: it is another version of the data",
        path.display()
    );
    Ok(text)
}

/// A row of GSM8K.
#[derive(Deserialize)]
struct Problem {
    question: String,
    answer: String,
}

/// So many rows as conversations, one a line.
fn chosen(text: &str, rows: usize) -> Result<String> {
    let mut problems = Vec::new();
    for (line, text) in text.lines().enumerate() {
        let problem: Problem =
            serde_json::from_str(text).with_context(|| format!("line {}", line + 1))?;
        let answer = spoken(&problem.answer).with_context(|| format!("line {}", line + 1))?;
        problems.push((problem.question, answer));
    }
    let length =
        |(question, answer): &(String, String)| question.chars().count() + answer.chars().count();
    problems.retain(|problem| length(problem) <= LONGEST);
    problems.sort_by_cached_key(|(question, _)| <[u8; 32]>::from(Sha256::digest(question)));
    ensure!(
        problems.len() >= rows,
        "only {} rows are short enough, and {rows} are wanted",
        problems.len()
    );
    let line = |(question, answer): &(String, String)| {
        let row = json!({ "messages": [
            { "role": "user", "content": question },
            { "role": "assistant", "content": answer },
        ]});
        format!("{row}\n")
    };
    Ok(problems[..rows].iter().map(line).collect())
}

/// An answer without annotations, whose last line is a sentence.
fn spoken(answer: &str) -> Result<String> {
    let mut text = String::new();
    let mut rest = answer;
    while let Some((before, behind)) = rest.split_once("<<") {
        let (_, behind) = behind
            .split_once(">>")
            .context("`<<` of an annotation without `>>`")?;
        text += before;
        rest = behind;
    }
    text += rest;
    let (steps, result) = text
        .rsplit_once("\n#### ")
        .context("the answer does not end with a line `#### N`")?;
    Ok(format!("{steps}\nThe answer is {}.", result.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_go_and_the_result_is_said() {
        let said = spoken("In May 48/2 = <<48/2=24>>24 clips,\n<<1+1=2>>2 in all.\n#### 72");
        assert_eq!(
            said.unwrap(),
            "In May 48/2 = 24 clips,\n2 in all.\nThe answer is 72."
        );
        assert!(spoken("a <<b\n#### 1").is_err());
        assert!(spoken("no result").is_err());
    }

    #[test]
    fn long_rows_are_left_out_and_the_order_is_that_of_digests() {
        let row = |question: &str, answer: &str| {
            json!({ "question": question, "answer": format!("{answer}\n#### 1") }).to_string()
                + "\n"
        };
        let text = row("a?", "x") + &row("b?", &"y".repeat(400)) + &row("c?", "z");
        let made = chosen(&text, 2).unwrap();
        let order: Vec<&str> = ["a?", "c?"]
            .into_iter()
            .filter(|question| made.contains(question))
            .collect();
        assert_eq!(order, ["a?", "c?"]);
        assert!(!made.contains("b?"));
        let digest = |question: &str| <[u8; 32]>::from(Sha256::digest(question));
        let first = made.find("a?").unwrap() < made.find("c?").unwrap();
        assert_eq!(first, digest("a?") < digest("c?"));
        assert!(chosen(&text, 3).is_err());
    }
}
