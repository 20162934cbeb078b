//! How settings of more than one type are written.

use schemars::JsonSchema;
use serde_json::Value;

/// What `target_modules` looks like in a schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a schema, never a value")]
pub enum NamesOrPattern {
    Text(String),
    Names(Vec<String>),
}

/// What `layers` looks like in a schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a schema, never a value")]
pub enum NumbersOrRanges {
    Text(String),
    Number(usize),
    Numbers(Vec<usize>),
}

fn names(items: &[Value]) -> Option<Vec<String>> {
    let names = items.iter().map(|item| item.as_str().map(str::to_owned));
    names.collect()
}

/// Targets: a list of names, or text as on the command line.
pub mod targets {
    use peft_format::TargetModules;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use serde_json::Value;

    pub fn serialize<S: Serializer>(targets: &TargetModules, to: S) -> Result<S::Ok, S::Error> {
        match targets {
            TargetModules::List(names) => names.serialize(to),
            TargetModules::Regex(regex) => to.serialize_str(&format!("regex:{regex}")),
            TargetModules::AllLinear => to.serialize_str("all-linear"),
            TargetModules::Unspecified => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TargetModules, D::Error> {
        match Value::deserialize(from)? {
            Value::Null => Ok(TargetModules::Unspecified),
            Value::String(text) => TargetModules::parse_cli(&text).map_err(D::Error::custom),
            Value::Array(items) => match super::names(&items) {
                Some(names) if !names.is_empty() => Ok(TargetModules::List(names)),
                _ => Err(D::Error::custom("expected names of modules in the list")),
            },
            _ => Err(D::Error::custom(
                "expected names of modules, a regular expression, or all-linear",
            )),
        }
    }
}

/// Numbers of layers: a list, one number, or text such as `0,1,5-9`.
pub mod layers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use serde_json::Value;

    /// More than any model has, and few enough to list.
    const MOST: usize = 4096;

    pub fn serialize<S: Serializer>(layers: &[usize], to: S) -> Result<S::Ok, S::Error> {
        layers.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<usize>, D::Error> {
        let number = |value: &Value| match value.as_u64() {
            Some(number) if number < MOST as u64 => Ok(number as usize),
            _ => Err(D::Error::custom(format!("`{value}` is no layer"))),
        };
        match Value::deserialize(from)? {
            Value::Null => Ok(Vec::new()),
            Value::String(text) => parse(&text).map_err(D::Error::custom),
            Value::Array(items) => items.iter().map(number).collect(),
            one => Ok(vec![number(&one)?]),
        }
    }

    /// `0,1,5-9`
    pub fn parse(text: &str) -> Result<Vec<usize>, String> {
        let mut layers = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().ok();
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(format!("`{part}` is no layer; write such as 0,1,5-9"));
            };
            if last < first || last >= MOST {
                return Err(format!("`{part}` is no range of layers"));
            }
            layers.extend(first..=last);
        }
        Ok(layers)
    }
}

#[cfg(test)]
mod tests {
    use peft_format::TargetModules;
    use serde_json::json;

    use super::layers::parse;
    use crate::RunConfig;

    #[test]
    fn layers_are_numbers_and_ranges() {
        assert_eq!(parse("0,1,5-7").unwrap(), [0, 1, 5, 6, 7]);
        for bad in ["", "a", "3-1", "1-99999999999", "-1"] {
            assert!(parse(bad).unwrap_err().contains("layer"), "{bad}");
        }
        let read = |value| serde_json::from_value::<RunConfig>(json!({ "layers": value }));
        assert_eq!(read(json!([2, 0])).unwrap().layers, [2, 0]);
        assert_eq!(read(json!(3)).unwrap().layers, [3]);
        for bad in [json!([-1]), json!(["a"]), json!(true), json!(1e9)] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn targets_read_back_as_they_were() {
        let all = [
            TargetModules::List(vec!["query".into(), "a,b".into()]),
            TargetModules::Regex("all-linear".into()),
            TargetModules::Regex(".*[qk]".into()),
            TargetModules::AllLinear,
            TargetModules::Unspecified,
        ];
        for target_modules in all {
            let config = RunConfig {
                target_modules,
                ..RunConfig::default()
            };
            let value = serde_json::to_value(&config).unwrap();
            assert_eq!(serde_json::from_value::<RunConfig>(value).unwrap(), config);
        }
        let read = |value| serde_json::from_value::<RunConfig>(json!({ "target_modules": value }));
        assert!(read(json!([])).is_err());
        assert!(
            read(json!(4))
                .unwrap_err()
                .to_string()
                .contains("names of modules")
        );
    }
}
