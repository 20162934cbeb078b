//! Why a model's numbers are none.

use std::path::Path;

use peft_models::ModelFolder;
use peft_train::TrainError;

use crate::RunError;

/// Of a number that is none ([`RunError::NotFinite`], or the same of a run), the cause, if it lies in the
/// weights of the base; else the error as it is. Reads the weights of `model` for that.
pub fn blame(error: RunError, model: &Path) -> RunError {
    let numeric = matches!(
        error,
        RunError::NotFinite { .. }
            | RunError::NextNotFinite { .. }
            | RunError::Train(TrainError::NotFinite { .. })
    );
    if !numeric {
        return error;
    }
    // The first error is the one to tell if the folder cannot be read any more.
    let found = ModelFolder::open(model)
        .ok()
        .and_then(|folder| broken_weight(&folder));
    found.unwrap_or(error)
}

/// The first weight of a base, of those that its model takes, that holds NaN or infinity.
fn broken_weight(folder: &ModelFolder) -> Option<RunError> {
    let layout = folder.description().layout();
    layout.parameters.iter().find_map(|(name, _)| {
        let stored = folder.find(name)?;
        let values = folder.checkpoint().to_f32(&stored).ok()?;
        let count = values.iter().filter(|value| !value.is_finite()).count();
        (count > 0).then(|| broken(folder, stored, count))
    })
}

/// A weight of the base that is no weight.
pub(crate) fn broken(folder: &ModelFolder, tensor: String, count: usize) -> RunError {
    RunError::BrokenBase {
        model: folder.path().to_owned(),
        tensor,
        count,
    }
}
