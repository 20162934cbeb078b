use serde_json::{Map, Value};

use super::{Fault, fields::ConfigFields};

/// A stack of selective state spaces (Gu and Dao 2023): what a `config.json` says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct MambaConfig {
    /// Tokens.
    pub vocab_size: usize,
    /// Width of the model, `E`.
    pub hidden_size: usize,
    /// Channels of a block, `D`.
    pub channels: usize,
    /// States of a channel, `N`.
    pub states: usize,
    /// Width of the convolution, `K`.
    pub kernel: usize,
    /// Rank of the step widths, `R`.
    pub step_rank: usize,
    /// Blocks.
    pub layers: usize,
    /// ε of the norms.
    pub norm_eps: f64,
    /// Whether the projections into and out of a block have biases.
    pub bias: bool,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
    /// Whether the table of the tokens is the head, too.
    pub tied: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
}

impl MambaConfig {
    pub(super) fn from_json(map: &Map<String, Value>) -> Result<Self, Fault> {
        let fields = ConfigFields(map);
        let hidden_size = fields.needed(&["hidden_size", "d_model"])?;
        // Some files state the product, and some of those state it wrongly.
        let expand = fields.size(&["expand"])?.unwrap_or(2);
        let step_rank = match map.get("time_step_rank") {
            Some(Value::String(auto)) if auto == "auto" => None,
            _ => fields.size(&["time_step_rank"])?,
        };
        if let Some(other) = fields.text(&["hidden_act"])?.filter(|act| *act != "silu") {
            return Err((
                format!("activation `{other}` is not supported in a state-space block"),
                "use a checkpoint with silu",
            ));
        }
        let config = Self {
            vocab_size: fields.needed(&["vocab_size"])?,
            hidden_size,
            channels: expand * hidden_size,
            states: fields.size(&["state_size"])?.unwrap_or(16),
            kernel: fields.size(&["conv_kernel"])?.unwrap_or(4),
            step_rank: step_rank.unwrap_or(hidden_size.div_ceil(16)),
            layers: fields.needed(&["num_hidden_layers", "n_layer"])?,
            norm_eps: fields.positive("layer_norm_epsilon", 1e-5)?,
            bias: fields.flag("use_bias", false)?,
            conv_bias: fields.flag("use_conv_bias", true)?,
            tied: fields.flag("tie_word_embeddings", true)?,
            initializer_range: fields.positive("initializer_range", 0.1)?,
        };
        let sizes = [
            config.channels,
            config.states,
            config.kernel,
            config.step_rank,
        ];
        let sound = |size: &usize| (1..1 << 27).contains(size);
        if !sizes.iter().all(sound) || config.layers > 4096 || config.kernel > 1024 {
            return Err((
                format!("sizes {sizes:?} make no model"),
                "fetch the file again",
            ));
        }
        Ok(config)
    }
}
