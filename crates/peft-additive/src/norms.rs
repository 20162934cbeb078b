//! The parameters of norms, trained.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Cost, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext,
    Method, ParameterAdapter, SiteKind, Target,
};
use serde_json::{Map, Value};

use crate::fields::{param, restored};

/// The tensors of a file, which PEFT has by the module of a norm.
const TENSORS: [&str; 2] = ["ln_tuning_layers.weight", "ln_tuning_layers.bias"];

/// Values instead of a parameter's own, flattened in row-major order: they start as a copy of those.
#[derive(Module, Debug)]
pub struct Replaced {
    /// `[n]`
    pub values: Param<Tensor<1>>,
}

impl ParameterAdapter for Replaced {
    fn effective(&self, values: Tensor<1>, _: &[usize]) -> Tensor<1> {
        self.values.val().cast(values.dtype())
    }

    fn cost(&self, shape: &[usize]) -> Cost {
        Cost {
            parameters: shape.iter().product(),
            ..Cost::default()
        }
    }
}

/// LayerNorm tuning ([2312.11420](https://arxiv.org/abs/2312.11420)): scales and biases of the norms are trained, and nothing
/// else.
///
/// Targets are the modules of norms, or their parameters; where none are named, all norms. Files are those of PEFT, which has
/// the new values in full: merged, they take the places of the old ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NormTuningMethod;

impl NormTuningMethod {
    /// The name of the method.
    pub const NAME: &'static str = "ln_tuning";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "LN_TUNING";
}

/// The number of values of a target, and the tensor of a file that holds them.
fn stored(target: &Target) -> Result<(usize, &'static str), AdapterError> {
    let leaf = target.path.rsplit('.').next().unwrap_or_default();
    let suffix = match leaf {
        "weight" => TENSORS[0],
        "bias" => TENSORS[1],
        _ => {
            return Err(AdapterError::Config {
                method: NormTuningMethod::NAME.into(),
                problem: format!("`{}` is no norm's weight or bias", target.path),
                fix: "target norms by the names of their modules".into(),
            });
        }
    };
    Ok((target.shape.iter().product(), suffix))
}

impl Method for NormTuningMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[SiteKind::Parameter]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Norms
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let (count, _) = stored(target)?;
        let own = start.weight.clone().reshape([count]).into_data();
        let values = param(own, target, &start.weight.device());
        Ok(DynAdapter::of_parameter(Replaced { values }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let (count, suffix) = stored(target)?;
        Ok(AdapterSpec {
            cost: Cost {
                parameters: count,
                ..Cost::default()
            },
            keeps_input: false,
            tensors: Fields::from([(suffix.to_owned(), target.values_info(&[count]))]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &TENSORS
    }

    fn file_module<'a>(&self, path: &'a str) -> &'a str {
        path.rsplit_once('.').map_or(path, |(module, _)| module)
    }

    fn site_of(&self, file_module: &str, suffix: &str) -> String {
        let leaf = suffix.rsplit('.').next().unwrap_or_default();
        format!("{file_module}.{leaf}")
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let (count, suffix) = stored(target)?;
        let values = restored(target, tensors, suffix, [count], device)?;
        Ok(DynAdapter::of_parameter(Replaced { values }))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let (_, suffix) = stored(target)?;
        let values = target.to_store(&mut fields, "values", suffix)?;
        Ok(Fields::from([(suffix.to_owned(), values)]))
    }
}
