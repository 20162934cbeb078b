//! Scales and shifts of activations.

use std::collections::BTreeSet;

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterContext, AdapterError, AdapterSpec, BaseLinear, Cost, DefaultTargets, DynAdapter,
    Fields, HostTensor, InitContext, Method, Site, SiteKind, Target, WeightAdapter,
    kernels::rescale, own_settings,
};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::{param, restored};

/// The tensors of a file.
const TENSORS: [&str; 2] = ["ssf_scale", "ssf_shift"];

/// What a linear layer or a norm gives, scaled and shifted: `y · γ + β`.
///
/// With `γ = 1` and `β = 0` at the start the adapted layer computes exactly what the base does. The effective weight is
/// `W · γ` by outputs, and the effective bias `b · γ + β`: of a norm, whose weight is one factor an output, alike.
#[derive(Module, Debug)]
pub struct ScaleShift {
    /// `γ`, `[out]`.
    pub scale: Param<Tensor<1>>,
    /// `β`, `[out]`.
    pub shift: Param<Tensor<1>>,
}

impl WeightAdapter for ScaleShift {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        rescale(base.forward(x), None, self.scale.val()) + self.shift.val().unsqueeze::<2>()
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let (dtype, scale) = (weight.dtype(), self.scale.val());
        (weight.cast(scale.dtype()) * scale.unsqueeze::<2>()).cast(dtype)
    }

    fn implies_bias(&self) -> bool {
        true
    }

    fn effective_bias(&self, bias: Tensor<1>) -> Tensor<1> {
        let (dtype, scale) = (bias.dtype(), self.scale.val());
        (bias.cast(scale.dtype()) * scale + self.shift.val()).cast(dtype)
    }

    fn cost(&self, _: usize, out_features: usize) -> Cost {
        cost(out_features)
    }
}

fn cost(outputs: usize) -> Cost {
    Cost {
        parameters: 2 * outputs,
        flops_per_row: 5 * outputs,
        // What is scaled, and what comes of it.
        saved_per_row: 2 * outputs,
    }
}

/// The settings of SSF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct SsfConfig {
    /// Whether norms are scaled and shifted beside the targeted layers: all that have a bias to take the shift.
    pub norms: bool,
}

impl Default for SsfConfig {
    fn default() -> Self {
        Self { norms: true }
    }
}

impl SsfConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["norms"];

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        Map::from_iter([("norms".to_owned(), self.norms.into())])
    }
}

/// Scaling and shifting deep features ([2210.08823](https://arxiv.org/abs/2210.08823)): see [`ScaleShift`].
///
/// Targets are linear layers, all where none are named, and beside them all norms with a bias: a norm by the root of the mean
/// square has none that could take a shift. It merges where every shifted layer has a bias.
#[derive(Debug, Clone, Default)]
pub struct SsfMethod {
    config: SsfConfig,
}

impl SsfMethod {
    /// The name of the method.
    pub const NAME: &'static str = "ssf";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SSF";

    /// SSF with these settings.
    pub fn new(config: SsfConfig) -> Self {
        Self { config }
    }

    /// SSF with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Ok(Self::new(own_settings(Self::NAME, map, SsfConfig::KEYS)?))
    }
}

/// The number of outputs of a target: a linear layer's, or those of a norm's weight.
fn outputs(target: &Target) -> Result<usize, AdapterError> {
    let norm = target.shape.len() == 1 && target.path.ends_with(".weight");
    if target.kind == SiteKind::Parameter && !norm {
        return Err(AdapterError::Config {
            method: SsfMethod::NAME.into(),
            problem: format!("`{}` is neither a linear layer nor a norm", target.path),
            fix: "target linear layers; norms are scaled and shifted beside them".into(),
        });
    }
    Ok(target.out_features)
}

impl Method for SsfMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[
            SiteKind::Linear,
            SiteKind::TransposedLinear,
            SiteKind::Parameter,
        ]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::AllLinear
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn also_adapts(&self, sites: &[Site]) -> Result<Vec<String>, AdapterError> {
        if !self.config.norms {
            return Ok(Vec::new());
        }
        let vectors = sites
            .iter()
            .filter(|site| site.kind == SiteKind::Parameter && site.shape.len() == 1);
        let paths: BTreeSet<&str> = vectors.map(|site| site.path.as_str()).collect();
        let has_bias = |path: &&&str| {
            let module = path.strip_suffix(".weight");
            module.is_some_and(|module| paths.contains(format!("{module}.bias").as_str()))
        };
        Ok(paths
            .iter()
            .filter(has_bias)
            .map(|&path| path.to_owned())
            .collect())
    }

    fn targets_only(&self) -> Map<String, Value> {
        SsfConfig { norms: false }.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let (count, device) = (outputs(target)?, start.weight.device());
        Ok(DynAdapter::new(ScaleShift {
            scale: param(TensorData::ones::<f32, _>([count]), target, &device),
            shift: param(TensorData::zeros::<f32, _>([count]), target, &device),
        }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let count = outputs(target)?;
        let tensor = |suffix: &str| (suffix.to_owned(), target.values_info(&[count]));
        Ok(AdapterSpec {
            cost: cost(count),
            keeps_input: false,
            tensors: Fields::from(TENSORS.map(tensor)),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &TENSORS
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let count = outputs(target)?;
        let field = |suffix| restored(target, tensors, suffix, [count], device);
        Ok(DynAdapter::new(ScaleShift {
            scale: field(TENSORS[0])?,
            shift: field(TENSORS[1])?,
        }))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        for (field, suffix) in ["scale", "shift"].into_iter().zip(TENSORS) {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            stored.insert(suffix.to_owned(), tensor);
        }
        Ok(stored)
    }
}
