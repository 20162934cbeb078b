//! State-space models.

mod original;

use serde_json::{Map, Value};

use super::{DecoderConfig, Fault, fields::ConfigFields};

/// What a block computes between its projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StateSpace {
    /// The selective scan (Gu and Dao 2023): every channel and state has a decay of its own.
    Selective {
        /// Rank of the step widths, `R`.
        step_rank: usize,
        /// ε of norms without weights over step widths, `B` and `C`, where there are such norms (FalconMamba).
        norms: Option<f64>,
    },
    /// The dual form (Dao and Gu 2024), Mamba-2: the channels of a head share one decay and one step.
    Dual {
        /// Heads, `H`, a divisor of the channels.
        heads: usize,
        /// Groups `G` of `B` and `C`, a divisor of the heads.
        groups: usize,
        /// Bounds of the step width.
        step_limit: (f64, f64),
    },
}

/// A stack of state spaces (Gu and Dao 2023, Dao and Gu 2024): what a `config.json` says of it.
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
    /// What is between the projections.
    pub space: StateSpace,
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

const MODEL_TYPES: [&str; 3] = ["mamba", "mamba2", "falcon_mamba"];

impl MambaConfig {
    /// Whether a configuration with this `model_type` is one of these models: Hugging Face's, or of the first
    /// implementation (`mamba_ssm`), which writes none.
    pub(super) fn is_of(model_type: &str, map: &Map<String, Value>) -> bool {
        MODEL_TYPES.contains(&model_type) || (model_type.is_empty() && original::is(map))
    }

    pub(super) fn from_json(map: &Map<String, Value>) -> Result<Self, Fault> {
        let fields = ConfigFields(map);
        let config = match fields.text(&["model_type"])? {
            Some("mamba2") => Self::dual(fields)?,
            None | Some("") => original::read(fields)?,
            Some(kind) => Self::selective(fields, kind == "falcon_mamba")?,
        };
        config.checked()
    }

    fn selective(fields: ConfigFields, normed: bool) -> Result<Self, Fault> {
        let base = Self::base(fields, 16, true)?;
        let norms = match normed {
            true => Some(fields.positive("mixer_rms_eps", 1e-6)?),
            false => None,
        };
        let space = StateSpace::Selective {
            step_rank: step_rank(fields, "time_step_rank", base.hidden_size)?,
            norms,
        };
        Ok(Self { space, ..base })
    }

    fn dual(fields: ConfigFields) -> Result<Self, Fault> {
        let base = Self::base(fields, 128, false)?;
        let (heads, width) = (
            fields.size(&["num_heads"])?.unwrap_or(128),
            fields.size(&["head_dim"])?.unwrap_or(64),
        );
        if heads.checked_mul(width) != Some(base.channels) {
            return Err((
                format!(
                    "{heads} heads of {width} channels are not the {} of a block",
                    base.channels
                ),
                "correct `num_heads`, `head_dim`, `expand` or `hidden_size`, or fetch the file again",
            ));
        }
        let space = StateSpace::Dual {
            heads,
            groups: fields.size(&["n_groups"])?.unwrap_or(8),
            step_limit: step_limit(fields, "time_step_limit")?,
        };
        Ok(Self { space, ..base })
    }

    /// The state spaces in blocks of a decoder (Jamba).
    pub(super) fn within(fields: ConfigFields, decoder: &DecoderConfig) -> Result<Self, Fault> {
        let size = |name: &str, usual| -> Result<usize, Fault> {
            Ok(fields.size(&[name])?.unwrap_or(usual))
        };
        let hidden_size = decoder.hidden_size;
        let config = Self {
            vocab_size: decoder.vocab_size,
            hidden_size,
            channels: size("mamba_expand", 2)?.saturating_mul(hidden_size),
            states: size("mamba_d_state", 16)?,
            kernel: size("mamba_d_conv", 4)?,
            space: StateSpace::Selective {
                step_rank: step_rank(fields, "mamba_dt_rank", hidden_size)?,
                norms: None,
            },
            layers: decoder.layers,
            norm_eps: decoder.norm_eps,
            bias: fields.flag("mamba_proj_bias", false)?,
            conv_bias: fields.flag("mamba_conv_bias", true)?,
            tied: decoder.tied,
            initializer_range: decoder.initializer_range,
        };
        config.checked()
    }

