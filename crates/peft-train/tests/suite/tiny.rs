//! Whole runs in no time: a tiny model folder, and rows that can be learned.

use std::path::{Path, PathBuf};

use peft_train::{RunConfig, data::Task};

use crate::common::goldens;

/// A model folder with a vocabulary, and labelled rows that can be learned.
pub fn workspace() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(
            goldens().join("models/bert_base").join(file),
            model.join(file),
        )
        .unwrap();
    }
    let mut vocab: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
        .map(String::from)
        .into();
    vocab.extend((vocab.len()..99).map(|i| format!("word{i}")));
    std::fs::write(model.join("vocab.txt"), vocab.join("\n") + "\n").unwrap();
    let data = dir.path().join("train.csv");
    let mut rows = "text,label\n".to_owned();
    for i in 0..240usize {
        let word = |k: usize| 7 + (i * 31 + k * 17 + i * k * 7) % 92;
        let length = 2 + i * 5 % 9;
        let mut words: Vec<String> = (0..length).map(|k| format!("word{}", word(k))).collect();
        let good = i % 2 == 0;
        words.insert(i % length, if good { "good" } else { "bad" }.to_owned());
        rows += &format!(
            "{},{}\n",
            words.join(" "),
            if good { "praise" } else { "blame" }
        );
    }
    std::fs::write(&data, rows).unwrap();
    (dir, model, data)
}

pub fn config(model: &Path, data: &Path, output: &Path) -> RunConfig {
    let mut config = RunConfig::new(model, data, Task::Classify, "lora", output);
    config.epochs = 4.0;
    config.batch_size = 16;
    config.learning_rate = Some(1e-2);
    config.head_learning_rate = 1e-2;
    config.max_length = 24;
    config
}
