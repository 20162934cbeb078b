//! Configurations in words, by the space as a search's description has it.

use anyhow::{Context, Result};
use serde_json::Value;

/// The parameters of a search's space.
pub struct Space(Vec<Value>);

impl Space {
    /// From the description of a search.
    pub fn of(description: &Value) -> Result<Self> {
        let parameters = description["space"]["parameters"].as_array();
        let parameters = parameters.context("the description of the search has no parameters")?;
        Ok(Self(parameters.clone()))
    }

    /// What a configuration says: its method, then what else applies, then the layers that are adapted.
    pub fn words(&self, levels: &[u64]) -> String {
        let mut words = Vec::new();
        let mut layers = Vec::new();
        for (parameter, level) in self.0.iter().zip(levels) {
            let name = parameter["name"].as_str().unwrap_or_default();
            if !self.applies(parameter, levels) {
                continue;
            }
            let domain = &parameter["domain"];
            let value = |list: &str| match &domain[list][*level as usize] {
                Value::String(text) => text.clone(),
                other => other
                    .as_f64()
                    .map_or_else(String::new, |number| number.to_string()),
            };
            match (domain["kind"].as_str(), name.strip_prefix("layer_")) {
                (Some("binary"), Some(layer)) if *level == 1 => layers.push(layer),
                (Some("binary"), _) => {}
                (Some("categorical"), _) if name == "method" => words.push(value("choices")),
                (Some("categorical"), _) => words.push(format!("{name} {}", value("choices"))),
                _ => words.push(format!("{name} {}", value("values"))),
            }
        }
        words.push(format!("layers {}", layers.join(" ")));
        words.join(", ")
    }

    fn applies(&self, parameter: &Value, levels: &[u64]) -> bool {
        let condition = &parameter["condition"];
        let Some(parent) = condition["parent"].as_str() else {
            return true;
        };
        let place = self.0.iter().position(|one| one["name"] == parent);
        let level = place.and_then(|place| levels.get(place)).copied();
        let allowed = condition["levels"].as_array();
        allowed.is_some_and(|allowed| allowed.iter().any(|one| one.as_u64() == level))
    }
}

#[cfg(test)]
pub const DESCRIPTION: &str = r#"{"space": {"parameters": [
    {"name": "method", "domain": {"kind": "categorical", "choices": ["lora", "bitfit"]}},
    {"name": "size", "domain": {"kind": "ordinal", "values": [0.5, 1.0, 2.0]}, "condition": {"parent": "method", "levels": [0]}},
    {"name": "layer_0", "domain": {"kind": "binary"}},
    {"name": "layer_1", "domain": {"kind": "binary"}}]},
    "reference": [10000.0, 0.5]}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_applies_is_said() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let space = Space::of(&description).unwrap();
        assert_eq!(space.words(&[0, 2, 1, 1]), "lora, size 2, layers 0 1");
        assert_eq!(space.words(&[1, 0, 0, 1]), "bitfit, layers 1");
        assert!(Space::of(&Value::Null).is_err());
    }
}
