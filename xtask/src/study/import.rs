//! Taking over a run that was carried out by hand.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};

use super::definition::Study;
use super::outcome::Outcome;
use super::runner::Tools;
use super::settings::Run;

#[derive(Clone, Debug)]
pub struct Import {
    arm: String,
    seed: u64,
    folder: PathBuf,
}

impl FromStr for Import {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '=');
        let mut next = || parts.next().ok_or("write ARM=SEED=DIR");
        let (arm, seed, folder) = (next()?, next()?, next()?);
        let seed = seed.parse().map_err(|_| format!("{seed:?} is no seed"))?;
        Ok(Self {
            arm: arm.to_owned(),
            seed,
            folder: folder.into(),
        })
    }
}

impl Import {
    /// Copies the result into the work folder, if it is one of the study's own runs.
    pub fn carry_out(&self, study: &Study, tools: &Tools) -> Result<()> {
        let path = self.folder.join("result.json");
        let arm = study.arms.iter().find(|arm| arm.name == self.arm);
        let arm = arm.with_context(|| format!("--import: no arm {:?}", self.arm))?;
        let outcome = Outcome::read(&path)?;
        let run = Run {
            study,
            arm,
            learning_rate: outcome.learning_rate,
            seed: self.seed,
        };
        outcome
            .check_is_of(&run)
            .with_context(|| format!("{} is not a run of this study", path.display()))?;
        outcome.write(&tools.work.join(run.folder()).join("result.json"))
    }
}
