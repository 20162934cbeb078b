//! From a file, flags and arguments to the settings of a run.

use std::{collections::BTreeMap, path::Path, sync::OnceLock};

use peft_config::{Document, Layers, Origin, Problem, Problems, Setting, published, schema_of};
use peft_methods::selectable;
use serde_json::{Map, Value, json};

use crate::{RunConfig, RunError};

/// The table of the method's own settings.
const METHOD_TABLE: &str = "method_config";

/// A flag as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without dashes in front.
    pub name: String,
    /// Its value.
    pub text: String,
}

/// Where settings come from. Defaults are overruled by the file, the file by flags, and flags by
/// arguments. Relative paths mean the current folder, wherever they are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources<'a> {
    /// A TOML or YAML file.
    pub file: Option<&'a Path>,
    /// Flags of [`RunConfig::settings`] and of the method's own settings.
    pub flags: &'a [Flag],
    /// Arguments such as `batch_size=8` or `method_config.r=4`.
    pub arguments: &'a [String],
}

impl RunConfig {
    /// All settings but the method's own: keys, flags, help, types, defaults.
    pub fn settings() -> &'static [Setting] {
        static SETTINGS: OnceLock<Vec<Setting>> = OnceLock::new();
        SETTINGS.get_or_init(|| Setting::all(&schema_of::<Self>()))
    }

    /// JSON Schema of a file of settings, with the keys of every method.
    pub fn schema() -> Value {
        let mut schema = published(schema_of::<Self>());
        let names: Vec<&str> = selectable().map(|entry| entry.name).collect();
        let summaries = selectable().map(|entry| format!("{}: {}", entry.name, entry.summary));
        schema["properties"]["method"]["enum"] = json!(names);
        schema["properties"]["method"]["description"] = format!(
            "Method of adaptation: {}.",
            summaries.collect::<Vec<_>>().join("; ")
        )
        .into();
        let default = RunConfig::default().method;
        let rules = selectable().map(|entry| {
            let mut keys = published(entry.schema());
            keys["additionalProperties"] = false.into();
            if let Some(keys) = keys.as_object_mut() {
                keys.shift_remove("$schema");
            }
            let mut when = json!({ "properties": { "method": { "const": entry.name } } });
            if entry.name != default {
                when["required"] = json!(["method"]);
            }
            json!({ "if": when, "then": { "properties": { METHOD_TABLE: keys } } })
        });
        schema["allOf"] = rules.collect();
        schema
    }

    /// The settings that the sources come to.
    ///
    /// # Errors
    /// [`RunError::Format`] if the file cannot be read; [`RunError::Settings`] with every mistake
    /// and its place.
    pub fn resolve(sources: &Sources) -> Result<Self, RunError> {
        Gathered::from(sources)?.finish(Self::problems)
    }

    /// As [`resolve`](Self::resolve) for [`plan`](crate::plan), which needs neither data nor an output.
    ///
    /// # Errors
    /// As for [`resolve`](Self::resolve).
    pub fn resolve_plan(sources: &Sources) -> Result<Self, RunError> {
        Gathered::from(sources)?.finish(Self::plan_problems)
    }

    /// As [`resolve`](Self::resolve), but files and folders that the settings name must be there, too.
    ///
    /// # Errors
    /// As for [`resolve`](Self::resolve).
    pub fn examine(sources: &Sources) -> Result<Self, RunError> {
        let everything = |config: &Self| [config.problems(), config.missing()].concat();
        Gathered::from(sources)?.finish(everything)
    }
}

/// What was found, before anything is judged as a whole.
struct Gathered {
    config: RunConfig,
    problems: Vec<Problem>,
    /// Where each setting was written.
    origins: BTreeMap<String, Origin>,
}

struct Argument<'a> {
    key: &'a str,
    text: &'a str,
    origin: Origin,
}

impl<'a> Argument<'a> {
    fn split(argument: &'a str) -> Result<Self, Problem> {
        let origin = Origin::Argument(argument.to_owned());
        match argument.split_once('=') {
            Some((key, text)) => Ok(Self {
                key: key.trim(),
                text,
                origin,
            }),
            None => {
                let text = "expected a setting such as batch_size=8";
                Err(Problem::new(origin, "", text))
            }
        }
    }

    /// The rest of the key, if it is one of the method's.
    fn of_method(&self) -> Option<&'a str> {
        let (table, key) = self.key.split_once('.')?;
        (table == METHOD_TABLE).then_some(key)
    }
}

