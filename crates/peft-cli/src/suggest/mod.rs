//! What to write instead of a flag or a verb that is not there.

mod words;

use std::ffi::OsString;

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use peft_run::core::format::near::nearest;

use self::words::{ELSEWHERE, VERBS, words_of};

/// What an error says of a verb that is not there; `None` for other errors.
pub fn unknown_verb(error: &Error, command: &Command, arguments: &[OsString]) -> Option<String> {
    let below = || verb(command, arguments).1.get_name() != command.get_name();
    // Verbs with verbs of their own list them.
    if error.kind() != ErrorKind::InvalidSubcommand || below() {
        return None;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let plain = given.to_lowercase().replace(['_', ' '], "-");
    let meant = VERBS
        .iter()
        .find(|(names, _)| names.contains(&plain.as_str()));
    let verbs = command.get_subcommands().map(Command::get_name);
    let near = nearest(&plain, verbs, 1);
    let instead = match (meant, near.first()) {
        (Some((_, instead)), _) => format!("; give `peft {instead}`"),
        (None, Some(name)) => format!("; did you mean `peft {name}`?"),
        (None, None) => String::new(),
    };
    Some(format!(
        "`{given}`: there is no such command{instead}; `peft --help` lists all commands"
    ))
}

/// What an error says of a flag that the verb does not have; `None` for other errors.
pub fn unknown_flag(error: &Error, command: &Command, arguments: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = given.strip_prefix("--")?.split('=').next()?;
    let (path, verb) = verb(command, arguments);
    let instead = by_meaning(flag, verb)
        .or_else(|| of_other_verbs(flag, command))
        .or_else(|| did_you_mean(&nearest(flag, flags(verb), 2)));
    let instead = match instead {
        Some(text) => format!("; {text}"),
        None => String::new(),
    };
    let help = match verb
        .get_arguments()
        .any(|arg| arg.get_long() == Some("help-all"))
    {
        true => "--help-all",
        false => "--help",
    };
    Some(format!(
        "--{flag}: `{path}` has no such flag{instead}; `{path} {help}` shows all that it has"
    ))
}

/// The verb that arguments name, and how it is called.
fn verb<'a>(command: &'a Command, arguments: &[OsString]) -> (String, &'a Command) {
    let mut found = (command.get_name().to_owned(), command);
    for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
        match found.1.find_subcommand(word) {
            Some(below) => found = (format!("{} {word}", found.0), below),
            None if word.starts_with('-') => {}
            None => break,
        }
    }
    found
}

fn flags(verb: &Command) -> impl Iterator<Item = &str> {
    verb.get_arguments().filter_map(|arg| arg.get_long())
}

/// A flag of the verb that means what was given.
fn by_meaning(flag: &str, verb: &Command) -> Option<String> {
    let has = |name: &str| flags(verb).any(|one| one == name);
    let known = ELSEWHERE.iter().find(|(names, instead, _)| {
        let first = instead.split(' ').next().unwrap_or(instead);
        names.contains(&flag) && has(first)
    });
    if let Some((_, instead, why)) = known {
        return Some(match *why {
            "" => format!("give --{instead}"),
            why => format!("give --{instead}: {why}"),
        });
    }
    // The words that say what is meant, in any order: `--rank-of-lora`, `--stop-early`.
    let meant = words_of(flag);
    let alike = flags(verb).filter(|name| {
        let own = words_of(name);
        !own.is_empty() && own.iter().all(|word| meant.contains(word))
    });
    let most = alike.max_by_key(|name| words_of(name).len());
    did_you_mean(&most.into_iter().collect::<Vec<_>>())
}

fn did_you_mean(names: &[&str]) -> Option<String> {
    let dashed: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", dashed.join(" or ")))
}

/// The verbs that have the flag.
fn of_other_verbs(flag: &str, command: &Command) -> Option<String> {
    let with = command
        .get_subcommands()
        .filter(|verb| flags(verb).any(|one| one == flag));
    let names: Vec<String> = with
        .map(|verb| format!("`peft {}`", verb.get_name()))
        .collect();
    match names.as_slice() {
        [] => None,
        names => Some(format!("it is a flag of {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::args::command;

    fn told(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = command().try_get_matches_from(&arguments).unwrap_err();
        unknown_flag(&error, &command(), &arguments).unwrap()
    }

    #[test]
    fn flags_are_suggested_by_what_they_mean() {
        for (given, expected) in [
            ("--lora-rank=4", "--rank"),
            ("--lr=1e-3", "--learning-rate"),
            ("--early-stop", "--early-stopping"),
            ("--stop-early", "--early-stopping"),
            ("--patience", "--early-stopping"),
            ("--num-train-epochs=2", "--epochs"),
            ("--load-in-4bit", "--quantize nf4"),
            ("--bathc-size=2", "--batch-size"),
            ("--gradient-checkpointing", "--recompute"),
            ("--temperature", "`peft generate`"),
        ] {
            let text = told(&format!("peft train {given}"));
            assert!(text.contains(expected), "{given}: {text}");
            assert!(text.contains("`peft train --help-all`"), "{text}");
        }
        let strange = told("peft data preview --xylophone");
        assert_eq!(
            strange,
            "--xylophone: `peft data preview` has no such flag; `peft data preview --help` shows all that it has"
        );
    }

    fn verb_told(line: &str) -> Option<String> {
        let arguments: Vec<OsString> = std::iter::once("peft")
            .chain(line.split(' '))
            .map(OsString::from)
            .collect();
        let error = command().try_get_matches_from(&arguments).unwrap_err();
        unknown_verb(&error, &command(), &arguments)
    }

    #[test]
    fn verbs_are_suggested_by_what_they_mean() {
        for (given, expected) in [
            ("finetune", "`peft train`"),
            ("Fine_Tune", "`peft train`"),
            ("evaluate", "`peft eval`"),
            ("trian", "`peft train`"),
            ("quantise", "`peft train --quantize nf4`"),
        ] {
            let text = verb_told(given).unwrap();
            assert!(text.contains(expected), "{given}: {text}");
        }
        assert_eq!(verb_told("data fit"), None);
        assert_eq!(
            verb_told("xylophone").unwrap(),
            "`xylophone`: there is no such command; `peft --help` lists all commands"
        );
        for (names, instead) in VERBS {
            let line: Vec<&str> = instead.split(' ').collect();
            assert!(command().find_subcommand(line[0]).is_some(), "{instead}");
            assert!(
                names
                    .iter()
                    .all(|name| command().find_subcommand(name).is_none())
            );
        }
    }

    #[test]
    fn every_suggestion_is_a_flag() {
        fn collect(command: &Command, all: &mut BTreeSet<String>) {
            all.extend(flags(command).map(str::to_owned));
            command
                .get_subcommands()
                .for_each(|verb| collect(verb, all));
        }
        let mut all = BTreeSet::new();
        collect(&command(), &mut all);
        for (names, instead, _) in ELSEWHERE {
            let first = instead.split(' ').next().unwrap();
            assert!(all.contains(first), "{instead}");
            assert!(!names.contains(&first), "{first}");
        }
    }
}
