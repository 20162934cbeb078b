//! Whole runs in no time.

use std::path::{Path, PathBuf};

use peft_run::{RunConfig, data::Task};

use crate::{common::goldens, files};

/// A tiny model folder, and rows that can be learned.
pub fn workspace() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (dir.path().join("model"), dir.path().join("train.csv"));
    files::write_model(&goldens(), &model).unwrap();
    files::write_rows(&data).unwrap();
    (dir, model, data)
}

pub fn config(model: &Path, data: &Path, output: &Path) -> RunConfig {
    let mut config = RunConfig::new(model, data, Task::Classify, "lora", output);
    config.epochs = 4.0;
    config.batch_size = 16;
    config.learning_rate = Some(1e-2);
    config.head_learning_rate = Some(1e-2);
    config.max_length = 24;
    config
}
