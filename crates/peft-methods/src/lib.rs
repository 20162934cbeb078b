#![warn(missing_docs)]
//! Every adapter method of the workspace, by name.
//!
//! Adding a method is one entry here; nothing else names it.

mod head;
mod sdlora;
mod several;
mod size;
mod sll;
mod table;

use peft_config::Setting;
use peft_core::{AdapterError, Method, format::AdapterConfig};
use peft_lowrank::{AdaLoraMethod, DeepLoraMethod, LoraMethod, LortaMethod};
use peft_spectral::{C3aMethod, FourierFtMethod, LocaMethod, SelectedKind};
use peft_ssm::{ComponentsMethod, SllLoraMethod};
use serde_json::{Map, Value};

pub use head::HeadMethod;
pub use several::SeveralMethod;
pub use table::{HEAD, METHODS, SEVERAL};

/// One method: what it is called and how it is configured.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name on the command line.
    pub name: &'static str,
    /// `peft_type` in `adapter_config.json`.
    pub peft_type: &'static str,
    /// A line about it, with its paper.
    pub summary: &'static str,
    /// The keys of `adapter_config.json` that it understands.
    pub keys: &'static [&'static str],
    /// Those of them that concern training only and are in no adapter's file. They take effect where an adapter
    /// is continued, too; all others that no file holds concern how an adapter starts.
    pub training_keys: &'static [&'static str],
    /// JSON Schema of the type of the settings, with their documentation.
    pub type_schema: fn() -> Value,
    /// Learning rate of adapters that does well without tuning.
    pub learning_rate: f64,
    /// The settings that do well without tuning.
    pub defaults: fn() -> Map<String, Value>,
    /// The method of such settings.
    pub build: Build,
}

/// Methods to which the first version computed other bits where it computed blocks again for their gradients.
const RECOMPUTED: [&str; 8] = [
    AdaLoraMethod::NAME,
    C3aMethod::NAME,
    DeepLoraMethod::NAME,
    FourierFtMethod::NAME,
    LocaMethod::NAME,
    LortaMethod::NAME,
    SelectedKind::Sdctft.name(),
    SelectedKind::Ssh.name(),
];

/// Names of settings of another method, with that method: their files are its own, and say no more of them.
const PRESETS: [(&str, &str); 2] = [
    (SllLoraMethod::NAME, LoraMethod::NAME),
    (ComponentsMethod::LORAP_X, ComponentsMethod::NAME),
];

impl Entry {
    /// The method that its files are read as.
    pub fn read_as(&self) -> &'static str {
        let preset = PRESETS.iter().find(|(name, _)| *name == self.name);
        preset.map_or(self.name, |(_, method)| method)
    }

    /// Whether runs that the first version began with `recompute` would continue to other bits.
    pub fn recomputed_otherwise(&self) -> bool {
        RECOMPUTED.contains(&self.name)
    }

    /// JSON Schema of the keys, with their documentation and the method's defaults.
    pub fn schema(&self) -> Value {
        let mut schema = (self.type_schema)();
        for (key, value) in (self.defaults)() {
            // Methods may share a type and differ in defaults.
            if let Some(Value::Object(field)) = schema["properties"].get_mut(&key) {
                field.insert("default".to_owned(), value);
            }
        }
        schema
    }

    /// The settings of a run, but for those that its user gives: where the learning rate is left to
    /// the method, its setting `scale_rate` is on, if it has one. It is always told where it is on by itself.
    pub fn defaults_at(&self, learning_rate: Option<f64>) -> Map<String, Value> {
        let mut settings = (self.defaults)();
        if self.keys.contains(&SCALE_RATE) && (learning_rate.is_none() || self.scales_by_itself()) {
            settings.insert(SCALE_RATE.to_owned(), Value::Bool(true));
        }
        settings
    }

    /// Whether a learning rate that is given is one for coefficients of an orthonormal transform, from which
    /// every module's own follows, unless `scale_rate` is off.
    pub fn scales_by_itself(&self) -> bool {
        self.training_keys.contains(&SCALE_RATE)
    }

    /// The keys, each with its flag, help, type and default.
    pub fn settings(&self) -> Vec<Setting> {
        Setting::all(&self.schema())
    }
}

/// The setting by which a method fits the learning rate to each module.
pub const SCALE_RATE: &str = "scale_rate";

