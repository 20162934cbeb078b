use peft_core::{AdapterError, own_settings, settings_json};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{PTuningMethod, PromptMethod};
use crate::prefix::{expect_hidden, expect_rows};

/// Where the rows of a prompt start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum PromptInit {
    /// Normal, of standard deviation 1.
    #[serde(rename = "RANDOM")]
    Random,
    /// At vectors of tokens that are drawn from the whole vocabulary.
    #[default]
    #[serde(rename = "SAMPLE_VOCAB")]
    SampleVocabulary,
    /// At the vectors of a text's tokens: known from files, where it has no effect any more.
    #[serde(rename = "TEXT")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Text,
}

/// The settings of prompt tuning, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct PromptConfig {
    /// Rows of the prompt.
    pub num_virtual_tokens: usize,
    /// Where they start.
    pub prompt_tuning_init: PromptInit,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self {
            num_virtual_tokens: 20,
            prompt_tuning_init: PromptInit::default(),
        }
    }
}

impl PromptConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["num_virtual_tokens", "prompt_tuning_init"];

    /// Read the method's keys out of a configuration; absent keys take the defaults.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(PromptMethod::NAME, map, Self::KEYS)?;
        expect_rows(PromptMethod::NAME, config.num_virtual_tokens)?;
        Ok(config)
    }

    /// All settings.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }
}

/// The settings of P-tuning, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct PTuningConfig {
    /// Rows of the prompt.
    pub num_virtual_tokens: usize,
    /// Width of the network's hidden layers.
    #[cfg_attr(feature = "schema", schemars(extend("x-default" = "the model's width")))]
    pub encoder_hidden_size: Option<usize>,
}

impl Default for PTuningConfig {
    fn default() -> Self {
        Self {
            num_virtual_tokens: 20,
            encoder_hidden_size: None,
        }
    }
}

impl PTuningConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["num_virtual_tokens", "encoder_hidden_size"];

    /// Read the method's keys out of a configuration; absent keys take the defaults.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(PTuningMethod::NAME, map, Self::KEYS)?;
        expect_rows(PTuningMethod::NAME, config.num_virtual_tokens)?;
        expect_hidden(PTuningMethod::NAME, config.encoder_hidden_size.unwrap_or(1))?;
        Ok(config)
    }

    /// All settings.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }
}
