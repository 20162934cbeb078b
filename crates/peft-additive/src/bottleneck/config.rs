use peft_core::{AdapterError, own_settings, settings_json};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::BottleneckKind;

/// The nonlinearity between the two projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum NonLinearity {
    /// The positive part.
    #[default]
    Relu,
    /// `x · σ(x)`, which is called SiLU, too.
    Swish,
    /// GELU with the error function.
    Gelu,
    /// The hyperbolic tangent.
    Tanh,
}

/// Where the projections start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BottleneckInit {
    /// The first as a linear layer of PyTorch, the second at zero: a fresh module changes nothing.
    #[default]
    Zero,
    /// As zero, with biases at zero, too ([2110.04366](https://arxiv.org/abs/2110.04366)).
    Mam,
    /// Both normal with standard deviation 0.02, biases at zero, as `adapters` does: a fresh module changes a
    /// little.
    Bert,
}

/// What the module reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BottleneckInput {
    /// The block's own norm of the sum of what passes and the residual, where such a norm follows (Pfeiffer
    /// et al. 2020); else what passes.
    #[default]
    Normed,
    /// What passes, before the residual is added (Houlsby et al. 2019).
    Plain,
    /// The residual: what the part of the block was given (He et al. 2022, in parallel with it).
    Residual,
}

/// The settings of bottleneck adapters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct BottleneckConfig {
    /// Width of the block over that of the bottleneck.
    pub reduction_factor: f64,
    /// The nonlinearity between the two projections.
    pub non_linearity: NonLinearity,
    /// Factor on what is added.
    pub scaling: f64,
    /// Where the projections start.
    pub init_weights: BottleneckInit,
    /// What the module reads: the norm of the sum, what passes, or the residual.
    pub reads: BottleneckInput,
}

impl Default for BottleneckConfig {
    fn default() -> Self {
        Self {
            reduction_factor: 16.0,
            non_linearity: NonLinearity::Relu,
            scaling: 1.0,
            init_weights: BottleneckInit::Zero,
            reads: BottleneckInput::Normed,
        }
    }
}

impl BottleneckConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "reduction_factor",
        "non_linearity",
        "scaling",
        "init_weights",
        "reads",
    ];

    /// Those of a parallel module ([2110.04366](https://arxiv.org/abs/2110.04366)).
    pub fn parallel() -> Self {
        Self {
            reduction_factor: 2.0,
            non_linearity: NonLinearity::Relu,
            scaling: 4.0,
            init_weights: BottleneckInit::Mam,
            reads: BottleneckInput::Residual,
        }
    }

    /// Read the keys of a method out of a configuration; absent keys take its kind's defaults.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(kind: BottleneckKind, map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut all = kind.defaults().to_json();
        let given = map.iter().filter(|(_, value)| !value.is_null());
        all.extend(given.map(|(key, value)| (key.clone(), value.clone())));
        let config: Self = own_settings(kind.name(), &all, Self::KEYS)?;
        config.check(kind.name())?;
        Ok(config)
    }

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    /// Width of the bottleneck in a block of this width: `⌊width / reduction_factor⌋`, at least 1.
    pub fn size(&self, width: usize) -> usize {
        ((width as f64 / self.reduction_factor) as usize).max(1)
    }

    pub(super) fn check(&self, method: &str) -> Result<(), AdapterError> {
        let fault = |problem: String, fix: &str| AdapterError::Config {
            method: method.to_owned(),
            problem,
            fix: fix.into(),
        };
        let factor = self.reduction_factor;
        if !factor.is_finite() || factor <= 0.0 {
            let problem = format!("reduction_factor = {factor} is not above 0");
            return Err(fault(problem, "use a number such as 16"));
        }
        // Wider than this the module outweighs the block that it is inserted in.
        if factor < 1.0 / 16.0 {
            let problem =
                format!("reduction_factor = {factor} makes the module wider than 16 blocks");
            return Err(fault(problem, "use a number such as 16"));
        }
        expect_factor(method, self.scaling)
    }
}

/// Refuse a factor that lets nothing through.
pub(super) fn expect_factor(method: &str, scaling: f64) -> Result<(), AdapterError> {
    if scaling.is_finite() && scaling != 0.0 {
        return Ok(());
    }
    Err(AdapterError::Config {
        method: method.to_owned(),
        problem: format!("scaling = {scaling} lets nothing through"),
        fix: "use a finite number other than 0".into(),
    })
}
