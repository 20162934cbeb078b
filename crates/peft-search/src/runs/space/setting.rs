//! Settings of runs as parameters of a space.

use peft_config::{Kind, Origin, Problem};
use peft_run::{Prepared, RunConfig};
use serde_json::Value as Json;

use super::RunsError;
use crate::{Domain, Parameter, Value};

/// Settings that the study has for all of its trials.
const OF_THE_STUDY: [&str; 11] = [
    "output",
    "resume",
    "overwrite",
    "threads",
    "worst_rows",
    "save_steps",
    "epochs",
    "steps",
    "select_epochs",
    "eval_steps",
    "select_metric",
];

/// What stands before a setting of the method's own.
pub const OF_METHOD: &str = "method_config";

/// The name of a setting of the method's own.
fn own(name: &str) -> Option<&str> {
    name.strip_prefix(OF_METHOD)?.strip_prefix('.')
}

/// Refuse a name that is no setting of a run or of any method.
pub fn expect_name(name: &str) -> Result<(), RunsError> {
    let what = || format!("parameter {name} of the space");
    let known = match own(name) {
        Some(own) => peft_run::methods::selectable().any(|entry| entry.keys.contains(&own)),
        None => RunConfig::settings().iter().any(|one| one.key == name),
    };
    if !known {
        return Err(RunsError::setting(
            what(),
            "it is no setting that a search can give",
            "name one of `peft config schema`, those of methods as method_config.NAME",
        ));
    }
    if Prepared::FIXED.contains(&name) || OF_THE_STUDY.contains(&name) {
        return Err(RunsError::setting(
            what(),
            "it is the same for all trials of a search",
            format!("take it out of the space, and give `{name}` for all"),
        ));
    }
    Ok(())
}

/// How a setting is written, where that is known.
fn kind(config: &RunConfig, name: &str) -> Option<Kind> {
    match own(name) {
        None => {
            let found = RunConfig::settings().iter().find(|one| one.key == name);
            Some(found?.kind.clone())
        }
        Some(own) => {
            let entry = peft_run::methods::by_name(&config.method).ok()?;
            let found = entry.settings().into_iter().find(|one| one.key == own);
            Some(found?.kind)
        }
    }
}

/// A value as settings write it.
fn written(value: &Value, kind: Option<&Kind>) -> Json {
    match value {
        Value::Flag(flag) => Json::from(*flag),
        Value::Integer(whole) => Json::from(*whole),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Json::from(*number as i64)
        }
        Value::Number(number) => Json::from(*number),
        Value::Choice(text) => match kind {
            Some(kind) => kind.parse(text),
            None => Json::from(text.as_str()),
        },
    }
}

/// Give a run a value of a parameter; how a method's own settings are written is known once the method is.
pub fn put(config: &mut RunConfig, name: &str, value: &Value) -> Result<(), RunsError> {
    let value = written(value, kind(config, name).as_ref());
    match own(name) {
        Some(own) => {
            config.method_config.insert(own.to_owned(), value);
        }
        None => {
            let mut all = serde_json::to_value(&*config).unwrap_or_default();
            all[name] = value;
            *config = serde_json::from_value(all)
                .map_err(|error| Problem::new(Origin::Default, name, error.to_string()))?;
        }
    }
    Ok(())
}

/// Refuse a value that no run can have, whatever model it is of: each trial with it would fail.
pub fn expect_values(parameters: &[Parameter], shared: &RunConfig) -> Result<(), RunsError> {
    for parameter in parameters {
        let (methods, all_count) = methods(parameter, parameters, shared);
        for value in shown(parameter) {
            let reasons: Vec<String> = methods
                .iter()
                .filter_map(|method| {
                    let config = RunConfig {
                        method: method.clone(),
                        ..shared.clone()
                    };
                    refusal(config, parameter, &value)
                })
                // One that depends on what else is searched is told of its trials.
                .filter(|reason| !names_others(reason, parameter, parameters))
                .collect();
            let refused = reasons.len() == methods.len() || all_count;
            if let Some(reason) = reasons.into_iter().next().filter(|_| refused) {
                return Err(RunsError::setting(
                    format!("parameter {} of the space", parameter.name),
                    reason,
                    "correct it; `peft config schema` tells what a setting takes",
                ));
            }
        }
    }
    Ok(())
}

