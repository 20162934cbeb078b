//! Spaces that files describe.

use std::{collections::HashMap, path::Path, sync::Mutex};

use peft_config::Document;
use peft_run::{Prepared, RunConfig};
use serde::Deserialize;
use serde_json::{Map, Number, Value as Json};

use super::{
    RunSpace, RunsError,
    setting::{OF_METHOD, expect_name, expect_values, put},
};
use crate::{Condition, Configuration, Domain, Parameter, SearchError, Space, Value};

/// The space of a file, TOML or YAML: a list of `parameters`, each named as the setting that it gives, such as
/// `learning_rate` or `method_config.r`, with one of
///
/// * `choices`: words or numbers without an order; of a setting that is a list, words such as `query,value`;
/// * `values`: numbers in an order;
/// * `low` and `high`, with `log` and `levels`: whole numbers between where both are written so (`1`, `64`), else any (`1.0`, `64.0`);
/// * nothing: off or on.
///
/// `when = { method = ["lora"] }` lets it count only where another parameter, which comes earlier, has one of these
/// values.
#[derive(Debug)]
pub struct FileSpace {
    space: Space,
    prepared: Prepared,
    shared: RunConfig,
    /// Values of adapters by what they depend on.
    known: Mutex<HashMap<String, f64>>,
}

/// A parameter in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    name: String,
    choices: Option<Vec<Json>>,
    values: Option<Vec<f64>>,
    low: Option<Number>,
    high: Option<Number>,
    #[serde(default)]
    log: bool,
    levels: Option<u32>,
    when: Option<Map<String, Json>>,
}

impl FileSpace {
    /// The parameters of a file, as a study keeps them.
    ///
    /// # Errors
    /// If the file cannot be read or is none of settings, its parameters contradict themselves, or name settings that a
    /// search cannot give.
    pub fn read(path: &Path) -> Result<Map<String, Json>, RunsError> {
        let document = Document::read(path).map_err(peft_run::RunError::from)??;
        let given = document.values().clone();
        parsed(&given).map_err(|error| error.of_file(path))?;
        Ok(given)
    }

    /// Refuse parameters with a value that no run can have, whatever model it is of, with settings that all trials share.
    ///
    /// # Errors
    /// With the first such value.
    pub fn check(given: &Map<String, Json>, shared: &RunConfig) -> Result<(), RunsError> {
        expect_values(parsed(given)?.parameters(), shared)
    }

    /// The space of such parameters, on a prepared base and with settings that all trials share.
    ///
    /// # Errors
    /// If the parameters contradict themselves, or name settings that a run does not have.
    pub fn new(
        given: &Map<String, Json>,
        prepared: &Prepared,
        shared: &RunConfig,
    ) -> Result<Self, RunsError> {
        Ok(Self {
            space: parsed(given)?,
            prepared: prepared.clone(),
            shared: shared.clone(),
            known: Mutex::default(),
        })
    }
}

/// The parameters of a file.
fn parsed(given: &Map<String, Json>) -> Result<Space, RunsError> {
    let refuse =
        |what: String, problem: String, fix: &str| Err(RunsError::setting(what, problem, fix));
    if let Some(other) = given.keys().find(|key| *key != "parameters") {
        return refuse(
            format!("`{other}` of the space"),
            "there is no such table".into(),
            "write a list of `[[parameters]]`",
        );
    }
    let Some(Json::Array(list)) = given.get("parameters") else {
        return refuse(
            "the space".into(),
            "it has no parameters".into(),
            "write a list of `[[parameters]]`",
        );
    };
    let mut parameters: Vec<Parameter> = Vec::with_capacity(list.len());
    for (at, one) in list.iter().enumerate() {
        let read: Result<Given, _> = serde_json::from_value(one.clone());
        let one = match read {
            Ok(one) => one,
            Err(error) => {
                return refuse(
                    format!("parameter {} of the space", at + 1),
                    error.to_string(),
                    "correct it; see the guide's page on searches",
                );
            }
        };
        expect_name(&one.name)?;
        let condition = one.when.as_ref();
        let condition = condition
            .map(|when| one.condition(when, &parameters))
            .transpose()?;
        let parameter = Parameter {
            domain: one.domain()?,
            name: one.name,
            condition,
        };
        // Before a later one asks for the levels of its values.
        parameter.check()?;
        parameters.push(parameter);
    }
    Ok(Space::new(parameters, Vec::new())?)
}

impl Given {
    fn refuse(&self, problem: impl Into<String>, fix: &str) -> RunsError {
        RunsError::setting(
            format!("parameter {} of the space", self.name),
            problem,
            fix,
        )
    }

    fn domain(&self) -> Result<Domain, RunsError> {
        let text = |value: &Json| match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        match (&self.choices, &self.values, &self.low, &self.high) {
            (Some(choices), None, None, None) => Ok(Domain::Categorical {
                choices: choices.iter().map(text).collect(),
            }),
            (None, Some(values), None, None) => Ok(Domain::Ordinal {
                values: values.clone(),
                absent: None,
            }),
            (None, None, Some(low), Some(high)) => {
                let whole =
                    |number: &Number| number.as_i64().filter(|one| one.abs() < 1_000_000_000);
                let any = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
                match (whole(low), whole(high), self.levels) {
                    (Some(low), Some(high), None) => Ok(Domain::Integer {
                        low,
                        high,
                        log: self.log,
                    }),
                    (_, _, levels) => Ok(Domain::Real {
                        low: any(low),
                        high: any(high),
                        log: self.log,
                        levels: levels.unwrap_or(1 << 16),
                    }),
                }
            }
            (None, None, None, None) => Ok(Domain::Binary),
            _ => Err(self.refuse(
                "it says in several ways, or in half a way, what it can be",
                "give `choices`, `values`, or `low` and `high`",
            )),
        }
    }

