//! The folders of trials.

use std::{
    fs,
    path::{Path, PathBuf},
};

use peft_run::{RunFolder, RunStatus};

use super::RunsError;

const TRIALS: &str = "trials";

/// What of a trial is of use only while it runs or is on the front: the weights, and what tells how to use them.
const WEIGHTS: &str = "adapter_model.safetensors";
const OF_WEIGHTS: [&str; 3] = [WEIGHTS, "last", "README.md"];

/// What a run goes on from, and the part of it that says how the run ended and what came of it.
const CHECKPOINT: &str = "checkpoint";
const STATE: &str = "state.json";

/// Folders of trials in that of a study.
#[derive(Debug, Clone)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    pub fn new(study: &Path) -> Self {
        Self {
            root: study.join(TRIALS),
        }
    }

    fn path(&self, trial: u64, attempt: u32) -> PathBuf {
        self.root.join(match attempt {
            0 => format!("{trial:06}"),
            _ => format!("{trial:06}-{attempt}"),
        })
    }

    /// The folder in which a worker goes on with a trial: where it was left, or a new one where a worker that was
    /// taken for lost is still writing.
    pub fn claim(&self, trial: u64, earlier: u32) -> PathBuf {
        let last = (0..=earlier).rev().map(|attempt| self.path(trial, attempt));
        let last = last.into_iter().find(|path| path.exists());
        match last {
            Some(path) if !is_at_work(&path) => path,
            None => self.path(trial, 0),
            Some(_) => self.path(trial, earlier),
        }
    }

    /// All folders of a trial, by attempt. Attempts that went on in the folder of one before have none.
    fn of(&self, trial: u64) -> Vec<PathBuf> {
        let first = format!("{trial:06}");
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let attempt = |name: &str| match name.strip_prefix(&first)? {
            "" => Some(0),
            rest => rest.strip_prefix('-')?.parse::<u32>().ok(),
        };
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| Some((attempt(entry.file_name().to_str()?)?, entry.path())))
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// A folder of a trial that is not there yet.
    pub fn fresh(&self, trial: u64) -> PathBuf {
        let mut attempts = (0..).map(|attempt| self.path(trial, attempt));
        attempts
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.path(trial, 0))
    }

    /// Whether a folder has something that training can go on from.
    pub fn has_work(&self, folder: &Path) -> bool {
        folder.join(CHECKPOINT).exists()
    }

    /// The folder of a trial's finished run, where its adapter is still kept.
    pub fn finished(&self, trial: u64) -> Option<PathBuf> {
        let all = self.of(trial).into_iter().rev();
        all.into_iter().find(|path| {
            let run = RunFolder::read(path);
            path.join(WEIGHTS).exists() && run.is_ok_and(|run| run.status == RunStatus::Finished)
        })
    }

    /// Forget what a trial weighs; its log, its settings and how it ended stay.
    pub fn lighten(&self, trial: u64) {
        for folder in self.of(trial).iter().filter(|path| !is_at_work(path)) {
            let checkpoint = folder.join(CHECKPOINT);
            let inside = fs::read_dir(&checkpoint).into_iter().flatten();
            let inside = inside.flatten().map(|entry| entry.path());
            let inside = inside.filter(|path| *path != checkpoint.join(STATE));
            for path in OF_WEIGHTS
                .map(|part| folder.join(part))
                .into_iter()
                .chain(inside)
            {
                // Nothing depends on it: what is left takes room and no more.
                let _ = match path.is_dir() {
                    true => fs::remove_dir_all(&path),
                    false => fs::remove_file(&path),
                };
            }
        }
    }

    /// Remove a folder that cannot be gone on with.
    pub fn clear(&self, folder: &Path) -> Result<(), RunsError> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunsError::setting(
                folder.display().to_string(),
                format!("it cannot be removed: {error}"),
                "make it writable",
            )),
            _ => Ok(()),
        }
    }
}

fn is_at_work(folder: &Path) -> bool {
    RunFolder::read(folder).is_ok_and(|run| run.status == RunStatus::Running)
}
