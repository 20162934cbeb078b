//! The `peft` binary: arguments, terminal and exit codes. The work is done by `peft-run`.

#[macro_use]
mod tell;

mod adapter;
mod args;
mod commands;
mod flags;
mod interrupt;
mod meter;
mod model;
mod progress;
mod suggest;

use std::{ffi::OsString, process::ExitCode};

use clap::FromArgMatches;

use crate::args::{Cli, Command, DataCommand};

fn main() -> ExitCode {
    let commit = env!("PEFT_COMMIT");
    if !commit.is_empty() {
        peft_run::built_from(commit);
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut command = args::command();
    let parsed = command.try_get_matches_from_mut(&arguments);
    let cli = parsed.and_then(|matches| {
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    });
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => {
            let command = args::command();
            let told = suggest::unknown_flag(&error, &command, &arguments)
                .or_else(|| suggest::unknown_verb(&error, &command, &arguments));
            match told {
                Some(told) => tell!("peft: {told}"),
                // Help and version go to stdout with 0, wrong usage to stderr with 2.
                None => drop(error.print()),
            }
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("peft: {}", message(&error));
            ExitCode::from(2)
        }
    }
}

fn run(mut cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(verb) = cli.command.shows_all() {
        args::write_all(verb, &mut std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    // Those that train or generate have something to save.
    let ends_at_once = matches!(
        cli.command,
        Command::Plan(_)
            | Command::Eval(_)
            | Command::Predict(_)
            | Command::Merge(_)
            | Command::Convert(_)
            | Command::Report { .. }
            | Command::Runs(_)
            | Command::Verify(_)
            | Command::Inspect(_)
            | Command::Data(_)
    );
    if ends_at_once {
        interrupt::discard()?;
    }
    // A name on the hub becomes a folder before anything looks at it.
    if let Some(named) = cli.command.model() {
        *named = model::resolve(named, cli.offline)?;
    }
    for named in cli.command.adapters() {
        *named = adapter::resolve(named)?;
    }
    let computes = matches!(
        cli.command,
        Command::Quickstart(_)
            | Command::Train(_)
            | Command::Search(_)
            | Command::Sweep(_)
            | Command::Eval(_)
            | Command::Predict(_)
            | Command::Generate(_)
            | Command::Chat(_)
    );
    if computes {
        peft_run::keep_freed_memory();
    }
    match cli.command {
        Command::Quickstart(args) => commands::quickstart(&args, cli.offline),
        Command::Train(args) => commands::train(&args, cli.offline),
        Command::Plan(args) => commands::plan(&args, cli.offline),
        Command::Search(args) => commands::search(&args, cli.offline),
        Command::Sweep(args) => commands::sweep(&args, cli.offline),
        Command::Eval(args) => commands::eval(args),
        Command::Predict(args) => commands::predict(args),
        Command::Generate(args) => commands::generate(&args),
        Command::Chat(args) => commands::chat(&args),
        Command::Merge(args) => commands::merge(args),
        Command::Convert(args) => commands::convert(&args),
        Command::Report { folders } => commands::report(&folders),
        Command::Runs(args) => commands::runs(&args),
        Command::Verify(args) => commands::verify(&args),
        Command::Inspect(args) => commands::inspect(&args),
        Command::Data(DataCommand::Preview(args)) => commands::preview(&args),
        Command::Config(command) => commands::config(&command),
        Command::Man(args) => commands::man(&args),
        Command::Devices => commands::devices(),
        Command::Completions { shell } => commands::completions(shell),
    }
}

/// An error and its causes, each once: some messages quote their cause.
fn message(error: &anyhow::Error) -> String {
    // What is written anywhere else has its path in the message.
    let mut text = match error.downcast_ref::<std::io::Error>() {
        Some(_) if error.chain().count() == 1 => "standard output".to_owned(),
        _ => String::new(),
    };
    let told = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(error) => flags::told(error),
        None => flags::settings_in_flags(&cause.to_string()),
    };
    for cause in error.chain().map(told) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = text + colon + &cause;
        }
    }
    text
}

/// Whoever reads our output may stop reading.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
