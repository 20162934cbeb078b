//! Whose a folder is: no study writes into that of something else.

use std::path::Path;

use super::{RunsError, differences::beside_rows};
use crate::SearchError;
use crate::study::{DESCRIPTION, Description};

/// The file in a folder of trials that says which study's they are, where that is kept elsewhere.
const TRIALS_OF: &str = "trials-of.json";

/// Refuse a folder that holds something else than a study.
pub fn expect_vacant(folder: &Path) -> Result<(), RunsError> {
    let holds = std::fs::read_dir(folder).is_ok_and(|mut inside| inside.next().is_some());
    if !holds || folder.join(DESCRIPTION).exists() {
        return Ok(());
    }
    Err(RunsError::setting(
        folder.display().to_string(),
        "it holds something else than a study",
        "choose another `output`",
    ))
}

/// Refuse a folder that holds something else than trials of this study.
pub fn expect_own(folder: &Path, description: &Description) -> Result<(), RunsError> {
    let path = folder.join(TRIALS_OF);
    let refuse = |problem: String| {
        let folder = folder.display().to_string();
        Err(RunsError::setting(
            folder,
            problem,
            "choose another `output`",
        ))
    };
    // Looked at first: another worker may make the file at this moment.
    let holds = std::fs::read_dir(folder).is_ok_and(|mut inside| inside.next().is_some());
    if path.exists() {
        let differences = beside_rows(&Description::read_file(&path)?, description);
        return match differences.is_empty() {
            true => Ok(()),
            false => refuse(format!(
                "it holds trials of another study: {}",
                differences.join("; ")
            )),
        };
    }
    if holds {
        return refuse("it holds something else than trials of this study".to_owned());
    }
    std::fs::create_dir_all(folder).map_err(SearchError::file(folder, "make"))?;
    Ok(description.write_file(&path)?)
}

/// Whether a folder holds trials of a study that is kept elsewhere.
pub fn has_trials_of(folder: &Path, description: &Description) -> bool {
    let found = Description::read_file(&folder.join(TRIALS_OF));
    found.is_ok_and(|found| beside_rows(&found, description).is_empty())
}
