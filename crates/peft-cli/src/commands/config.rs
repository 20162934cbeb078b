use std::process::ExitCode;

use anyhow::Result;
use peft_run::{RunConfig, RunError, Sources};

use super::{print, say};
use crate::args::ConfigCommand;

/// `peft config`: files of settings.
pub fn config(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Schema => say(&format!("{:#}", RunConfig::schema()))?,
        ConfigCommand::Init { method } => print(&RunConfig::template(method)?)?,
        ConfigCommand::Validate { file, arguments } => {
            let sources = Sources {
                file: Some(file),
                flags: &[],
                arguments,
            };
            match RunConfig::examine(&sources) {
                Ok(_) => say(&format!("{}: OK", file.display()))?,
                Err(RunError::Settings(problems)) => {
                    for problem in problems.iter() {
                        say(&problem.to_string())?;
                    }
                    return Ok(ExitCode::FAILURE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
