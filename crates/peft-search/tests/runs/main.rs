//! Studies whose trials are runs, on a tiny model.

mod costs;
mod studies;

#[path = "../../../../tests/shared/tiny.rs"]
mod files;

use std::path::{Path, PathBuf};

use peft_run::{RunConfig, data::Task};

/// A tiny model, rows that can be learned, and room for studies.
struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
        files::write_model(&goldens, &dir.path().join("model")).unwrap();
        files::write_rows(&dir.path().join("rows.csv")).unwrap();
        files::write_rows(&dir.path().join("report.csv")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What trials share.
    fn run(&self, output: &str) -> RunConfig {
        let (model, data) = (self.path("model"), self.path("rows.csv"));
        let output = self.path(output);
        RunConfig {
            epochs: 2.0,
            batch_size: 16,
            max_length: 24,
            head_learning_rate: Some(1e-2),
            ..RunConfig::new(&model, &data, Task::Classify, "lora", &output)
        }
    }
}
