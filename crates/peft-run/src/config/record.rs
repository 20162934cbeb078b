//! The file beside an adapter that runs the same training again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use peft_format::atomic::write_atomic_bytes;
use serde_json::Value;

use crate::{RunConfig, RunError};

/// Name of the file in the output folder.
pub const RECORD: &str = "run.toml";

/// Write every setting of a run, as it was resolved, into its output folder. `rates` says what becomes of the
/// learning rate, where it is not taken as it is.
pub fn record(config: &RunConfig, rates: Option<&str>) -> Result<(), RunError> {
    let comment = |key: &str| match key {
        "learning_rate" => rates.map(str::to_owned),
        _ => None,
    };
    let path = config.output.join(RECORD);
    let values = match serde_json::to_value(config) {
        Ok(Value::Object(values)) => values,
        _ => Default::default(),
    };
    let text = format!(
        "# Written by peft {}. The same training again, from the same folder:\n\
         # peft train --config {} output=ELSEWHERE\n\n{}",
        env!("CARGO_PKG_VERSION"),
        path.display().to_string().replace(char::is_control, "?"),
        peft_config::write(&values, &comment)
    );
    Ok(write_atomic_bytes(&path, text.as_bytes())?)
}

/// The file of settings that a run left in its folder: with it the run can be gone on with, or repeated.
///
/// # Errors
/// If there is none.
pub fn recorded(output: &Path) -> Result<PathBuf, RunError> {
    let path = output.join(RECORD);
    match path.is_file() {
        true => Ok(path),
        false => Err(RunError::Output {
            folder: output.to_owned(),
            problem: format!("there is no run to resume: it holds no {RECORD}"),
            fix: "check `output`; to start a run, leave out `resume` and give `model` and `data`"
                .into(),
        }),
    }
}

/// Whether the run that a folder records computes blocks again for their gradients.
pub fn recomputed(output: &Path) -> bool {
    let says = |line: &str| line.trim() == "recompute = true";
    fs::read_to_string(output.join(RECORD)).is_ok_and(|text| text.lines().any(says))
}
