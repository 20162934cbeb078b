//! What a run leaves for people: a model card and plots.

mod card;
pub(crate) mod curves;
mod log;

use std::path::Path;

use peft_core::Method;
use peft_format::atomic::write_atomic_bytes;

pub(crate) use self::{
    card::{can_merge, shell},
    log::Log,
};
use crate::{RunConfig, RunError, TaskFile, checkpoint::Best, event::LOG};

/// A run that has ended, or was interrupted.
pub struct Summary<'a> {
    /// Its settings, as they were resolved.
    pub config: &'a RunConfig,
    /// The base's name on the hub, where it is known.
    pub base: Option<String>,
    /// The method of its adapters.
    pub method: &'a dyn Method,
    /// The layer on which Hugging Face PEFT refuses the adapter, though it has the method.
    pub refused_on: Option<&'static str>,
    /// What it predicts.
    pub task: &'a TaskFile,
    /// Steps done.
    pub step: u64,
    /// The adapter that is kept, if one was selected yet.
    pub best: Option<&'a Best>,
    /// Whether nothing is left to do.
    pub finished: bool,
}

impl Summary<'_> {
    /// The base as readers elsewhere find it: by its name on the hub, else the folder.
    fn base_name(&self) -> String {
        let folder = || self.config.model.to_string_lossy().into_owned();
        self.base.clone().unwrap_or_else(folder)
    }

    /// What people call the base.
    fn model_name(&self) -> String {
        short_name(Path::new(&self.base_name()))
    }
}

/// Write `README.md`, `loss.svg` and the plot of the main metric into the output folder.
///
/// All figures of training come from `metrics.jsonl`, so that those of an earlier part of the same run
/// are there, too.
pub fn write(run: &Summary) -> Result<(), RunError> {
    let folder = &run.config.output;
    let log = Log::read(&folder.join(LOG))?;
    let objective = run.task.objective();
    let metric = objective.main_metric();
    let model = run.model_name();
    let of = curves::Of {
        method: &run.config.method,
        model: &model,
        kept: run.best.map(|best| best.step),
    };
    let file = |name: &str, text: String| write_atomic_bytes(&folder.join(name), text.as_bytes());
    file("loss.svg", curves::loss(of, &log).svg())?;
    file(
        &format!("{metric}.svg"),
        curves::metric(of, &log, objective.as_ref()).svg(),
    )?;
    file("README.md", card::card(run, &log, objective.as_ref()))?;
    Ok(())
}

/// The last part of a path: what people call a model.
fn short_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
