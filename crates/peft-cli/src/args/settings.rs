//! The flags of a run, made from its settings and from those of every method.

use std::{ffi::OsStr, sync::OnceLock};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint,
    builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser},
};
use peft_config::{Kind, Setting};
use peft_run::{
    Flag, RunConfig,
    methods::{METHODS, selectable},
};

/// Heading under which the settings of methods stand.
const METHOD: &str = "Method";

/// Flags as they were given, in no particular order.
#[derive(Debug, Clone, Default)]
pub struct SettingFlags(pub Vec<Flag>);

/// A flag and what its help says.
struct Known {
    name: String,
    help: String,
    value: String,
    heading: Option<String>,
    kind: Kind,
}

impl Known {
    fn new(setting: &Setting) -> Option<Self> {
        let name = setting.flag.clone()?;
        let value = setting.value_name.clone();
        Some(Self {
            help: setting.described(),
            value: value.unwrap_or_else(|| name.replace('-', "_").to_uppercase()),
            heading: setting.heading.clone(),
            kind: setting.kind.clone(),
            name,
        })
    }

    fn arg(&'static self) -> Arg {
        let arg = Arg::new(self.name.as_str())
            .long(self.name.as_str())
            .help(self.help.as_str())
            .help_heading(self.heading.as_deref())
            .value_name(self.value.as_str());
        let arg = match self.value.as_str() {
            "DIR" => arg.value_hint(ValueHint::DirPath),
            "FILE" => arg.value_hint(ValueHint::FilePath),
            _ => arg,
        };
        match &self.kind {
            // Off by `--recompute=false`, for a file may have turned it on.
            Kind::Boolean => arg
                .value_parser(["true", "false"])
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_possible_values(true),
            Kind::Choice(words) => arg.value_parser(PossibleValuesParser::new(
                words.iter().map(String::as_str).collect::<Vec<_>>(),
            )),
            _ if self.name == "method" => arg.value_parser(MethodName),
            Kind::Table(_) => arg.action(ArgAction::Append),
            Kind::Whole | Kind::Number => arg.allow_negative_numbers(true),
            _ => arg,
        }
    }
}

/// The name of a method: any text, for what is none is told with what is like it, but help and completions know all.
#[derive(Debug, Clone)]
struct MethodName;

impl TypedValueParser for MethodName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            selectable().map(|entry| PossibleValue::new(entry.name)),
        ))
    }
}

/// Every flag, in the order of the help.
fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut all = Vec::new();
        let mut methods = of_methods();
        for setting in RunConfig::settings() {
            if setting.heading.as_deref() == Some(METHOD) {
                all.append(&mut methods);
            }
            all.extend(Known::new(setting));
        }
        all
    })
}

/// The names of the flags, without dashes in front.
pub fn flag_names() -> impl Iterator<Item = &'static str> {
    known().iter().map(|known| known.name.as_str())
}

/// Whether a setting of a run or of a method has this flag.
pub fn is_flag(name: &str) -> bool {
    flag_names().any(|flag| flag == name)
}

/// What methods say of a flag that they have.
struct OfMethods {
    known: Known,
    /// Every text, and the methods that have it.
    texts: Vec<(String, Vec<&'static str>)>,
    default: Option<String>,
}

impl OfMethods {
    fn new(known: Known, setting: &Setting, method: &'static str) -> Self {
        Self {
            known,
            texts: vec![(setting.text().to_owned(), vec![method])],
            default: setting.default_text(),
        }
    }

    fn add(&mut self, known: &Known, setting: &Setting, method: &'static str) {
        if self.known.kind != known.kind {
            self.known.kind = Kind::Any;
        }
        if self.default != setting.default_text() {
            self.default = Some("the method's".to_owned());
        }
        match self
            .texts
            .iter_mut()
            .find(|(text, _)| text == setting.text())
        {
            Some((_, methods)) => methods.push(method),
            None => self.texts.push((setting.text().to_owned(), vec![method])),
        }
    }

    /// The flag with one help text, which says of which methods it is where it is not of all.
    fn into_known(mut self) -> Known {
        let of_all = matches!(&self.texts[..], [(_, methods)] if methods.len() == METHODS.len());
        let texts = self.texts.iter().map(|(text, methods)| match of_all {
            true => text.clone(),
            false => format!("{text} ({})", methods.join(", ")),
        });
        self.known.help = texts.collect::<Vec<_>>().join("; ");
        if let Some(default) = self.default {
            self.known.help += &format!(" [default: {default}]");
        }
        self.known.heading = Some(METHOD.to_owned());
        self.known
    }
}

/// The flags of all methods.
fn of_methods() -> Vec<Known> {
    let mut all: Vec<OfMethods> = Vec::new();
    for entry in METHODS {
        for setting in &entry.settings() {
            let Some(flag) = Known::new(setting) else {
                continue;
            };
            match all.iter_mut().find(|one| one.known.name == flag.name) {
                Some(found) => found.add(&flag, setting, entry.name),
                None => all.push(OfMethods::new(flag, setting, entry.name)),
            }
        }
    }
    all.into_iter().map(OfMethods::into_known).collect()
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(known().iter().map(Known::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = known().iter().flat_map(|known| {
            let values = matches.get_many::<String>(&known.name);
            values.into_iter().flatten().map(|text| Flag {
                name: known.name.clone(),
                text: text.clone(),
            })
        });
        Ok(Self(flags.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_settings_share_a_flag() {
        let mut names: Vec<&str> = known().iter().map(|known| known.name.as_str()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.contains(&"rank") && names.contains(&"batch-size"));
    }
}
