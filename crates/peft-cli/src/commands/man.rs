use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use peft_run::core::format::atomic::write_atomic;

use crate::args::{Cli, ManArgs};

/// `peft man`: manual pages from the flags' own definitions.
pub fn man(args: &ManArgs) -> Result<ExitCode> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    match &args.output {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making the folder {}", folder.display()))?;
            write_all(&command, folder)?;
        }
        None => {
            let mut page = &command;
            for verb in &args.verb {
                page = page.find_subcommand(verb).with_context(|| {
                    let verbs: Vec<&str> = page.get_subcommands().map(Command::get_name).collect();
                    format!(
                        "there is no verb `{verb}`; the verbs are {}",
                        verbs.join(", ")
                    )
                })?;
            }
            render(page, &mut io::stdout().lock())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The page of a command and of all below it, such as `peft-data-preview.1`.
fn write_all(command: &Command, folder: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    write_atomic(&folder.join(format!("{name}.1")), |out| {
        render(command, out)
    })?;
    command
        .get_subcommands()
        .try_for_each(|verb| write_all(verb, folder))
}

fn render(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    out.write_all(&page)
}
