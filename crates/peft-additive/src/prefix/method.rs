use std::collections::BTreeMap;

use burn::{
    module::Param,
    tensor::{Device, TensorData},
};
use indexmap::IndexMap;
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    Site, SiteKind, Target,
    kernels::{key_of, normal, uniform_within},
};
use serde_json::{Map, Value};

use super::{
    Prefix, PrefixConfig, PrefixInit, ProjectedPrefix,
    adapter::{cost, projected_values},
    whole::{WHOLE, gather, projected, spread},
};
use crate::fields::{param, restored};

/// The tensors of one attention in a file, where not all attentions have a prefix.
pub(super) const TENSORS: [&str; 2] = ["prefix_keys", "prefix_values"];

/// Prefix tuning ([2101.00190](https://arxiv.org/abs/2101.00190)): see [`Prefix`].
///
/// Targets are the slots `keys_values` of attentions, all where none are named. A projection
/// ([`ProjectedPrefix`]) is used in training only: files hold its keys and values, in PEFT's one tensor where every attention
/// has a prefix.
#[derive(Debug, Clone)]
pub struct PrefixMethod {
    config: PrefixConfig,
}

impl PrefixMethod {
    /// The name of the method.
    pub const NAME: &'static str = "prefix";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "PREFIX_TUNING";
    /// The slot that it stands in.
    pub const SLOT: &'static str = "keys_values";

    /// Prefix tuning with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: PrefixConfig) -> Result<Self, AdapterError> {
        config.check()?;
        Ok(Self { config })
    }

    /// Prefix tuning with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(PrefixConfig::from_json(map)?)
    }

    /// Rows of the prefix and width of the keys at a target, which must be the slot of an attention.
    fn sizes(&self, target: &Target) -> Result<[usize; 2], AdapterError> {
        if target.path.rsplit('.').next() != Some(Self::SLOT) {
            return Err(AdapterError::Config {
                method: Self::NAME.into(),
                problem: format!("it does nothing in the slot `{}`", target.path),
                fix: format!("target {}", Self::SLOT),
            });
        }
        Ok([self.config.num_virtual_tokens, target.in_features])
    }

    fn flat(&self, keys: Param<burn::Tensor<2>>, values: Param<burn::Tensor<2>>) -> DynAdapter {
        DynAdapter::of_slot(Prefix {
            keys,
            values,
            shift: self.config.shift_positions,
        })
    }
}

impl Method for PrefixMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[SiteKind::Slot]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(&[Self::SLOT])
    }

    fn config(&self) -> Map<String, Value> {
        let rows = self.config.num_virtual_tokens.into();
        let mut own = Map::from_iter([("num_virtual_tokens".to_owned(), rows)]);
        // PEFT does not know it, and always shifts.
        if !self.config.shift_positions {
            own.insert("shift_positions".to_owned(), false.into());
        }
        own
    }

    fn of_files(&self) -> Option<Box<dyn Method>> {
        let config = PrefixConfig {
            prefix_projection: false,
            ..self.config.clone()
        };
        self.config
            .prefix_projection
            .then(|| Box::new(Self { config }) as Box<dyn Method>)
    }

    fn positions_before(&self) -> usize {
        match self.config.shift_positions {
            true => self.config.num_virtual_tokens,
            false => 0,
        }
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let [count, width] = self.sizes(target)?;
        let device = start.weight.device();
        let zero = self.config.init_weights == PrefixInit::Zero;
        let drawn = |place: &str, part: u64, values: usize| match zero {
            true => vec![0.0; values],
            false => normal(key_of(start.seed, place, part), values),
        };
        if !self.config.prefix_projection {
            let field = |part| {
                let values = drawn(&target.path, part, count * width);
                param(TensorData::new(values, [count, width]), target, &device)
            };
            return Ok(self.flat(field(0), field(1)));
        }
        let inner = self.config.hidden();
        // What all attentions share is drawn by its name.
        let shared = ProjectedPrefix::shared_name;
        let spread = |place: &str, part: u64, values: usize, inputs: usize| -> Vec<f32> {
            let bound = 1.0 / (inputs as f32).sqrt();
            uniform_within(key_of(start.seed, place, part), values, bound)
        };
        let embedding = normal(key_of(start.seed, &shared("embedding"), 0), count * width);
        let hidden = spread(&shared("hidden"), 0, width * inner, width);
        let hidden_bias = spread(&shared("hidden_bias"), 0, inner, width);
        let last = |part: u64, values: usize| match zero {
            true => vec![0.0; values],
            false => spread(&target.path, part, values, inner),
        };
        let matrix =
            |values, shape: [usize; 2]| param(TensorData::new(values, shape), target, &device);
        let vector = |values: Vec<f32>| {
            let shape = [values.len()];
            param(TensorData::new(values, shape), target, &device)
        };
        Ok(DynAdapter::of_slot(ProjectedPrefix {
            embedding: matrix(embedding, [count, width]),
            hidden: matrix(hidden, [width, inner]),
            hidden_bias: vector(hidden_bias),
            output: matrix(last(0, inner * 2 * width), [inner, 2 * width]),
            output_bias: vector(last(1, 2 * width)),
            shift: self.config.shift_positions,
        }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let [count, width] = self.sizes(target)?;
        let values = match self.config.prefix_projection {
            true => projected_values(count, width, self.config.hidden()),
            false => 2 * count * width,
        };
        let tensor = |suffix: &str| (suffix.to_owned(), target.values_info(&[count, width]));
        Ok(AdapterSpec {
            cost: cost(values, count, width),
            keeps_input: false,
            tensors: Fields::from(TENSORS.map(tensor)),
        })
    }

    fn tied(&self, target: &Target) -> Result<Fields<usize>, AdapterError> {
        let [count, width] = self.sizes(target)?;
        if !self.config.prefix_projection {
            return Ok(Fields::new());
        }
        let inner = self.config.hidden();
        let values = [count * width, width * inner, inner];
        let names = ProjectedPrefix::SHARED.map(ProjectedPrefix::shared_name);
        Ok(names.into_iter().zip(values).collect())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &TENSORS
    }

    fn whole_names(&self) -> &'static [&'static str] {
        &[WHOLE]
    }

    fn spread(
        &self,
        whole: &Fields<HostTensor>,
        sites: &[Site],
    ) -> Result<BTreeMap<String, Fields<HostTensor>>, AdapterError> {
        spread(whole, sites)
    }

    fn gather(
        &self,
        modules: &mut IndexMap<String, Fields<HostTensor>>,
        sites: &[Site],
    ) -> Result<Fields<HostTensor>, AdapterError> {
        Ok(gather(modules, sites))
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let shape = self.sizes(target)?;
        let field = |suffix| restored(target, tensors, suffix, shape, device);
        Ok(self.flat(field(TENSORS[0])?, field(TENSORS[1])?))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        if fields.contains_key("embedding") {
            let [keys, values] = projected(target, &mut fields)?;
            fields.insert("keys".into(), keys);
            fields.insert("values".into(), values);
        }
        let mut stored = Fields::new();
        for (field, suffix) in ["keys", "values"].into_iter().zip(TENSORS) {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            stored.insert(suffix.to_owned(), tensor);
        }
        Ok(stored)
    }
}