/// The methods with which a parameter counts, and whether each of them has it in some trials.
fn methods(
    parameter: &Parameter,
    parameters: &[Parameter],
    shared: &RunConfig,
) -> (Vec<String>, bool) {
    let searched = parameters.iter().find(|one| one.name == "method");
    let Some(searched) = searched.filter(|one| one.name != parameter.name) else {
        return (vec![shared.method.clone()], true);
    };
    let every = || (0..searched.levels().min(MOST_SHOWN)).collect();
    let (levels, all_count): (Vec<u32>, bool) = match &parameter.condition {
        None => (every(), true),
        Some(condition) if condition.parent == searched.name => (condition.levels.clone(), true),
        Some(_) => (every(), false),
    };
    let names = levels
        .iter()
        .map(|level| searched.value(*level).to_string());
    (names.collect(), all_count)
}

/// Values of a list that are looked at.
const MOST_SHOWN: u32 = 1000;

/// All of a list, and the ends of a range.
fn shown(parameter: &Parameter) -> Vec<Value> {
    let count = parameter.levels();
    let levels: Vec<u32> = match &parameter.domain {
        Domain::Integer { .. } | Domain::Real { .. } => vec![0, count - 1],
        _ => (0..count.min(MOST_SHOWN)).collect(),
    };
    levels
        .into_iter()
        .map(|level| parameter.value(level))
        .collect()
}

/// Why no run has a value.
fn refusal(mut config: RunConfig, parameter: &Parameter, value: &Value) -> Option<String> {
    let name = parameter.name.as_str();
    let kind = kind(&config, name);
    if let Some(kind) = kind
        && !kind.admits(&written(value, Some(&kind)))
    {
        return Some(match parameter.domain {
            Domain::Binary => format!(
                "without `choices`, `values`, or `low` and `high` it is off or on, expected is {kind}"
            ),
            _ => format!("`{value}` is none of its values, expected is {kind}"),
        });
    }
    if let Err(error) = put(&mut config, name, value) {
        return Some(format!("`{value}`: {error}"));
    }
    let problems = config.problems().into_iter();
    let text = problems
        .filter(|one| one.key == name)
        .map(|one| one.text)
        .next()?;
    Some(format!("`{value}`: {text}"))
}

/// Whether a reason names another setting of the method that is searched, too.
fn names_others(reason: &str, parameter: &Parameter, parameters: &[Parameter]) -> bool {
    let others = parameters.iter().filter(|one| one.name != parameter.name);
    let mut others = others.filter_map(|one| own(&one.name));
    others.any(|other| {
        let mut words = reason.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        words.any(|word| word == other)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use peft_run::data::Task;

    use super::*;

    #[test]
    fn what_the_study_has_is_no_parameter() {
        for name in [
            "max_length",
            "seed",
            "quantize",
            "epochs",
            "output",
            "nothing",
        ] {
            assert!(expect_name(name).is_err(), "{name}");
        }
        for name in ["learning_rate", "weight_decay", "method", "method_config.r"] {
            assert!(expect_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn values_that_no_run_can_have_are_refused() {
        let path = Path::new("x");
        let shared = RunConfig::new(path, path, Task::Classify, "lora", path);
        let choices = |words: &[&str]| Domain::Categorical {
            choices: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let values = |values: &[f64]| Domain::Ordinal {
            values: values.to_vec(),
            absent: None,
        };
        let told = |parameters: &[Parameter]| match expect_values(parameters, &shared) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        for (name, domain, said) in [
            ("method", choices(&["ia3", "loar"]), "did you mean `lora`"),
            ("method", choices(&["1", "2"]), "no method `1`"),
            ("method_config.r", values(&[0.0, 2.0]), "rank of 1 or more"),
            ("learning_rate", Domain::Binary, "expected is a number"),
            ("learning_rate", values(&[0.0, 1e-3]), "above 0"),
        ] {
            let error = told(&[Parameter::new(name, domain)]);
            assert!(error.contains(name) && error.contains(said), "{error}");
        }
        // What only one of the methods has counts with that one.
        let method = Parameter::new("method", choices(&["lora", "bitfit"]));
        let rank = Parameter::new("method_config.r", values(&[2.0, 4.0]));
        let error = told(&[method.clone(), rank.clone()]);
        assert!(error.contains("bitfit has no setting `r`"), "{error}");
        let lists = Parameter::new("target_modules", choices(&["query", "query,value"]));
        let rate = Parameter::new("learning_rate", values(&[1e-3, 1e-2]));
        assert_eq!(
            told(&[method, rank.when("method", vec![0]), lists, rate]),
            ""
        );
    }
}
