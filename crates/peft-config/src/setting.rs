//! The fields of a struct as settings, read off its JSON Schema.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use crate::Kind;

/// One setting.
///
/// All of it comes from a field of a struct: `help` from its documentation, `default` from the
/// struct's, the rest from its type and these extensions in `#[schemars(extend(…))]`:
///
/// | extension | meaning |
/// |---|---|
/// | `"x-flag"` | name of the flag, where it is not the key with dashes; `""` for none |
/// | `"x-value"` | what help calls the flag's value |
/// | `"x-default"` | what it is unless set, in words, where the struct has no value |
/// | `"x-heading"` | heading in the help, of this setting and those after it |
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Name in a file.
    pub key: String,
    /// Name of the flag, without dashes in front.
    pub flag: Option<String>,
    /// What the help calls the flag's value.
    pub value_name: Option<String>,
    /// Heading in the help.
    pub heading: Option<String>,
    /// What it is.
    pub help: String,
    /// What it takes.
    pub kind: Kind,
    /// What it is unless set.
    pub default: Option<Value>,
    /// What it is unless set, in words.
    pub default_in_words: Option<String>,
}

impl Setting {
    /// The settings of a schema, in the order of its properties.
    pub fn all(schema: &Value) -> Vec<Self> {
        let mut heading = None;
        let properties = schema.get("properties").and_then(Value::as_object);
        let fields = properties.into_iter().flatten();
        fields
            .map(|(key, field)| {
                let text = |name: &str| field.get(name).and_then(Value::as_str).map(str::to_owned);
                heading = text("x-heading").or(heading.take());
                let flag = text("x-flag").unwrap_or_else(|| key.replace('_', "-"));
                Self {
                    key: key.clone(),
                    flag: (!flag.is_empty()).then_some(flag),
                    value_name: text("x-value"),
                    heading: heading.clone(),
                    help: text("description").unwrap_or_default().replace('\n', " "),
                    kind: Kind::of(field),
                    default: field.get("default").cloned(),
                    default_in_words: text("x-default"),
                }
            })
            .collect()
    }

    /// The setting's default in words, where there is something to say: a switch is off unless set, and nobody
    /// needs to be told.
    pub fn default_text(&self) -> Option<String> {
        match (&self.default_in_words, &self.default) {
            (Some(words), _) => Some(words.clone()),
            (None, None | Some(Value::Bool(false))) => None,
            (None, Some(Value::String(text))) => Some(text.clone()),
            (None, Some(value)) => Some(crate::value_text(value)),
        }
        .filter(|text| !text.is_empty())
    }

    /// What it is, without a full stop.
    pub fn text(&self) -> &str {
        self.help.trim_end_matches('.')
    }

    /// What it is, and its default, in one line.
    pub fn described(&self) -> String {
        match self.default_text() {
            None => self.text().to_owned(),
            Some(default) => format!("{} [default: {default}]", self.text()),
        }
    }
}

/// The JSON Schema of a type: one object without references. Empty defaults are left out, for they
/// say no more than that the setting is not set, and so are bounds of Rust's integers.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        for field in fields.values_mut().filter_map(Value::as_object_mut) {
            let empty = match field.get("default") {
                Some(Value::Null) => true,
                Some(Value::String(text)) => text.is_empty(),
                Some(Value::Array(list)) => list.is_empty(),
                Some(Value::Object(table)) => table.is_empty(),
                _ => false,
            };
            if empty {
                field.shift_remove("default");
            }
            field.shift_remove("format");
        }
    }
    schema
}

/// A schema as it is shown to others: without the extensions of [`Setting`].
pub fn published(mut schema: Value) -> Value {
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        for field in fields.values_mut().filter_map(Value::as_object_mut) {
            let kept = std::mem::take(field).into_iter();
            *field = kept
                .filter(|(key, _)| !key.starts_with("x-"))
                .collect::<Map<_, _>>();
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    /// A test.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Oven {
        /// Degrees,
        /// in Celsius.
        #[schemars(extend("x-flag" = "heat", "x-heading" = "Warmth"))]
        temperature: f64,
        /// What is baked.
        #[schemars(extend("x-value" = "DISH"))]
        dish_name: Option<String>,
        #[schemars(extend("x-flag" = ""))]
        minutes: u64,
    }

    impl Default for Oven {
        fn default() -> Self {
            Self {
                temperature: 180.5,
                dish_name: None,
                minutes: 30,
            }
        }
    }

    #[test]
    fn fields_are_settings() {
        let settings = Setting::all(&schema_of::<Oven>());
        let [heat, dish, minutes] = settings.as_slice() else {
            panic!("{settings:?}");
        };
        assert_eq!(heat.flag.as_deref(), Some("heat"));
        assert_eq!(heat.help, "Degrees, in Celsius.");
        assert_eq!(heat.default, Some(json!(180.5)));
        assert_eq!(heat.described(), "Degrees, in Celsius [default: 180.5]");
        assert_eq!(
            (dish.flag.as_deref(), &dish.kind),
            (Some("dish-name"), &Kind::Text)
        );
        assert_eq!(
            (dish.value_name.as_deref(), &dish.default),
            (Some("DISH"), &None)
        );
        assert_eq!((&minutes.flag, &minutes.kind), (&None, &Kind::Whole));
        assert_eq!(minutes.heading.as_deref(), Some("Warmth"));
        let shown = published(schema_of::<Oven>());
        assert!(!shown.to_string().contains("x-"), "{shown}");
        assert_eq!(shown["properties"]["temperature"]["default"], 180.5);
        assert_eq!(shown["additionalProperties"], false);
    }
}