/// Makes a method of its settings.
pub type Build = fn(&Map<String, Value>) -> Result<Box<dyn Method>, AdapterError>;

/// All that a run may be asked for: [`METHODS`], [`SEVERAL`] of them, and [`HEAD`].
pub fn selectable() -> impl Iterator<Item = &'static Entry> {
    METHODS.iter().chain([&SEVERAL, &HEAD])
}

/// The method called `name` on the command line.
///
/// # Errors
/// If there is none; the error names those that exist.
pub fn by_name(name: &str) -> Result<&'static Entry, AdapterError> {
    find(name, |entry| entry.name)
}

/// The method of a `peft_type`.
///
/// # Errors
/// If there is none; the error names those that exist.
pub fn by_peft_type(peft_type: &str) -> Result<&'static Entry, AdapterError> {
    find(peft_type, |entry| entry.peft_type)
}

/// As [`by_peft_type`], of a file, which the error names.
fn of_config(config: &AdapterConfig) -> Result<&'static Entry, AdapterError> {
    by_peft_type(config.peft_type()).map_err(|error| match error {
        AdapterError::Config {
            method,
            problem: _,
            fix,
        } => AdapterError::Config {
            method: config.path().display().to_string(),
            problem: format!("its `peft_type` is `{method}`, which is none that is known"),
            fix: fix.replace("choose one of", "known are"),
        },
        other => other,
    })
}

/// The method of an adapter's configuration.
///
/// # Errors
/// If it is not known, or the configuration asks of it what it cannot do.
pub fn from_config(config: &AdapterConfig) -> Result<Box<dyn Method>, AdapterError> {
    let entry = of_config(config)?;
    config.reject_unsupported(entry.keys)?;
    let method = (entry.build)(&config.fields_as_saved())?;
    Ok(method.of_files().unwrap_or(method))
}

fn find(wanted: &str, key: fn(&Entry) -> &'static str) -> Result<&'static Entry, AdapterError> {
    let same = |entry: &&Entry| key(entry).eq_ignore_ascii_case(wanted);
    selectable().find(same).ok_or_else(|| AdapterError::Config {
        method: wanted.to_owned(),
        problem: "no such method".into(),
        fix: format!("choose one of {}", names(key).join(", ")),
    })
}

/// What the methods are called, each name once.
fn names(key: fn(&Entry) -> &'static str) -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for name in selectable().map(key) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_known_is_told_with_its_file_and_those_that_are() {
        let error = by_peft_type("LOHA").unwrap_err().to_string();
        let (_, known) = error.split_once("choose one of ").unwrap();
        let known: Vec<&str> = known.split(", ").collect();
        assert_eq!(
            known.iter().filter(|name| **name == "LORA").count(),
            1,
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"peft_type": "LOHA", "target_modules": ["query"]}"#;
        std::fs::write(folder.path().join("adapter_config.json"), text).unwrap();
        let config = AdapterConfig::read(folder.path()).unwrap();
        let error = from_config(&config).unwrap_err().to_string();
        assert!(
            error.starts_with(&*config.path().to_string_lossy()),
            "{error}"
        );
        assert!(
            error.contains("`peft_type` is `LOHA`") && error.contains("ADALORA"),
            "{error}"
        );
    }

    #[test]
    fn settings_of_training_are_in_no_file() {
        for entry in METHODS {
            let Ok(method) = (entry.build)(&(entry.defaults)()) else {
                panic!("{}", entry.name);
            };
            let told = method.config();
            for key in entry.training_keys {
                assert!(
                    entry.keys.contains(key) && !told.contains_key(*key),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn every_key_of_a_method_is_a_setting_with_help() {
        for entry in METHODS {
            let settings = entry.settings();
            let mut keys: Vec<&str> = settings.iter().map(|one| one.key.as_str()).collect();
            let mut known = entry.keys.to_vec();
            keys.sort_unstable();
            known.sort_unstable();
            assert_eq!(keys, known, "{}", entry.name);
            for setting in &settings {
                assert!(!setting.help.is_empty(), "{}: {}", entry.name, setting.key);
                if let Some(default) = &setting.default {
                    assert!(setting.kind.admits(default), "{}: {setting:?}", entry.name);
                }
            }
        }
    }
}
