//! The settings of a run, those that were chosen first.

use peft_config::{Setting, value_text};
use peft_report::{Block, Cell, Column, Section, Table};
use serde_json::{Map, Value};

use super::RunFolder;
use crate::RunConfig;

/// The table of the method's own settings.
const METHOD: &str = "method_config";

/// A setting with its value and whether that is the default.
struct Shown {
    key: String,
    value: Value,
    usual: bool,
    help: String,
}

pub fn section(run: &RunFolder) -> Section {
    let all = shown(run);
    let table = |only: &dyn Fn(&&Shown) -> bool| {
        let row = |one: &Shown| {
            vec![
                Cell::new(&*one.key),
                Cell::new(match &one.value {
                    Value::String(text) => text.clone(),
                    value => value_text(value),
                })
                .strong_if(!one.usual),
                Cell::new(&*one.help),
            ]
        };
        Block::Table(Table {
            caption: String::new(),
            columns: ["setting", "value", "what it is"].map(Column::text).into(),
            rows: all.iter().filter(only).map(row).collect(),
        })
    };
    let details = Block::Details {
        summary: format!(
            "All {} settings; those in bold are not at their defaults",
            all.len()
        ),
        blocks: vec![table(&|_| true)],
    };
    Section::new(
        "Settings",
        vec![
            Block::Text("What was chosen, or is not at its default:".into()),
            table(&|one| !one.usual),
            details,
        ],
    )
}

fn shown(run: &RunFolder) -> Vec<Shown> {
    let mut all = Vec::new();
    let mut add = |prefix: &str, values: &Map<String, Value>, known: &[Setting]| {
        for (key, value) in values.iter().filter(|(key, _)| *key != METHOD) {
            let setting = known.iter().find(|one| one.key == *key);
            let default = setting.and_then(|one| one.default.as_ref());
            all.push(Shown {
                key: format!("{prefix}{key}"),
                usual: default == Some(value) || is_empty(value),
                help: setting.map_or(String::new(), |one| one.text().to_owned()),
                value: value.clone(),
            });
        }
    };
    add("", &run.settings, RunConfig::settings());
    let entry = peft_methods::by_name(&run.method()).ok();
    let known = entry.map(peft_methods::Entry::settings).unwrap_or_default();
    if let Some(Value::Object(values)) = run.settings.get(METHOD) {
        add("method_config.", values, &known);
    }
    all
}

/// Whether a value says no more than that nothing is set.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null | Value::Bool(false) => true,
        _ => false,
    }
}
