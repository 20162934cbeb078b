use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Cost, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext,
    Method, Site, SiteKind, Target,
    kernels::{key_of, normal, uniform_within},
    own_settings,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    MoreStates, OutputOffset, Start, StateKind, StateOffset,
    adapters::more_states_cost,
    kind::{Begin, Field},
};

/// The settings of additional scans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AdditionalScanConfig {
    /// States that a channel gets beside its own.
    pub extra_states: usize,
}

impl Default for AdditionalScanConfig {
    fn default() -> Self {
        Self { extra_states: 8 }
    }
}

/// The settings of affixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AffixConfig {
    /// Rows before those of every sequence, in every block.
    pub affix_tokens: usize,
}

impl Default for AffixConfig {
    fn default() -> Self {
        Self { affix_tokens: 3 }
    }
}

/// Methods that change what a state space starts from, has, or gives: see [`StateKind`].
///
/// They are modules in slots of a block and change no weight, so that they cannot be merged: an initial state, an offset or an
/// affix has no place in a checkpoint, and with more states the shapes of the model are others.
#[derive(Debug, Clone)]
pub struct StateMethod {
    kind: StateKind,
    /// More states, or rows.
    count: usize,
}

impl StateMethod {
    /// Keys of `adapter_config.json` that a method understands.
    pub const fn keys(kind: StateKind) -> &'static [&'static str] {
        match kind {
            StateKind::InitialState | StateKind::StateOffset => &[],
            StateKind::AdditionalScan => &["extra_states"],
            StateKind::Affix => &["affix_tokens"],
        }
    }

    /// The method of a kind, with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(kind: StateKind, map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let (name, keys) = (kind.name(), Self::keys(kind));
        let count = match kind {
            StateKind::InitialState | StateKind::StateOffset => 1,
            StateKind::AdditionalScan => {
                own_settings::<AdditionalScanConfig>(name, map, keys)?.extra_states
            }
            StateKind::Affix => own_settings::<AffixConfig>(name, map, keys)?.affix_tokens,
        };
        if !(1..=1 << 20).contains(&count) {
            return Err(AdapterError::Config {
                method: name.into(),
                problem: format!("{} = {count}", keys.join(" and ")),
                fix: "use 1 or a few more".into(),
            });
        }
        Ok(Self { kind, count })
    }

    /// The default settings, as a file holds them.
    pub fn defaults(kind: StateKind) -> Map<String, Value> {
        let count = match kind {
            StateKind::InitialState | StateKind::StateOffset => 1,
            StateKind::AdditionalScan => AdditionalScanConfig::default().extra_states,
            StateKind::Affix => AffixConfig::default().affix_tokens,
        };
        Self { kind, count }.config()
    }

    fn make(
        &self,
        target: &Target,
        device: &Device,
        mut data: impl FnMut(&Field) -> Result<TensorData, AdapterError>,
    ) -> Result<DynAdapter, AdapterError> {
        let mut fields = Vec::new();
        for field in self.kind.fields(target, self.count)? {
            let values = Tensor::from_data(data(&field)?, (device, target.dtype.into()));
            fields.push(Param::from_tensor(values));
        }
        let mut fields = fields.into_iter();
        let mut next = || fields.next().expect("as many as the kind has");
        Ok(match (self.kind, self.kind.slot(target)?) {
            (StateKind::InitialState | StateKind::Affix, _) => {
                DynAdapter::of_slot(Start { values: next() })
            }
            (StateKind::StateOffset, "state_output") => {
                DynAdapter::of_slot(OutputOffset { values: next() })
            }
            (StateKind::StateOffset, _) => DynAdapter::of_slot(StateOffset { values: next() }),
            (StateKind::AdditionalScan, _) => DynAdapter::of_slot(MoreStates {
                decays: next(),
                inputs: next(),
                outputs: next(),
            }),
        })
    }
}

impl Method for StateMethod {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn peft_type(&self) -> &'static str {
        self.kind.peft_type()
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[SiteKind::Slot]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(self.kind.slots())
    }

    fn config(&self) -> Map<String, Value> {
        let keys = Self::keys(self.kind).iter();
        keys.map(|key| ((*key).to_owned(), self.count.into()))
            .collect()
    }

    fn fits(&self, sites: &[Site]) -> Result<(), AdapterError> {
        let has = |slot: &str| sites.iter().any(|site| site.path.ends_with(slot));
        if self.kind == StateKind::AdditionalScan && has(".state_output") && !has(".more_states") {
            return Err(AdapterError::Config {
                method: self.kind.name().into(),
                problem: "the states of this model are those of whole heads, as in Mamba-2, and no more can be put \
                          beside them"
                    .into(),
                fix: "use state_offset or initial_state, or a model of type mamba or falcon_mamba".into(),
            });
        }
        Ok(())
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let mut place = 0;
        self.make(target, &start.weight.device(), |field| {
            let key = key_of(start.seed, &target.path, place);
            place += 1;
            let count = field.shape.iter().product();
            let bound = 1.0 / (field.shape[0] as f32).sqrt();
            let values = match field.begin {
                Begin::Zero => vec![0.0; count],
                Begin::Kaiming => uniform_within(key, count, bound),
                Begin::Normal(std) => normal(key, count).into_iter().map(|z| z * std).collect(),
            };
            Ok(TensorData::new(values, field.shape))
        })
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let fields = self.kind.fields(target, self.count)?;
        let sizes = fields.iter().map(|field| field.shape[0] * field.shape[1]);
        let parameters = sizes.sum();
        let cost = match self.kind {
            StateKind::AdditionalScan => more_states_cost(target.in_features, self.count),
            StateKind::StateOffset if target.shape.len() == 2 => Cost {
                parameters,
                flops_per_row: 4 * parameters,
                ..Cost::default()
            },
            _ => Cost {
                parameters,
                ..Cost::default()
            },
        };
        let tensors = fields.iter().map(|field| {
            let [rows, cols] = field.shape;
            let shape = if field.transposed {
                [cols, rows]
            } else {
                [rows, cols]
            };
            (field.suffix.to_owned(), target.values_info(&shape))
        });
        Ok(AdapterSpec {
            cost,
            keeps_input: false,
            tensors: tensors.collect(),
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
        self.make(target, device, |field| {
            let [rows, cols] = field.shape;
            match field.transposed {
                true => target.values_transposed(tensors, field.suffix, [cols, rows]),
                false => target.values(tensors, field.suffix, &field.shape),
            }
        })
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        for field in self.kind.fields(target, self.count)? {
            let tensor = target.to_store(&mut fields, field.name, field.suffix)?;
            let tensor = match field.transposed {
                true => tensor.transposed(),
                false => tensor,
            };
            stored.insert(field.suffix.to_owned(), tensor);
        }
        Ok(stored)
    }
}
