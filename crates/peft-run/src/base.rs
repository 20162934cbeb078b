//! Which base an adapter was trained on: the file beside it.

use std::path::Path;

use peft_format::Fingerprint;
use peft_models::ModelFolder;
use serde::{Deserialize, Serialize};

use crate::{RunError, sidecar};

/// Name of the file.
pub(crate) const NAME: &str = "base.json";

/// The base of an adapter, in `base.json` beside it.
///
/// PEFT's own files name the base, but folders are moved and models are updated under the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    /// The model folder, as it was given.
    pub model: String,
    /// Its weights.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
}

impl BaseFile {
    /// The base in a folder.
    ///
    /// # Errors
    /// If its tensors cannot be read.
    pub fn of(folder: &ModelFolder) -> Result<Self, RunError> {
        Ok(Self {
            model: folder.path().to_string_lossy().into_owned(),
            fingerprint: Fingerprint::of(folder.checkpoint())?,
        })
    }

    /// Read the file of an adapter folder; `None` where there is none, as in adapters of PEFT.
    ///
    /// # Errors
    /// If it is broken.
    pub fn read(adapter: &Path) -> Result<Option<Self>, RunError> {
        sidecar::read(adapter, NAME)
    }

    /// Write the file into an adapter folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, adapter: &Path) -> Result<(), RunError> {
        sidecar::write(adapter, NAME, self)
    }

    /// Refuse a base whose weights are not those that the adapter was trained on; an adapter
    /// without a record is taken at its word.
    ///
    /// # Errors
    /// [`RunError::OtherBase`].
    pub fn expect(adapter: &Path, folder: &ModelFolder) -> Result<(), RunError> {
        let Some(recorded) = Self::read(adapter)? else {
            return Ok(());
        };
        recorded.expect_same(adapter, &Self::of(folder)?)
    }

    /// Refuse a base other than this record of an adapter's.
    ///
    /// # Errors
    /// [`RunError::OtherBase`].
    pub fn expect_same(&self, adapter: &Path, found: &Self) -> Result<(), RunError> {
        if self.fingerprint.hash == found.fingerprint.hash {
            return Ok(());
        }
        Err(RunError::OtherBase {
            adapter: adapter.to_owned(),
            recorded: Box::new(self.clone()),
            found: Box::new(found.clone()),
        })
    }
}
