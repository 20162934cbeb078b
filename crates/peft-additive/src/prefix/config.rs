use peft_core::{AdapterError, own_settings, settings_json};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::PrefixMethod;

/// The most rows that a prefix or a prompt has.
const MOST_ROWS: usize = 1 << 16;

/// Where keys and values start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PrefixInit {
    /// Normal, of standard deviation 1; with a projection its layers as PyTorch's.
    #[default]
    Normal,
    /// At zero, the last layer of a projection too.
    Zero,
}

/// The settings of prefix tuning, by PEFT's names where it has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct PrefixConfig {
    /// Rows of the prefix.
    pub num_virtual_tokens: usize,
    /// Whether a network makes the prefix while it is trained; files hold what comes of it.
    pub prefix_projection: bool,
    /// Width of that network's hidden layer.
    pub encoder_hidden_size: Option<usize>,
    /// Where keys and values start.
    pub init_weights: PrefixInit,
    /// Whether in a model that goes from token to token the first one stands behind the positions of the prefix, as PEFT has
    /// it, or at 0.
    pub shift_positions: bool,
}

impl Default for PrefixConfig {
    fn default() -> Self {
        Self {
            num_virtual_tokens: 20,
            prefix_projection: false,
            encoder_hidden_size: None,
            init_weights: PrefixInit::Normal,
            shift_positions: true,
        }
    }
}

impl PrefixConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "num_virtual_tokens",
        "prefix_projection",
        "encoder_hidden_size",
        "init_weights",
        "shift_positions",
    ];

    /// Width of the hidden layer where nothing is said.
    pub const HIDDEN: usize = 512;

    /// Read the method's keys out of a configuration; absent keys take the defaults.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config: Self = own_settings(PrefixMethod::NAME, map, Self::KEYS)?;
        config.check()?;
        Ok(config)
    }

    /// All settings.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    /// Width of the network's hidden layer.
    pub fn hidden(&self) -> usize {
        self.encoder_hidden_size.unwrap_or(Self::HIDDEN)
    }

    pub(super) fn check(&self) -> Result<(), AdapterError> {
        expect_rows(PrefixMethod::NAME, self.num_virtual_tokens)?;
        expect_hidden(PrefixMethod::NAME, self.hidden())
    }
}

/// Refuse a number of rows that is none.
pub fn expect_rows(method: &str, rows: usize) -> Result<(), AdapterError> {
    if (1..=MOST_ROWS).contains(&rows) {
        return Ok(());
    }
    Err(AdapterError::Config {
        method: method.to_owned(),
        problem: format!("num_virtual_tokens = {rows}"),
        fix: "use a number such as 20".into(),
    })
}

/// Refuse a width of a hidden layer that is none.
pub fn expect_hidden(method: &str, width: usize) -> Result<(), AdapterError> {
    if (1..=1 << 20).contains(&width) {
        return Ok(());
    }
    Err(AdapterError::Config {
        method: method.to_owned(),
        problem: format!("encoder_hidden_size = {width}"),
        fix: "use a number such as 512".into(),
    })
}
