//! Where a sweep is to be written: what lies there, and what of it may go.

use std::{fs, io, path::Path};

use anyhow::{Context, Result, bail, ensure};
use peft_run::expect_only_runs;
use peft_search::study::{DESCRIPTION, Description, JOURNAL, Study};

use super::grid::{Given, TRIALS};

/// Everything that a sweep writes beside its runs.
const OWN: [&str; 6] = [
    DESCRIPTION,
    JOURNAL,
    "lock",
    "workers",
    "report.html",
    "sweep.svg",
];

/// A folder for a new sweep.
pub enum Place {
    Vacant,
    /// It holds a finished sweep, which may go as soon as it is known that the new one makes sense.
    Finished,
}

impl Place {
    /// Look at a folder, and refuse what would be lost.
    pub fn of(folder: &Path, overwrite: bool) -> Result<Self> {
        let shown = folder.display();
        let names = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Vacant),
            Err(error) => bail!("--output {shown}: {error}"),
            Ok(entries) => {
                let names =
                    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
                names.collect::<io::Result<Vec<String>>>()
            }
        };
        let names = names.with_context(|| format!("--output {shown}"))?;
        if names.is_empty() {
            return Ok(Self::Vacant);
        }
        let is_sweep = folder.join(DESCRIPTION).is_file()
            && Given::from_context(&Description::read(folder)?.context).is_some();
        let strange = |name: &&String| !OWN.contains(&name.as_str()) && *name != TRIALS;
        if let (Some(name), true) = (names.iter().find(strange), is_sweep) {
            bail!(
                "--output {shown}: it holds `{name}` beside a sweep, which no sweep wrote; choose another folder"
            );
        }
        ensure!(
            is_sweep,
            "--output {shown}: it holds something else, which would be mixed with the sweep; choose another folder"
        );
        let study = Study::look(folder)?;
        let trials = study.history().trials();
        let ended = trials
            .iter()
            .filter(|trial| trial.outcome.is_some())
            .count() as u64;
        let all = study.description().budget.trials.unwrap_or(u64::MAX);
        ensure!(
            ended >= all,
            "--output {shown}: it holds a sweep of which {ended} of {all} runs are done; add --resume to continue \
             it, or choose another folder"
        );
        ensure!(
            overwrite,
            "--output {shown}: it holds a finished sweep of {all} runs; add --overwrite to replace it, or choose \
             another folder"
        );
        expect_only_runs(&folder.join(TRIALS))?;
        Ok(Self::Finished)
    }

    /// Make room: a finished sweep goes, its journal first, without which the rest is none.
    pub fn clear(self, folder: &Path) -> Result<()> {
        let Self::Finished = self else {
            return Ok(());
        };
        let names = [JOURNAL, DESCRIPTION, TRIALS].into_iter();
        for name in names.chain(OWN.into_iter().skip(2)) {
            let path = folder.join(name);
            let gone = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
