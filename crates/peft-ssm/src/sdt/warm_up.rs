use std::{collections::BTreeMap, sync::Arc};

use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, AfterStep, Cost, DynAdapter, Fields, HostTensor, InitContext,
    Method, SiteKind, Target, Values, WeightGradients,
};
use serde_json::{Map, Value};

use super::{SdtSelector, entries::WholeOffset};

/// What the warm-up remembers of an entry, summed over its steps.
pub const SUM: &str = "sum";
/// Where the offsets were before the step that comes.
const BEFORE: &str = "before";

/// What is trained before the choice: an offset on every entry of `A_log`, and what another method trains beside it. Its
/// adapters are never written to a file.
#[derive(Debug, Clone)]
pub struct WarmUp {
    pub selector: SdtSelector,
    /// The method of the other weights.
    pub beside: Option<Arc<dyn Method>>,
}

fn refused() -> AdapterError {
    AdapterError::Config {
        method: WarmUp::NAME.into(),
        problem: "it is the warm-up of sparse dimension tuning, whose adapters are kept in no file"
            .into(),
        fix: "use sdt or sdlora".into(),
    }
}

impl WarmUp {
    const NAME: &'static str = "sdt-warm-up";

    /// The other method, if it adapts this target.
    fn beside(&self, target: &Target) -> Option<&dyn Method> {
        let other = self.beside.as_deref()?;
        super::is_for_another(target).then_some(other)
    }
}

impl Method for WarmUp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        "SDT_WARM_UP"
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        super::KINDS
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Nothing for the input and output matrices of the states, which stay as they are.
    fn allot(
        &self,
        targets: &[Target],
        _: Option<&WeightGradients>,
    ) -> Result<Option<BTreeMap<String, usize>>, AdapterError> {
        let adapted = targets
            .iter()
            .filter(|target| target.kind == SiteKind::Parameter || self.beside(target).is_some());
        Ok(Some(adapted.map(|one| (one.path.clone(), 1)).collect()))
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        if let Some(other) = self.beside(target) {
            return other.init(target, start);
        }
        let zeros = TensorData::zeros::<f32, _>([target.shape.iter().product::<usize>()]);
        let options = (&start.weight.device(), target.dtype.into());
        Ok(DynAdapter::of_parameter(WholeOffset {
            offset: Param::from_tensor(Tensor::from_data(zeros, options)),
        }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        if let Some(other) = self.beside(target) {
            return other.describe(target);
        }
        Ok(AdapterSpec {
            cost: Cost {
                parameters: target.shape.iter().product(),
                ..Cost::default()
            },
            keeps_input: false,
            tensors: Fields::new(),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[]
    }

    fn restore(
        &self,
        _: &Target,
        _: &Fields<HostTensor>,
        _: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        Err(refused())
    }

    fn export(
        &self,
        _: &Target,
        _: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        Err(refused())
    }

    fn learning_rate_factor(&self, field: &str, step: u64, total: u64) -> f64 {
        let other = self.beside.as_deref();
        other.map_or(1.0, |other| other.learning_rate_factor(field, step, total))
    }

    fn acts_after(&self, _: u64, _: u64) -> bool {
        matches!(
            self.selector,
            SdtSelector::GradientChange | SdtSelector::Fisher | SdtSelector::LossChange
        )
    }

    fn after_step(&self, now: &mut AfterStep) -> Result<(), AdapterError> {
        for adapter in now.adapters.values_mut() {
            let Some(field) = adapter.fields.get("offset") else {
                continue;
            };
            let Some(gradient) = field.gradient() else {
                continue;
            };
            let value = field.value().float();
            let known = |name: &str, fields: &Fields<Values>| match fields.get(name) {
                Some(values) => values.float(),
                None => value.zeros_like(),
            };
            let sum = known(SUM, &adapter.memory);
            let sum = match self.selector {
                SdtSelector::Fisher => sum + gradient.clone() * gradient,
                SdtSelector::LossChange => {
                    let before = known(BEFORE, &adapter.memory);
                    adapter
                        .memory
                        .insert(BEFORE.to_owned(), Values::Float(value.clone()));
                    sum - gradient * (value - before)
                }
                _ => sum + gradient,
            };
            adapter.memory.insert(SUM.to_owned(), Values::Float(sum));
        }
        Ok(())
    }
}
