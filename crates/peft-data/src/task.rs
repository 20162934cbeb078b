//! What is predicted from a text.

use serde::{Deserialize, Serialize};

/// The kind of prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One class of several; labels are names or numbers.
    Classify,
    /// One finite number.
    Regress,
}
