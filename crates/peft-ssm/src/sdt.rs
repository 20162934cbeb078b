//! Sparse dimension tuning.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, IndexingUpdateOp, Int, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Cost, DefaultTargets, DynAdapter, Fields, HostTensor, HostTensorExt,
    InitContext, Method, ParameterAdapter, SiteKind, Target,
    format::{Dtype, TensorInfo},
    kernels::key_of,
    own_settings,
    places::drawn,
};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const OFFSETS: &str = "sdt_offsets";
const PLACES: &str = "sdt_places";

/// A parameter of which some entries have a trained offset: `p[places] + δ`.
#[derive(Module, Debug)]
pub struct SparseOffset {
    /// `δ`, `[count]`
    pub offsets: Param<Tensor<1>>,
    /// Indices of the entries in row-major order, rising, `[count]`.
    pub places: Param<Tensor<1, Int>>,
}

impl ParameterAdapter for SparseOffset {
    fn effective(&self, values: Tensor<1>, _: &[usize]) -> Tensor<1> {
        let dtype = values.dtype();
        let offsets = self.offsets.val();
        let values = values.cast(offsets.dtype());
        let places = self.places.val();
        values
            .scatter(0, places, offsets, IndexingUpdateOp::Add)
            .cast(dtype)
    }

    fn cost(&self, _: &[usize]) -> Cost {
        Cost {
            parameters: self.offsets.lazy_shape().num_elements(),
            ..Cost::default()
        }
    }

    fn is_additive(&self) -> bool {
        true
    }
}

/// The settings of sparse dimension tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct SdtConfig {
    /// Share of the channels of which something is trained, at least one.
    pub channels: f64,
    /// Share of the states of such a channel that is trained, at least one.
    pub states: f64,
}

impl Default for SdtConfig {
    fn default() -> Self {
        Self {
            channels: 0.01,
            states: 0.25,
        }
    }
}

impl SdtConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &["channels", "states"];

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => unreachable!("a struct of plain values"),
        }
    }
}

/// Sparse dimension tuning of `A_log [channels, states]`: `⌈channels · D⌉` channels and in each of them
/// `⌈states · N⌉` states get an offset from zero.
///
/// Which they are is drawn by the seed and the parameter's path, every choice equally likely: the control
/// that a choice by importance is to be compared with.
#[derive(Debug, Clone)]
pub struct SdtMethod {
    config: SdtConfig,
}

impl SdtMethod {
    /// The name of the method.
    pub const NAME: &'static str = "sdt";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SDT";

    /// Sparse dimension tuning with these settings.
    ///
    /// # Errors
    /// If a share is not in (0, 1].
    pub fn new(config: SdtConfig) -> Result<Self, AdapterError> {
        for (key, share) in [("channels", config.channels), ("states", config.states)] {
            if !(share > 0.0 && share <= 1.0) {
                return Err(AdapterError::Config {
                    method: Self::NAME.into(),
                    problem: format!("{key} = {share} is no share"),
                    fix: "use a number above 0, and 1 at the most".into(),
                });
            }
        }
        Ok(Self { config })
    }

    /// Sparse dimension tuning with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or is no share.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, SdtConfig::KEYS)?)
    }

    /// How many channels, and states of each.
    fn counts(&self, target: &Target) -> Result<[usize; 2], AdapterError> {
        let &[channels, states] = target.shape.as_slice() else {
            return Err(AdapterError::WrongKind {
                path: target.path.clone(),
                kind: target.kind,
                shape: target.shape.clone(),
            });
        };
        let share =
            |of: usize, share: f64| ((of as f64 * share).ceil() as usize).clamp(1, of.max(1));
        Ok([
            share(channels, self.config.channels),
            share(states, self.config.states),
        ])
    }

    fn of(offsets: TensorData, places: Vec<i64>, target: &Target, device: &Device) -> DynAdapter {
        let shape = [places.len()];
        let places = Tensor::from_data(TensorData::new(places, shape), device);
        DynAdapter::of_parameter(SparseOffset {
            offsets: Param::from_tensor(Tensor::from_data(offsets, (device, target.dtype.into()))),
            places: Param::initialized(burn::module::ParamId::new(), places),
        })
    }
}

impl Method for SdtMethod {
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
        DefaultTargets::Named(&["A_log"])
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let [channels, states] = self.counts(target)?;
        let width = target.shape[1];
        let chosen = drawn(
            [target.shape[0], 1],
            channels,
            key_of(start.seed, &target.path, 0),
        );
        let places = chosen.into_iter().flat_map(|channel| {
            let key = key_of(start.seed, &target.path, channel + 1);
            let states = drawn([1, width], states, key).into_iter();
            states.map(move |state| (channel * width as u64 + state) as i64)
        });
        let places: Vec<i64> = places.collect();
        let zeros = TensorData::zeros::<f32, _>([places.len()]);
        Ok(Self::of(zeros, places, target, &start.weight.device()))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let [channels, states] = self.counts(target)?;
        let count = channels * states;
        let places = TensorInfo {
            dtype: Dtype::I64,
            shape: vec![count],
        };
        Ok(AdapterSpec {
            cost: Cost {
                parameters: count,
                ..Cost::default()
            },
            keeps_input: false,
            tensors: Fields::from([
                (OFFSETS.to_owned(), target.values_info(&[count])),
                (PLACES.to_owned(), places),
            ]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[OFFSETS, PLACES]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let [channels, states] = self.counts(target)?;
        let count = channels * states;
        let offsets = target.values(tensors, OFFSETS, &[count])?;
        let name = target.tensor_name(PLACES);
        let places = target.stored(tensors, PLACES)?;
        let places = places.expect_shape(&name, &[count])?.to_ints(&name)?;
        let entries = target.shape.iter().product::<usize>() as i64;
        let rising = places.is_sorted_by(|a, b| a < b);
        if !rising || places.iter().any(|place| !(0..entries).contains(place)) {
            return Err(AdapterError::Places {
                name,
                problem: format!("its indices are not rising numbers below {entries}"),
            });
        }
        Ok(Self::of(offsets, places, target, device))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        for (field, suffix) in [("offsets", OFFSETS), ("places", PLACES)] {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            stored.insert(suffix.to_owned(), tensor);
        }
        Ok(stored)
    }
}
