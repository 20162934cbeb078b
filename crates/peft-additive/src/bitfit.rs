//! Offsets on parameters.

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

/// The tensor of a file.
const OFFSET: &str = "bitfit_offset";

/// A parameter with a trained offset: `p + δ`, values flattened in row-major order.
#[derive(Module, Debug)]
pub struct Offset {
    /// `δ`, `[n]`
    pub offset: Param<Tensor<1>>,
}

impl ParameterAdapter for Offset {
    fn effective(&self, values: Tensor<1>, _: &[usize]) -> Tensor<1> {
        let dtype = values.dtype();
        let offset = self.offset.val();
        (values.cast(offset.dtype()) + offset).cast(dtype)
    }

    fn cost(&self, shape: &[usize]) -> Cost {
        Cost {
            parameters: shape.iter().product(),
            ..Cost::default()
        }
    }

    fn is_additive(&self) -> bool {
        true
    }
}

/// BitFit ([2106.10199](https://arxiv.org/abs/2106.10199)): biases are trained, `b + δ` with `δ` from zero,
/// and nothing else.
///
/// Targets are biases where none are named. Any other parameter can be named, too, such as a norm's scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BitFitMethod;

impl BitFitMethod {
    /// The name of the method.
    pub const NAME: &'static str = "bitfit";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "BITFIT";
}

fn length(target: &Target) -> usize {
    target.shape.iter().product()
}

impl Method for BitFitMethod {
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
        DefaultTargets::Named(&["bias"])
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let zeros = TensorData::zeros::<f32, _>([length(target)]);
        let offset = param(zeros, target, &start.weight.device());
        Ok(DynAdapter::of_parameter(Offset { offset }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let shape = [length(target)];
        Ok(AdapterSpec {
            cost: Cost {
                parameters: shape[0],
                ..Cost::default()
            },
            keeps_input: false,
            tensors: Fields::from([(OFFSET.to_owned(), target.values_info(&shape))]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[OFFSET]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let offset = restored(target, tensors, OFFSET, [length(target)], device)?;
        Ok(DynAdapter::of_parameter(Offset { offset }))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let offset = target.to_store(&mut fields, "offset", OFFSET)?;
        Ok(Fields::from([(OFFSET.to_owned(), offset)]))
    }
}