    /// What Hugging Face's families have in common; the state space is to be replaced.
    fn base(fields: ConfigFields, states: usize, tied: bool) -> Result<Self, Fault> {
        let hidden_size = fields.needed(&["hidden_size", "d_model"])?;
        // Some files state the product, and some of those state it wrongly.
        let expand = fields.size(&["expand"])?.unwrap_or(2);
        if let Some(other) = fields.text(&["hidden_act"])?.filter(|act| *act != "silu") {
            return Err((
                format!("activation `{other}` is not supported in a state-space block"),
                "use a checkpoint with silu",
            ));
        }
        Ok(Self {
            vocab_size: fields.needed(&["vocab_size"])?,
            hidden_size,
            channels: expand.saturating_mul(hidden_size),
            states: fields.size(&["state_size"])?.unwrap_or(states),
            kernel: fields.size(&["conv_kernel"])?.unwrap_or(4),
            space: StateSpace::Selective {
                step_rank: 0,
                norms: None,
            },
            layers: fields.needed(&["num_hidden_layers", "n_layer"])?,
            norm_eps: fields.positive("layer_norm_epsilon", 1e-5)?,
            bias: fields.flag("use_bias", false)?,
            conv_bias: fields.flag("use_conv_bias", true)?,
            tied: fields.flag("tie_word_embeddings", tied)?,
            initializer_range: fields.positive("initializer_range", 0.1)?,
        })
    }

    fn checked(self) -> Result<Self, Fault> {
        let most = (1 << 27) - 1;
        // By Mamba's names and Jamba's.
        let mut sizes = vec![
            (
                "`hidden_size` times `expand` (`mamba_expand`)",
                self.channels,
                most,
            ),
            ("`state_size` (`mamba_d_state`)", self.states, most),
            ("`conv_kernel` (`mamba_d_conv`)", self.kernel, 1024),
            ("`num_hidden_layers`", self.layers, 4096),
        ];
        match self.space {
            StateSpace::Selective { step_rank, .. } => {
                sizes.push(("`time_step_rank` (`mamba_dt_rank`)", step_rank, most));
            }
            StateSpace::Dual { heads, groups, .. } => {
                sizes.extend([("`num_heads`", heads, most), ("`n_groups`", groups, most)]);
            }
        }
        let unsound = |(_, size, most): &&(&str, usize, usize)| !(1..=*most).contains(size);
        if let Some((name, size, most)) = sizes.iter().find(unsound) {
            return Err((
                format!("{name} is {size}, and a model has 1 to {most}"),
                "fetch the file again",
            ));
        }
        if let StateSpace::Dual { heads, groups, .. } = self.space
            && !heads.is_multiple_of(groups)
        {
            return Err((
                format!("{groups} groups do not divide {heads} heads"),
                "correct `n_groups` or `num_heads`, or fetch the file again",
            ));
        }
        let widest = [self.conv_channels(), self.in_width()];
        if widest.iter().any(|width| *width >= 1 << 28) {
            return Err((
                format!("widths {widest:?} make no model"),
                "fetch the file again",
            ));
        }
        Ok(self)
    }

    /// Hugging Face's name of the family.
    pub fn model_type(&self) -> &'static str {
        match self.space {
            StateSpace::Selective { norms: None, .. } => "mamba",
            StateSpace::Selective { .. } => "falcon_mamba",
            StateSpace::Dual { .. } => "mamba2",
        }
    }

    /// Channels of the convolution: those of a block, in Mamba-2 `B` and `C`, too.
    pub fn conv_channels(&self) -> usize {
        match self.space {
            StateSpace::Selective { .. } => self.channels,
            StateSpace::Dual { groups, .. } => self.channels + 2 * groups * self.states,
        }
    }

    /// Outputs of the projection into a block: the convolution's channels and the gate, in Mamba-2 the steps of the
    /// heads, too.
    pub fn in_width(&self) -> usize {
        let steps = match self.space {
            StateSpace::Selective { .. } => 0,
            StateSpace::Dual { heads, .. } => heads,
        };
        self.channels + self.conv_channels() + steps
    }
}

/// The rank of the step widths: a number, or `"auto"`, as where it is absent.
fn step_rank(fields: ConfigFields, name: &str, hidden: usize) -> Result<usize, Fault> {
    let given = match fields.0.get(name) {
        Some(Value::String(auto)) if auto == "auto" => None,
        _ => fields.size(&[name])?,
    };
    Ok(given.unwrap_or(hidden.div_ceil(16)))
}

/// Bounds of the step widths, a list of two; 0 and infinity where it is absent. Infinity is written as transformers 5 does.
fn step_limit(fields: ConfigFields, name: &str) -> Result<(f64, f64), Fault> {
    let Some(list) = fields.list(name)? else {
        return Ok((0.0, f64::INFINITY));
    };
    let number = |value: &Value| match value.get("__float__").and_then(Value::as_str) {
        Some("Infinity") => Some(f64::INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    };
    match list
        .iter()
        .map(number)
        .collect::<Option<Vec<_>>>()
        .as_deref()
    {
        Some(&[least, most]) if least >= 0.0 && least < most => Ok((least, most)),
        _ => Err((
            format!("`{name}` must be two numbers, the least step width and the most"),
            "correct the field, or fetch the file again",
        )),
    }
}