fn flag_origin(flag: &Flag) -> Origin {
    Origin::Flag(format!("--{}", flag.name))
}

/// The setting of a flag.
fn by_flag<'a>(settings: &'a [Setting], flag: &Flag) -> Option<&'a Setting> {
    let is = |setting: &&Setting| setting.flag.as_deref() == Some(flag.name.as_str());
    settings.iter().find(is)
}

impl Gathered {
    fn from(sources: &Sources) -> Result<Self, RunError> {
        let document = match sources.file {
            Some(path) => Some(Document::read(path)?.map_err(Problems::from)?),
            None => None,
        };
        let (arguments, mut problems) = split(sources.arguments);
        let mut run = Layers::new("a run", "", RunConfig::settings());
        if let Some(document) = &document {
            run.table(document.values(), |key| document.origin(key));
        }
        for flag in sources.flags {
            if let Some(setting) = by_flag(RunConfig::settings(), flag) {
                run.text(&setting.key, &flag.text, flag_origin(flag));
            }
        }
        for argument in arguments.iter().filter(|one| one.of_method().is_none()) {
            run.text(argument.key, argument.text, argument.origin.clone());
        }

        let default = RunConfig::default();
        let name = run.values().get("method").and_then(Value::as_str);
        let entry = peft_methods::by_name(name.unwrap_or(&default.method)).ok();
        let settings = entry.map(peft_methods::Entry::settings).unwrap_or_default();
        let owner = entry.map_or("the method", |entry| entry.name);
        let mut method = Layers::new(owner, METHOD_TABLE, &settings);
        // Without a method there is nothing to hold its settings against, and that alone is told.
        if entry.is_some() {
            let table = run.values().get(METHOD_TABLE).and_then(Value::as_object);
            let whole = run.origin(METHOD_TABLE);
            method.table(table.unwrap_or(&Map::new()), |key| {
                match (&document, &whole) {
                    (Some(document), Origin::File { .. }) => document.origin(key),
                    _ => whole.clone(),
                }
            });
            for flag in sources.flags {
                match by_flag(&settings, flag) {
                    Some(setting) => method.text(&setting.key, &flag.text, flag_origin(flag)),
                    None if by_flag(RunConfig::settings(), flag).is_some() => {}
                    None => {
                        let text = format!("{owner} has no such setting; leave the flag out");
                        method.problem(flag_origin(flag), &flag.name, text);
                    }
                }
            }
            for argument in &arguments {
                if let Some(key) = argument.of_method() {
                    method.text(key, argument.text, argument.origin.clone());
                }
            }
        }
        run.forget(METHOD_TABLE);

        let mut config = read_each(&mut run);
        config.method_config = method.values().clone();
        let mut origins = run.origins();
        origins.extend(method.origins());
        problems.extend(run.into_problems());
        problems.extend(method.into_problems());
        Ok(Self {
            config,
            problems,
            origins,
        })
    }

    /// The configuration, unless something is wrong with it, by itself or by what `judge` finds.
    fn finish(mut self, judge: impl Fn(&RunConfig) -> Vec<Problem>) -> Result<RunConfig, RunError> {
        for mut found in judge(&self.config) {
            // What could not be read is at its default now: one mistake, not two.
            if self.problems.iter().any(|problem| problem.key == found.key) {
                continue;
            }
            if let Some(origin) = self.origins.get(&found.key) {
                found.origin = origin.clone();
            }
            self.problems.push(found);
        }
        Problems::check(self.problems)?;
        Ok(self.config)
    }
}

fn split(arguments: &[String]) -> (Vec<Argument<'_>>, Vec<Problem>) {
    let mut problems = Vec::new();
    let arguments = arguments.iter().filter_map(|argument| {
        let split = Argument::split(argument);
        split.map_err(|problem| problems.push(problem)).ok()
    });
    (arguments.collect(), problems)
}

/// The configuration of what can be read; the rest is noted and stays at its default.
fn read_each(run: &mut Layers) -> RunConfig {
    for (key, value) in run.values().clone() {
        // Every field has a default, so one by itself shows whether it can be read.
        let alone = Value::Object(Map::from_iter([(key.clone(), value)]));
        if let Err(error) = serde_json::from_value::<RunConfig>(alone) {
            run.problem(run.origin(&key), &key, error.to_string());
            run.forget(&key);
        }
    }
    serde_json::from_value(Value::Object(run.values().clone())).unwrap_or_default()
}
