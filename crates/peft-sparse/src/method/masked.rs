use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, AdapterStep, AfterStep, DynAdapter, Fields, HostTensor, InitContext,
    Method, Target, own_settings, settings_json,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{check_density, shape_of, share_of};
use crate::{
    DenseDelta,
    adam::{AdamStep, AgedAdam, Clock, floats},
    adapter::dense_cost,
    support::largest,
};

/// A method that trains all entries with masked gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskedKind {
    /// Gradient-Mask Tuning ([2406.15330](https://arxiv.org/abs/2406.15330)).
    Gmt,
    /// The largest hundredth of the gradient: what SparseGrad's paper (2410.07383) compares with under the
    /// name of meProp, which is something else.
    TopkGrad,
}

impl MaskedKind {
    /// The name in settings and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gmt => "gmt",
            Self::TopkGrad => "topk_grad",
        }
    }

    /// `peft_type` in `adapter_config.json`.
    pub const fn peft_type(self) -> &'static str {
        match self {
            Self::Gmt => "GMT",
            Self::TopkGrad => "TOPK_GRAD",
        }
    }

    fn suffixes(self) -> &'static [&'static str; 1] {
        match self {
            Self::Gmt => &["gmt_delta"],
            Self::TopkGrad => &["topk_grad_delta"],
        }
    }
}

/// The settings of the methods that mask gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MaskedConfig {
    /// Share of a weight's entries whose gradients a step keeps: those of largest magnitude in the whole
    /// batch.
    pub density: f64,
    /// Move the kept entries only, each with an Adam of its own age; else the masked gradient goes into
    /// an ordinary Adam, whose means move the other entries, too.
    pub mask_update: bool,
}

impl Default for MaskedConfig {
    fn default() -> Self {
        Self {
            density: 0.2,
            mask_update: false,
        }
    }
}

impl MaskedConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["density", "mask_update"];
}

/// Training of all entries of the weights with all but the largest gradients masked.
///
/// What is trained, and remembered of it, is as large as the weights: a yardstick for the methods that
/// choose before they train.
#[derive(Debug, Clone)]
pub struct MaskedMethod {
    kind: MaskedKind,
    config: MaskedConfig,
}

impl MaskedMethod {
    /// A method with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(kind: MaskedKind, config: MaskedConfig) -> Result<Self, AdapterError> {
        check_density(kind.name(), config.density)?;
        Ok(Self { kind, config })
    }

    /// The method with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(kind: MaskedKind, map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut all = Self::defaults(kind);
        all.extend(map.clone());
        Self::new(kind, own_settings(kind.name(), &all, MaskedConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults(kind: MaskedKind) -> Map<String, Value> {
        settings_json(&match kind {
            MaskedKind::Gmt => MaskedConfig::default(),
            MaskedKind::TopkGrad => MaskedConfig {
                density: 0.0119,
                ..MaskedConfig::default()
            },
        })
    }

    /// Whether every entry's gradient is kept: an ordinary optimiser's work.
    fn keeps_all(&self) -> bool {
        self.config.density == 1.0
    }

    fn step(&self, adapter: &mut AdapterStep, by: &AdamStep, step: u64) {
        let field = adapter.field("delta");
        let Some(gradient) = field.gradient() else {
            return;
        };
        let &[inner, out] = field.shape() else {
            unreachable!("a change is a matrix");
        };
        let like = field.value().float();
        let mut values: Vec<f64> = like.clone().into_data().iter::<f64>().collect();
        let mut gradient: Vec<f64> = gradient.into_data().iter::<f64>().collect();
        let kept = largest(&gradient, share_of([out, inner], self.config.density));
        let memory = AgedAdam::recall(&adapter.memory);
        let mut adam = memory.unwrap_or_else(|| AgedAdam::new(values.len()));
        let by = AdamStep {
            clock: match self.config.mask_update {
                true => Clock::Age,
                false => Clock::Run(step),
            },
            ..*by
        };
        if self.config.mask_update {
            adam.step(&mut values, &gradient, kept.clone(), kept, &by);
        } else {
            let mut masked = vec![0.0; gradient.len()];
            for place in kept {
                masked[place] = gradient[place];
            }
            gradient = masked;
            let all = 0..values.len();
            adam.step(&mut values, &gradient, all.clone(), all, &by);
        }
        adam.remember(&mut adapter.memory, &like, by.clock);
        adapter.field_mut("delta").set(floats(&values, &like));
    }
}

impl Method for MaskedMethod {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn peft_type(&self) -> &'static str {
        self.kind.peft_type()
    }

    fn config(&self) -> Map<String, Value> {
        settings_json(&self.config)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let [out, inner] = shape_of(target);
        let options = (&start.weight.device(), target.dtype.into());
        let zeros = Tensor::zeros([inner, out], options);
        Ok(DynAdapter::new(DenseDelta::new(zeros)))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let shape = shape_of(target);
        let [suffix] = *self.kind.suffixes();
        Ok(AdapterSpec {
            cost: dense_cost(shape),
            keeps_input: true,
            tensors: Fields::from([(suffix.to_owned(), target.values_info(&shape))]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        self.kind.suffixes()
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let [suffix] = *self.kind.suffixes();
        let delta = target.values_transposed(tensors, suffix, shape_of(target))?;
        let delta = Tensor::<2>::from_data(delta, (device, target.dtype.into()));
        Ok(DynAdapter::new(DenseDelta::new(delta)))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let [suffix] = *self.kind.suffixes();
        let delta = target.to_store(&mut fields, "delta", suffix)?;
        Ok(Fields::from([(suffix.to_owned(), delta.transposed())]))
    }

    fn learning_rate_factor(&self, field: &str, _: u64, _: u64) -> f64 {
        // The method takes the steps.
        match field {
            "delta" if !self.keeps_all() => 0.0,
            _ => 1.0,
        }
    }

    fn acts_after(&self, _: u64, _: u64) -> bool {
        !self.keeps_all()
    }

    fn after_step(&self, now: &mut AfterStep) -> Result<(), AdapterError> {
        let (by, step) = (AdamStep::of(now), now.own_steps);
        (now.adapters.par_iter_mut()).for_each(|(_, adapter)| self.step(adapter, &by, step));
        Ok(())
    }
}
