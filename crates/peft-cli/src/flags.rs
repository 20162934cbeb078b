//! Settings by their flags: libraries name settings, and who uses the command knows flags.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use peft_config::{Origin, Problem};
use peft_run::{RunError, TrainError, models::ModelError};

use crate::args::Cli;

/// What an error says, with flags for settings. Where it quotes data or files, these stay as they are.
pub fn told(error: &RunError) -> String {
    match error {
        RunError::Setting {
            setting,
            problem,
            fix,
        } => format!("{}: {problem}; {}", in_flags(setting), in_flags(fix)),
        RunError::Output {
            folder,
            problem,
            fix,
        } => format!("{}: {problem}; {}", folder.display(), in_flags(fix)),
        RunError::Device {
            device,
            problem,
            fix,
        } => format!("device `{device}`: {problem}; {}", in_flags(fix)),
        RunError::Model(ModelError::Head { path, problem, fix }) => {
            format!("{}: {problem}; {}", path.display(), in_flags(fix))
        }
        RunError::Train(TrainError::SilentAdapters { .. }) => error.to_string().replace(
            "exclude these modules",
            "leave them out with --exclude-modules",
        ),
        // One of a file says where, and a word of the command line is quoted.
        RunError::Settings(problems) if problems.iter().next().is_some_and(by_default) => {
            in_flags(&error.to_string())
        }
        RunError::Train(TrainError::NotMoved { .. })
        | RunError::Interrupted { .. }
        | RunError::InterruptedBefore { .. }
        | RunError::NotPrepared { .. }
        | RunError::Changed { .. } => in_flags(&error.to_string()),
        other => settings_in_flags(&other.to_string()),
    }
}

fn by_default(problem: &Problem) -> bool {
    problem.origin == Origin::Default
}

/// A text with `--label-column` for "the setting `label_column`", which no name in data or files is taken for.
pub fn settings_in_flags(text: &str) -> String {
    const SETTING: &str = "the setting `";
    let flags = all();
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(SETTING) {
        told += before;
        let flag = after
            .split_once('`')
            .map(|(name, after)| (name.replace('_', "-"), after));
        rest = match flag {
            Some((flag, after)) if flags.contains(&flag) => {
                told += &format!("--{flag}");
                after
            }
            _ => {
                told += SETTING;
                after
            }
        };
    }
    told + rest
}

/// A text with `--label-column` for `` `label_column` ``.
pub fn in_flags(text: &str) -> String {
    let flags = all();
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        told += before;
        let Some((name, after)) = after.split_once('`') else {
            told.push('`');
            rest = after;
            continue;
        };
        let flag = name.replace('_', "-");
        match flags.contains(&flag) {
            true => told += &format!("--{flag}"),
            false => told += &format!("`{name}`"),
        }
        rest = after;
    }
    told + rest
}

/// The flags of all commands, without dashes in front.
fn all() -> BTreeSet<String> {
    fn collect(command: &Command, flags: &mut BTreeSet<String>) {
        let own = command.get_arguments().filter_map(|one| one.get_long());
        flags.extend(own.map(str::to_owned));
        for below in command.get_subcommands() {
            collect(below, flags);
        }
    }
    let mut flags = BTreeSet::new();
    collect(&Cli::command(), &mut flags);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_by_their_flags() {
        let told =
            in_flags("`adapter` a: give `label_column`, or `peft predict`; `dtype` f32 and `x");
        assert_eq!(
            told,
            "--adapter a: give --label-column, or `peft predict`; --dtype f32 and `x"
        );
        let error = RunError::Setting {
            setting: "`data`".into(),
            problem: "all rows have the label `steps`".into(),
            fix: "name the column with `label_column`".into(),
        };
        assert_eq!(
            settings_in_flags(
                "column `seed` is not there: give the setting `label_column` or the setting `x`"
            ),
            "column `seed` is not there: give --label-column or the setting `x`"
        );
        let base = |model: &str| {
            let text =
                format!(r#"{{"model": "{model}", "hash": "xxh3:00", "tensors": 1, "bytes": 4}}"#);
            Box::new(serde_json::from_str(&text).unwrap())
        };
        // A folder may be called like a flag.
        let other = RunError::OtherBase {
            adapter: "out".into(),
            recorded: base("model"),
            found: base("output"),
        };
        let told = super::told(&other);
        assert!(
            told.contains("trained on `model` (") && told.contains("`output` ("),
            "{told}"
        );
        assert!(told.contains("as --model, or --any-base to use"), "{told}");
        assert_eq!(
            super::told(&error),
            "--data: all rows have the label `steps`; name the column with --label-column"
        );
    }
}
