//! Settings of a method that follow from the model.

use peft_methods::Entry;
use peft_models::ModelFolder;
use serde_json::{Map, Value};

use super::adapt::{default_targets, targets_in};

/// The settings of a method with those that follow from the model. What makes no method is refused where it is made.
pub fn of_model(
    mut settings: Map<String, Value>,
    folder: &ModelFolder,
    entry: &Entry,
) -> Map<String, Value> {
    if let Ok(method) = (entry.build)(&settings) {
        let targets = |default, layers: &[usize]| targets_in(folder, default, layers);
        settings.extend(method.config_of_targets(&targets));
    }
    if let Ok(method) = (entry.build)(&settings) {
        let layout = folder.description().layout();
        let named = |what| default_targets(folder.description(), what);
        for (key, value) in method.config_of_model(&layout.sites, &named) {
            fill(settings.entry(key).or_insert(Value::Null), value);
        }
    }
    settings
}

/// Put a method's own value where nothing is given, also inside of what is given: parts of several methods are a list of settings.
pub fn fill(given: &mut Value, own: Value) {
    match (given, own) {
        (given @ Value::Null, own) => *given = own,
        (Value::Object(given), Value::Object(own)) => {
            for (key, value) in own {
                fill(given.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(given), Value::Array(own)) if given.len() == own.len() => {
            given
                .iter_mut()
                .zip(own)
                .for_each(|(given, own)| fill(given, own));
        }
        _ => {}
    }
}
