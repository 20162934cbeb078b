use peft_core::{
    AdapterError,
    format::{TargetModules, TargetSpec},
    own_settings, settings_json,
};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Ia3Method;

/// Which of the adapted modules have factors on what they read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(untagged)]
pub enum FeedForwardModules {
    /// Those whose paths end in one of these texts, at a dot or not, as PEFT has it.
    Endings(Vec<String>),
    /// Those whose whole paths match a regular expression.
    Pattern(String),
}

/// The settings of IA3, by PEFT's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct Ia3Config {
    /// Which of the adapted modules have their factors on what they read, and not on what they give: a list of the ends of
    /// their names, or a regular expression of whole paths.
    #[cfg_attr(feature = "schema", schemars(extend("x-value" = "LIST|REGEX", "x-default" = "those that read the feed-forward part's inner activation")))]
    pub feedforward_modules: Option<FeedForwardModules>,
}

impl Ia3Config {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["feedforward_modules"];

    /// Read the method's keys out of a configuration; absent keys take the defaults.
    ///
    /// # Errors
    /// If a value has the wrong type.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        own_settings(Ia3Method::NAME, map, Self::KEYS)
    }

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    /// Whether a module has its factors on what it reads.
    ///
    /// # Errors
    /// If the pattern is no regular expression, or takes too long.
    pub fn is_feed_forward(&self, path: &str) -> Result<bool, AdapterError> {
        Ok(match &self.feedforward_modules {
            None => false,
            Some(FeedForwardModules::Endings(endings)) => {
                endings.iter().any(|ending| path.ends_with(ending.as_str()))
            }
            Some(FeedForwardModules::Pattern(pattern)) => {
                TargetSpec::new(TargetModules::Regex(pattern.clone())).matches(path)?
            }
        })
    }
}