    fn condition(
        &self,
        when: &Map<String, Json>,
        earlier: &[Parameter],
    ) -> Result<Condition, RunsError> {
        let one = when.iter().next().filter(|_| when.len() == 1);
        let Some((parent, wanted)) = one else {
            return Err(self.refuse("`when` names no parameter or several", "name one"));
        };
        let Some(found) = earlier.iter().find(|one| one.name == *parent) else {
            let problem = format!("`when` names `{parent}`, which is no parameter before it");
            return Err(self.refuse(problem, "name one that comes earlier"));
        };
        let wanted = match wanted {
            Json::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        let levels = wanted.iter().map(|value| {
            let value = match (value, &found.domain) {
                (other, Domain::Categorical { .. }) => Value::Choice(match other {
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                }),
                (Json::Bool(flag), _) => Value::Flag(*flag),
                (number, Domain::Integer { .. }) => {
                    Value::Integer(number.as_i64().unwrap_or(i64::MIN))
                }
                (number, _) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
            };
            found.level(&value)
        });
        Ok(Condition {
            parent: parent.clone(),
            levels: levels.collect::<Result<_, SearchError>>()?,
        })
    }
}

impl RunSpace for FileSpace {
    fn space(&self) -> &Space {
        &self.space
    }

    fn settings(
        &self,
        shared: &RunConfig,
        configuration: &Configuration,
    ) -> Result<RunConfig, RunsError> {
        self.space.check(configuration)?;
        let mut config = shared.clone();
        let mut values = self.space.values(configuration);
        // How a method's own settings are written is known once the method is.
        values.sort_by_key(|(name, _)| name.starts_with(OF_METHOD));
        for (name, value) in values {
            put(&mut config, name, &value)?;
        }
        Ok(config)
    }

    fn values(&self, configuration: &Configuration) -> f64 {
        let Ok(config) = self.settings(&self.shared, configuration) else {
            return self.most();
        };
        let key = serde_json::json!([
            config.method,
            config.method_config,
            config.target_modules.to_string(),
            config.exclude_modules.to_string(),
            config.layers,
            config.layers_pattern,
        ])
        .to_string();
        let known = |all: &Mutex<HashMap<String, f64>>| {
            let all = all
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            all.get(&key).copied()
        };
        if let Some(values) = known(&self.known) {
            return values;
        }
        // What cannot be made is a trial that fails, and is as large as nothing that is tried again.
        let footprint = self.prepared.footprint(&config);
        let values = match footprint.map(|footprint| footprint.values()) {
            Ok(0) | Err(_) => self.most(),
            Ok(values) => values as f64,
        };
        let mut all = self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert(key, values);
        values
    }

    fn most(&self) -> f64 {
        self.prepared.parameters() as f64
    }

    fn starts(&self) -> Vec<Configuration> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(extension: &str, text: &str) -> Given {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("space.{extension}"));
        std::fs::write(&path, text).unwrap();
        let read = FileSpace::read(&path).unwrap();
        serde_json::from_value(read["parameters"][0].clone()).unwrap()
    }

    #[test]
    fn bounds_are_whole_where_they_are_written_so() {
        let toml = |bounds: &str| {
            given(
                "toml",
                &format!("[[parameters]]\nname = \"weight_decay\"\n{bounds}"),
            )
        };
        let yaml = |bounds: &str| {
            given(
                "yaml",
                &format!("parameters:\n- name: weight_decay\n{bounds}"),
            )
        };
        for whole in [toml("low = 1\nhigh = 64"), yaml("  low: 1\n  high: 64\n")] {
            let domain = whole.domain().unwrap();
            assert!(
                matches!(
                    domain,
                    Domain::Integer {
                        low: 1,
                        high: 64,
                        ..
                    }
                ),
                "{domain:?}"
            );
        }
        for any in [
            toml("low = 0.0\nhigh = 1.0"),
            yaml("  low: 0.0\n  high: 1.0\n"),
        ] {
            let domain = any.domain().unwrap();
            assert!(
                matches!(
                    domain,
                    Domain::Real {
                        low: 0.0,
                        high: 1.0,
                        ..
                    }
                ),
                "{domain:?}"
            );
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("space.toml");
        let method = "[[parameters]]\nname = \"method\"\nchoices = [\"lora\", \"ia3\"]\n";
        for (text, said) in [
            ("name = \"epochs\"\nvalues = [1, 2]", "epochs"),
            ("name = \"output\"\nchoices = [\"a\", \"b\"]", "output"),
            ("name = \"nothing\"", "nothing"),
            (
                "name = \"learning_rate\"\nlow = -1e308\nhigh = 1e308",
                "high",
            ),
            (
                "name = \"learning_rate\"\nlow = 0.1\nhigh = 0.2\nlevels = 0\n[[parameters]]\nname = \"clip\"\n\
                 values = [1, 2]\nwhen = { learning_rate = 0.1 }",
                "levels",
            ),
        ] {
            std::fs::write(&path, format!("{method}[[parameters]]\n{text}\n")).unwrap();
            let error = FileSpace::read(&path).unwrap_err().to_string();
            assert!(error.contains("space.toml: parameter"), "{error}");
            assert!(error.contains(said), "{error}");
        }
    }
}
