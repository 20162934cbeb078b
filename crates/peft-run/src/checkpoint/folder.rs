//! Writing and reading the folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peft_format::{
    FormatError,
    atomic::{AtomicDir, write_atomic, write_atomic_bytes},
};

use peft_core::WarmUpChoice;
use peft_train::TrainerState;

use super::{FIRST, RunState, VERSION, chosen, hash};
use crate::{RunError, base, event::fault, task};

/// Name of the folder.
pub const CHECKPOINT: &str = "checkpoint";
const STATE: &str = "state.json";
const TENSORS: &str = "tensors.safetensors";
const CHOSEN: &str = "chosen.safetensors";
const BEST: &str = "best";
/// More than the settings and digests of any model need.
const STATE_LIMIT: u64 = 256 << 20;

/// The files of an adapter folder, of which a checkpoint keeps a copy.
const ADAPTER: [&str; 4] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    task::NAME,
    base::NAME,
];

/// The folder `checkpoint` in an output folder.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
    output: PathBuf,
}

impl CheckpointFolder {
    /// That of an output folder, whether it is there or not.
    pub fn of(output: &Path) -> Self {
        Self {
            path: output.join(CHECKPOINT),
            output: output.to_owned(),
        }
    }

    /// Replace it as a whole; once the run is finished, without what it would go on from.
    ///
    /// The output folder's own adapter must be the one that `state.best` speaks of.
    pub fn write(
        &self,
        state: &mut RunState,
        tensors: &TrainerState,
        chosen: &WarmUpChoice,
    ) -> Result<(), RunError> {
        let dir = AtomicDir::create(&self.path)?;
        state.version = VERSION;
        state.tensors = digest(tensors, VERSION);
        if let Some(phase) = &mut state.phase
            && !chosen.is_empty()
        {
            phase.chosen = chosen::digest(chosen);
        }
        if state.ending.is_none() {
            tensors.write(&dir.path().join(TENSORS))?;
            if !chosen.is_empty() {
                chosen::write(chosen, &dir.path().join(CHOSEN))?;
            }
            if state.best.is_some() {
                keep(&self.output, &dir.path().join(BEST))?;
            }
        }
        write_atomic_bytes(&dir.path().join(STATE), &encode(state))?;
        Ok(dir.commit()?)
    }

    /// Replace the state alone.
    pub fn rewrite(&self, state: &RunState) -> Result<(), RunError> {
        Ok(write_atomic_bytes(&self.path.join(STATE), &encode(state))?)
    }

    /// The state, or `None` where there is no checkpoint. A replacement that a crash cut in two is
    /// undone first, so nobody else may be writing.
    pub fn read(&self) -> Result<Option<RunState>, RunError> {
        AtomicDir::recover(&self.path)?;
        self.peek()
    }

    /// The state as it lies there, without undoing anything: somebody else may be writing.
    pub fn peek(&self) -> Result<Option<RunState>, RunError> {
        let path = self.path.join(STATE);
        let broken = |problem: String| RunError::File {
            path: path.clone(),
            problem,
            fix: "remove the folder `checkpoint` and train from the beginning".into(),
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(&path, &error)),
            Ok(metadata) if metadata.len() > STATE_LIMIT => {
                return Err(broken(format!("{} bytes are no state", metadata.len())));
            }
            Ok(_) => {}
        }
        let text = fs::read(&path).map_err(|error| fault(&path, &error))?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(FIRST | VERSION) => {}
            Some(other) => {
                return Err(broken(format!(
                    "its format is {other}, this program reads {FIRST} and {VERSION}"
                )));
            }
            None => return Err(broken("it has no `version`".into())),
        }
        let state = serde_json::from_value(value).map_err(|error| broken(error.to_string()))?;
        Ok(Some(state))
    }

    /// The tensors that belong to a state.
    pub fn tensors(&self, state: &RunState) -> Result<TrainerState, RunError> {
        let path = self.path.join(TENSORS);
        let tensors = TrainerState::read(&path)?;
        if digest(&tensors, state.version) == state.tensors {
            return Ok(tensors);
        }
        Err(RunError::File {
            path,
            problem: "it does not hold what was written".into(),
            fix: "remove the folder `checkpoint` and train from the beginning".into(),
        })
    }

    /// What was chosen by a warm-up, if anything was.
    pub fn chosen(&self, state: &RunState) -> Result<WarmUpChoice, RunError> {
        let Some(phase) = state.phase.as_ref().filter(|one| !one.chosen.is_empty()) else {
            return Ok(WarmUpChoice::new());
        };
        let path = self.path.join(CHOSEN);
        let chosen = chosen::read(&path)?;
        if chosen::digest(&chosen) == phase.chosen {
            return Ok(chosen);
        }
        Err(RunError::File {
            path,
            problem: "it does not hold what was written".into(),
            fix: "remove the folder `checkpoint` and train from the beginning".into(),
        })
    }

    /// Put the best adapter of the checkpoint back into the output folder, where a later one may lie
    /// that the checkpoint does not know.
    pub fn restore_best(&self) -> Result<(), RunError> {
        for name in ADAPTER {
            let from = self.path.join(BEST).join(name);
            write_atomic(&self.output.join(name), |to| {
                io::copy(&mut fs::File::open(&from)?, to).map(drop)
            })?;
        }
        Ok(())
    }
}

/// Keep the adapter of a folder in another. Its files are never written in place, so a second name
/// for each will do where the file system has them.
fn keep(from: &Path, to: &Path) -> Result<(), RunError> {
    fs::create_dir(to).map_err(FormatError::io("create", to))?;
    for name in ADAPTER {
        let (from, to) = (from.join(name), to.join(name));
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(drop))
            .map_err(FormatError::io("copy", &from))?;
    }
    Ok(())
}

fn encode(state: &RunState) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(state).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Of all that a trainer's state holds, as a format has it.
fn digest(state: &TrainerState, version: u64) -> String {
    let bytes = |count: &u64| count.to_le_bytes().to_vec();
    let mut head = vec![bytes(&state.step)];
    match version {
        // The optimiser's own count came next, which was the same.
        FIRST => head.push(bytes(&state.step)),
        _ => {
            for counts in [&state.optimizer.counts, &state.chosen] {
                head.push(bytes(&(counts.len() as u64)));
                let each = |(of, count): (&String, &u64)| [of.clone().into_bytes(), bytes(count)];
                head.extend(counts.iter().flat_map(each));
            }
        }
    }
    let named = [
        &state.parameters,
        &state.optimizer.means,
        &state.optimizer.squares,
        &state.memory,
    ];
    let tensors = named.into_iter().flatten();
    let parts = tensors.flat_map(|(path, tensor)| [path.as_bytes(), &tensor.bytes]);
    hash::bytes(head.iter().map(Vec::as_slice).chain(parts))
}
