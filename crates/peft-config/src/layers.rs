//! One value a setting, from several places.

use std::collections::BTreeMap;

use peft_format::{near, shorten};
use serde_json::{Map, Value};

use crate::{Kind, Origin, Problem, Setting, kind::found};

/// The values of some settings. Whatever is set later replaces what was set before; what is wrong is
/// noted as a [`Problem`], and leaves the setting as it was.
#[derive(Debug)]
pub struct Layers<'a> {
    owner: String,
    table: &'a str,
    settings: &'a [Setting],
    values: Map<String, Value>,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl<'a> Layers<'a> {
    /// Nothing set. `owner` is what has the settings, such as `the method lora`; `table` is their table
    /// in a file, empty for the file itself.
    pub fn new(owner: impl Into<String>, table: &'a str, settings: &'a [Setting]) -> Self {
        Self {
            owner: owner.into(),
            table,
            settings,
            values: Map::new(),
            origins: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Set what a table of a file sets; `origin` tells where a key stands, by its path with dots.
    pub fn table(&mut self, values: &Map<String, Value>, origin: impl Fn(&str) -> Origin) {
        for (key, value) in values {
            let origin = origin(&self.path(key));
            if let Some(setting) = self.known(key, &origin) {
                self.set(setting, value.clone(), origin);
            }
        }
    }

    /// Set a key to what text means: that of a flag, or what follows the `=` of an argument. A key
    /// with a dot is an entry of a table; empty text is the default again.
    pub fn text(&mut self, key: &str, text: &str, origin: Origin) {
        let (key, entry) = match key.split_once('.') {
            Some((key, entry)) => (key, Some(entry)),
            None => (key, None),
        };
        let Some(setting) = self.known(key, &origin) else {
            return;
        };
        let value = match (entry, &setting.kind) {
            (None, _) if text.is_empty() => Value::Null,
            (None, kind) => kind.parse(text),
            (Some(entry), Kind::Table(inner)) => {
                Value::Object(Map::from_iter([(entry.to_owned(), inner.parse(text))]))
            }
            (Some(_), kind) => {
                let text = format!("it is no table, but {kind}");
                return self.problem(origin, key, text);
            }
        };
        // Entries by themselves add to a table, a table as a whole replaces it.
        let adds = entry.is_some() || (value.is_object() && !text.trim_start().starts_with('{'));
        if let (true, Some(Value::Object(old)), Value::Object(new)) =
            (adds, self.values.get(key), &value)
        {
            let mut all = old.clone();
            all.extend(new.clone());
            return self.set(setting, Value::Object(all), origin);
        }
        self.set(setting, value, origin);
    }

    /// Note something that is wrong.
    pub fn problem(&mut self, origin: Origin, key: &str, text: impl Into<String>) {
        let key = self.path(key);
        self.problems.push(Problem::new(origin, key, text));
    }

    /// Where the value of a key was written.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Where each value was written, by its path with dots.
    pub fn origins(&self) -> BTreeMap<String, Origin> {
        let entries = self.origins.iter();
        entries
            .map(|(key, origin)| (self.path(key), origin.clone()))
            .collect()
    }

    /// What was set, without defaults.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Forget a value that turned out to be wrong.
    pub fn forget(&mut self, key: &str) {
        self.values.shift_remove(key);
        self.origins.remove(key);
    }

    /// What is wrong so far.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn path(&self, key: &str) -> String {
        match self.table {
            "" => key.to_owned(),
            table => format!("{table}.{key}"),
        }
    }

    fn known(&mut self, key: &str, origin: &Origin) -> Option<&'a Setting> {
        let settings = self.settings;
        if let Some(setting) = settings.iter().find(|setting| setting.key == key) {
            return Some(setting);
        }
        let by_flag = settings
            .iter()
            .find(|setting| setting.flag.as_deref() == Some(key))
            .map(|setting| setting.key.as_str());
        let similar = near::nearest(key, settings.iter().map(|s| s.key.as_str()), 1);
        let hint = match by_flag.or(similar.first().copied()) {
            Some(name) => near::did_you_mean(&[name]),
            None => {
                let names: Vec<&str> = settings.iter().map(|s| s.key.as_str()).collect();
                format!("; its settings are {}", names.join(", "))
            }
        };
        let text = format!("{} has no setting `{}`{hint}", self.owner, shorten(key));
        self.problem(origin.clone(), key, text);
        None
    }

    fn set(&mut self, setting: &Setting, value: Value, origin: Origin) {
        let key = setting.key.as_str();
        if value.is_null() {
            self.values.shift_remove(key);
            self.origins.remove(key);
        } else if setting.kind.admits(&value) {
            self.values.insert(key.to_owned(), value);
            self.origins.insert(key.to_owned(), origin);
        } else {
            let text = format!(
                "expected {}, found {}",
                setting.kind,
                wrong(&setting.kind, &value)
            );
            self.problem(origin, key, text);
        }
    }
}

/// The part of a value that is not of the kind.
fn wrong(kind: &Kind, value: &Value) -> String {
    let inside = match (kind, value) {
        (Kind::List(inner), Value::Array(items)) => items.iter().find(|item| !inner.admits(item)),
        (Kind::Table(inner), Value::Object(items)) => {
            items.values().find(|item| !inner.admits(item))
        }
        _ => None,
    };
    found(inside.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings() -> Vec<Setting> {
        Setting::all(&json!({ "properties": {
            "batch_size": { "type": "integer" },
            "rate": { "type": "number", "x-flag": "learning" },
            "ranks": { "type": "object", "additionalProperties": { "type": "integer" } },
        }}))
    }

    fn flag() -> Origin {
        Origin::Flag("--x".into())
    }

    #[test]
    fn later_values_replace_earlier_ones() {
        let settings = settings();
        let mut layers = Layers::new("a run", "", &settings);
        layers.text("batch_size", "8", flag());
        layers.text("batch_size", "9", Origin::Argument("batch_size=9".into()));
        layers.text("rate", "0.5", flag());
        layers.text("rate", "", flag());
        layers.text("ranks", "a=1", flag());
        layers.text("ranks", "b=2", flag());
        layers.text("ranks.c.d", "3", flag());
        let expected = json!({ "batch_size": 9, "ranks": { "a": 1, "b": 2, "c.d": 3 } });
        assert_eq!(Value::Object(layers.values().clone()), expected);
        assert_eq!(
            layers.origin("batch_size"),
            Origin::Argument("batch_size=9".into())
        );
        layers.text("ranks", "{ z = 1 }", flag());
        assert_eq!(layers.values()["ranks"], json!({ "z": 1 }));
        assert!(layers.into_problems().is_empty());
    }

    #[test]
    fn mistakes_are_noted_with_their_place() {
        let settings = settings();
        let mut layers = Layers::new("a run", "inner", &settings);
        layers.text("batch-size", "8", flag());
        layers.text("bathc_size", "8", flag());
        layers.text("learning", "8", flag());
        layers.text("nothing_like_it", "8", flag());
        layers.text("batch_size", "-1", flag());
        layers.text("ranks", "a=x", flag());
        layers.text("rate.sub", "1", flag());
        assert!(layers.values().is_empty());
        let problems = layers.into_problems();
        let words = [
            "`batch_size`?",
            "`batch_size`?",
            "`rate`?",
            "its settings are",
            "`-1`",
            "`x`",
            "no table",
        ];
        assert_eq!(problems.len(), words.len());
        for (problem, word) in problems.iter().zip(words) {
            assert!(problem.to_string().contains(word), "{problem}");
            assert!(problem.key.starts_with("inner."), "{problem:?}");
        }
    }
}
