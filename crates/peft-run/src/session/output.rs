//! The output folder: can it be written, does another run write to it, what does it hold.

use std::{
    fs::{File, TryLockError},
    io::Read,
    path::Path,
};

use peft_format::atomic::AtomicFile;

use super::select::LAST;
use crate::{
    Progress, RunConfig, RunError, base,
    checkpoint::{CHECKPOINT, CheckpointFolder, Ending, RunState},
    event::{LOG, fault},
    occupied,
    report::{REPORT, worst::WORST},
    task,
    tensorboard::EVENTS,
};

/// The output folder, before any work is done.
pub struct Claim {
    /// Its log, locked, if there is one already.
    pub log: Option<File>,
    /// What to do there.
    pub start: Start,
}

impl Claim {
    /// Claim the folder that a run writes to, and decide by what is there.
    pub fn of(config: &RunConfig, progress: &mut dyn Progress) -> Result<Self, RunError> {
        let log = claim(&config.output)?;
        let start = Start::decide(config, progress)?;
        Ok(Self { log, start })
    }
}

/// Make sure, before any work is done, that files can be made where the output will be, and that no
/// other process is at work there. Leaves nothing behind; the lock is held with the log, if there is
/// one already.
fn claim(output: &Path) -> Result<Option<File>, RunError> {
    let refuse = |problem: String| RunError::Output {
        folder: output.to_owned(),
        problem,
        fix: "choose another `output`, or make it writable".into(),
    };
    let mut place = output;
    while !place.exists() {
        place = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    if !place.is_dir() {
        return Err(refuse(format!("`{}` is a file", place.display())));
    }
    // Permissions, read-only file systems and quotas answer to a try only.
    AtomicFile::create(&place.join("writable")).map_err(|error| {
        let reason = std::error::Error::source(&error).map_or(String::new(), |e| format!(": {e}"));
        refuse(format!(
            "no file can be made in `{}`{reason}",
            place.display()
        ))
    })?;
    let path = output.join(LOG);
    if !path.exists() {
        return Ok(None);
    }
    let log = File::options().read(true).write(true).open(&path);
    let log = log.map_err(|error| fault(&path, &error))?;
    lock(&log, output)?;
    Ok(Some(log))
}

/// Lock a log for as long as it is open.
pub fn lock(log: &File, output: &Path) -> Result<(), RunError> {
    // Elsewhere a lock would keep readers out too.
    if !cfg!(unix) {
        return Ok(());
    }
    match log.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RunError::Output {
            folder: output.to_owned(),
            problem: "another run is writing there".into(),
            fix: "let it end, or choose another `output`".into(),
        }),
        // Some network file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// What a run writes into its folder.
const WRITTEN: [&str; 18] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "README.md",
    "run.toml",
    "loss.svg",
    "accuracy.svg",
    "f1.svg",
    "pearson.svg",
    "perplexity.svg",
    LOG,
    EVENTS,
    REPORT,
    WORST,
    CHECKPOINT,
    LAST,
    task::NAME,
    base::NAME,
    // The model's own folder, and whatever else is one.
    "config.json",
];

/// Refuse a folder in which anything but folders of runs lies, or one of these with something that no run wrote: so
/// that nothing is lost when all of it goes. One that is not there holds nothing.
///
/// # Errors
/// [`RunError::Output`] that names it.
pub fn expect_only_runs(folder: &Path) -> Result<(), RunError> {
    if !folder.exists() {
        return Ok(());
    }
    let entries = |folder: &Path| {
        let read = std::fs::read_dir(folder).map_err(|error| fault(folder, &error))?;
        read.map(|entry| Ok(entry.map_err(|error| fault(folder, &error))?.path()))
            .collect::<Result<Vec<_>, RunError>>()
    };
    for run in entries(folder)? {
        let strange = match run.is_dir() {
            true => entries(&run)?.into_iter().find(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_none_or(|name| !WRITTEN.contains(&name))
            }),
            false => Some(run),
        };
        if let Some(path) = strange {
            return Err(RunError::Output {
                folder: folder.to_owned(),
                problem: format!("`{}` lies there, which no run wrote", path.display()),
                fix: "move it elsewhere, or choose another `output`".into(),
            });
        }
    }
    Ok(())
}

/// Whether a folder holds what a run writes first, its log and its settings, and nothing that comes later.
fn begun(output: &Path) -> bool {
    const EVENT: &[u8] = b"{\"event\":";
    let mut head = [0; EVENT.len()];
    let Ok(mut log) = File::open(output.join(LOG)) else {
        return false;
    };
    let ours = match log.read(&mut head) {
        Ok(0) => true,
        Ok(read) => head[..read] == *EVENT,
        Err(_) => false,
    };
    let later = WRITTEN
        .iter()
        .filter(|name| ![LOG, EVENTS, "run.toml"].contains(*name));
    ours && later
        .map(|name| output.join(name))
        .all(|path| !path.exists())
}

/// What to do, going by what an earlier run left.
pub enum Start {
    /// Start at the first step.
    Afresh,
    /// Go on from a checkpoint, or report what a finished run came to.
    From(Box<RunState>),
}

impl Start {
    /// Decide; what a user might not expect is told, and what would lose work refused.
    fn decide(config: &RunConfig, progress: &mut dyn Progress) -> Result<Self, RunError> {
        let (output, resume) = (config.output.as_path(), config.resume);
        let folder = CheckpointFolder::of(output);
        let refuse = |problem: String, fix: &str| {
            Err(RunError::Output {
                folder: output.to_owned(),
                problem,
                fix: fix.into(),
            })
        };
        let state = folder.read()?;
        let shown = output.display();
        match (state, resume) {
            (Some(state), true) => Ok(Self::From(Box::new(state))),
            (None, true) if output.join("adapter_config.json").exists() => refuse(
                "it holds an adapter but no checkpoint to resume from".into(),
                "give it with `adapter` to continue from the adapter, in another `output`",
            ),
            (None, true) if output.join(LOG).exists() => {
                progress.notice(&format!(
                    "the run in {shown} ended before its first checkpoint: starting from the beginning"
                ));
                Ok(Self::Afresh)
            }
            (None, true) => refuse(
                "there is no run to resume".into(),
                "check `output`, or leave out `resume` to start one",
            ),
            (Some(state), false) => match &state.ending {
                Some(Ending::Finished(_)) if config.overwrite => Ok(Self::Afresh),
                Some(Ending::Finished(report)) => refuse(
                    format!("it holds a finished run of {} steps", report.steps),
                    "add `overwrite` to replace it, or choose another `output`",
                ),
                Some(Ending::BrokeDown(_)) => Ok(Self::Afresh),
                None => refuse(
                    format!(
                        "it holds an interrupted run, saved after step {} of {}",
                        state.step, state.total_steps
                    ),
                    "add `resume` to continue it, choose another `output`, or remove its folder \
                     `checkpoint` to start afresh",
                ),
            },
            // A run that ended before its first checkpoint has left its log, and nothing to lose.
            (None, false) if begun(output) => Ok(Self::Afresh),
            (None, false) => {
                occupied::expect_vacant(output, &WRITTEN)?;
                Ok(Self::Afresh)
            }
        }
    }
}
