//! Spaces whose configurations are settings of runs.

mod autopeft;
mod candidate;
mod file;
mod setting;
mod workspace;

pub use autopeft::AutoPeftSpace;
pub use candidate::LeftOut;
pub use file::FileSpace;
use peft_run::RunConfig;
pub use workspace::Workspace;

use super::RunsError;
use crate::{Configuration, Space};

/// A space whose configurations are settings of runs.
pub trait RunSpace: Send + Sync {
    /// The space.
    fn space(&self) -> &Space;

    /// The settings of a configuration's run: those that all share, and its own.
    ///
    /// # Errors
    /// If the configuration's values are none of the settings'.
    fn settings(
        &self,
        shared: &RunConfig,
        configuration: &Configuration,
    ) -> Result<RunConfig, RunsError>;

    /// Values that the file of the configuration's adapter holds beside the head, exactly.
    fn values(&self, configuration: &Configuration) -> f64;

    /// More values than the largest configuration has.
    fn most(&self) -> f64;

    /// Configurations to begin with.
    fn starts(&self) -> Vec<Configuration>;
}
