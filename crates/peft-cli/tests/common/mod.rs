//! What every test of the binary uses. A test binary need not use all of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

pub fn peft(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peft"))
        .args(arguments)
        .output()
        .unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The output of a command that must end with 0.
#[track_caller]
pub fn done(arguments: &[&str]) -> String {
    let output = peft(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    stdout(&output)
}

/// The message of a command that must end with 2 and print no result: one line, no panic.
#[track_caller]
pub fn refused(arguments: &[&str]) -> String {
    let output = peft(arguments);
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert_eq!(stdout(&output), "", "{arguments:?}");
    assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
    let lines: Vec<&str> = errors
        .lines()
        .filter(|line| line.starts_with("peft: "))
        .collect();
    assert_eq!(lines.len(), 1, "{arguments:?}: {errors}");
    lines[0].to_owned()
}

/// A tiny model with a vocabulary, and rows that can be learned.
pub struct Workspace {
    dir: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        std::fs::create_dir(&model).unwrap();
        for file in ["config.json", "model.safetensors"] {
            let from = goldens().join("models/bert_base").join(file);
            std::fs::copy(from, model.join(file)).unwrap();
        }
        let mut vocab: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
            .map(String::from)
            .into();
        vocab.extend((vocab.len()..99).map(|i| format!("word{i}")));
        std::fs::write(model.join("vocab.txt"), vocab.join("\n") + "\n").unwrap();
        let mut rows = "text,label\n".to_owned();
        for i in 0..160 {
            let (word, label) = if i % 2 == 0 {
                ("good", "praise")
            } else {
                ("bad", "blame")
            };
            let other = 7 + i * 31 % 90;
            rows += &format!("word{other} {word} word{},{label}\n", 7 + i * 17 % 90);
        }
        std::fs::write(dir.path().join("rows.csv"), rows).unwrap();
        Self { dir }
    }

    /// What a run on the model and the rows, into the folder `output`, prints.
    #[track_caller]
    pub fn train(&self, output: &str, flags: &[&str]) -> String {
        let [model, rows, out] = ["model", "rows.csv", output].map(|name| self.path(name));
        let paths = [
            "train", "--model", &model, "--data", &rows, "--output", &out,
        ];
        done(&[&paths[..], flags].concat())
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }
}
