use std::process::ExitCode;

use anyhow::Result;
use peft_run::{RunConfig, RunError, Sources};

use crate::args::ConfigCommand;

/// `peft config`: files of settings.
pub fn config(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Schema => println!("{:#}", RunConfig::schema()),
        ConfigCommand::Init { method } => print!("{}", RunConfig::template(method)?),
        ConfigCommand::Validate { file, arguments } => {
            let sources = Sources {
                file: Some(file),
                flags: &[],
                arguments,
            };
            match RunConfig::examine(&sources) {
                Ok(_) => println!("{}: OK", file.display()),
                Err(RunError::Settings(problems)) => {
                    for problem in problems.iter() {
                        println!("{problem}");
                    }
                    return Ok(ExitCode::FAILURE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
