//! Sparse dimension tuning.

mod choice;
mod columns;
mod config;
mod entries;
mod method;
mod warm_up;

use std::sync::Arc;

use burn::{
    Tensor,
    module::{Param, ParamId},
    tensor::{Device, Int, TensorData},
};
use peft_core::{
    AdapterError, DynAdapter, Fields, HostTensor, HostTensorExt, Method, PhaseLength, PhaseSpec,
    SiteKind, Target, WarmUpChoice,
};
use serde_json::{Map, Value};

pub use choice::Scores;
use choice::{LayerChoice, block, choose};
pub use columns::ChannelColumns;
pub use config::{SdtBudget, SdtConfig, SdtSelector};
pub use entries::{SparseOffset, WholeOffset};
pub(crate) use warm_up::WarmUp;

const OFFSETS: &str = "sdt_offsets";
const PLACES: &str = "sdt_places";
const ZEROED: &str = "sdt_zeroed";
const WEIGHT: &str = "sdt_weight";
const CHANNELS: &str = "sdt_channels";

/// Suffixes of its tensors in a file.
pub(crate) const SUFFIXES: &[&str] = &[OFFSETS, PLACES, ZEROED, WEIGHT, CHANNELS];

/// What it adapts.
pub(crate) const KINDS: &[SiteKind] = &[
    SiteKind::Linear,
    SiteKind::TransposedLinear,
    SiteKind::Parameter,
];

/// The projection whose outputs are step widths, input and output matrices of the states.
const X_PROJ: &str = "x_proj";

/// Whether a target belongs to the method that is trained beside: any weight but that projection's.
pub(crate) fn is_for_another(target: &Target) -> bool {
    target.kind.is_linear() && last(&target.path) != X_PROJ
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

/// Sparse dimension tuning ([2410.09016](https://arxiv.org/abs/2410.09016)) of selective state spaces: of some channels
/// `S` of a block, some states `T_d` of each.
///
/// ```text
/// A_log'[d, n] = A_log[d, n] + θ[d, n]         d ∈ S, n ∈ T_d
/// W_B'[:, d] = W_B[:, d] + Θ_B[:, d]           d ∈ S, and W_C alike
/// ```
///
/// `|S| = D − round((1 − channels) D)`, `|T_d| = N − round((1 − states) N)`, one at least. All starts at zero; the rest of
/// the model is frozen. Which channels and states they are is [chosen](SdtSelector) by a warm-up that trains all of `A_log`,
/// after which everything goes back to where it was: the [phases](Method::phases) of a run. Without a run, give the choice
/// [itself](Method::with_choice), or let it be drawn ([`SdtSelector::Random`]).
///
/// Targets are `A_log` of two dimensions and `x_proj`; of any other weight whose inputs are the channels, such as
/// `out_proj`, the chosen channels' columns are trained. What was learned merges exactly.
#[derive(Debug, Clone)]
pub struct SdtMethod {
    config: SdtConfig,
    chosen: Option<Arc<WarmUpChoice>>,
}

impl SdtMethod {
    /// The name of the method.
    pub const NAME: &'static str = "sdt";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SDT";

    /// Sparse dimension tuning with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: SdtConfig) -> Result<Self, AdapterError> {
        config.check(Self::NAME)?;
        Ok(Self {
            config,
            chosen: None,
        })
    }

    /// Sparse dimension tuning with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(SdtConfig::from_json(Self::NAME, map)?)
    }

    /// The phases of a run in which `beside` is trained, too, where there is another method.
    pub(crate) fn phases_beside(&self, beside: Option<Arc<dyn Method>>) -> Vec<PhaseSpec> {
        let selector = self.config.selector;
        if selector == SdtSelector::Random {
            return vec![PhaseSpec::Train];
        }
        let warm_up = PhaseSpec::WarmUp {
            method: Box::new(WarmUp { selector, beside }),
            length: PhaseLength::Steps(self.config.warm_up_steps),
        };
        vec![
            warm_up,
            PhaseSpec::Choose,
            PhaseSpec::Reset,
            PhaseSpec::Train,
        ]
    }

    /// This method with what was chosen.
    pub(crate) fn having_chosen(&self, chosen: &WarmUpChoice) -> Self {
        Self {
            chosen: (!chosen.is_empty()).then(|| Arc::new(chosen.clone())),
            ..self.clone()
        }
    }

    fn fault(problem: String, fix: &str) -> AdapterError {
        AdapterError::Config {
            method: Self::NAME.into(),
            problem,
            fix: fix.into(),
        }
    }

    /// Channels and states of a parameter.
    fn matrix(&self, target: &Target) -> Result<[usize; 2], AdapterError> {
        let &[channels, states] = target.shape.as_slice() else {
            return Err(AdapterError::WrongKind {
                path: target.path.clone(),
                kind: target.kind,
                shape: target.shape.clone(),
            });
        };
        match self.config.state_size {
            Some(size) if size != states => Err(Self::fault(
                format!(
                    "`{}` has {states} states a channel, and state_size is {size}",
                    target.path
                ),
                "set state_size to the model's",
            )),
            _ => Ok([channels, states]),
        }
    }

    /// The first output of a weight that is trained.
    fn first_output(&self, target: &Target) -> Result<usize, AdapterError> {
        if last(&target.path) != X_PROJ {
            return Ok(0);
        }
        let Some(size) = self.config.state_size else {
            let problem = format!(
                "where B and C begin among the {} outputs of `{}` depends on state_size, which is not set",
                target.out_features, target.path
            );
            return Err(Self::fault(problem, "set state_size to the model's states"));
        };
        let first = target.out_features.checked_sub(2 * size);
        first.ok_or_else(|| {
            let problem = format!(
                "`{}` has {} outputs, fewer than B and C of {size} states need",
                target.path, target.out_features
            );
            Self::fault(problem, "set state_size to the model's")
        })
    }

    /// What is trained of the layer of a target, of which `width` and `states` are known.
    fn layer(
        &self,
        target: &Target,
        sizes: [usize; 2],
        seed: u64,
    ) -> Result<LayerChoice, AdapterError> {
        let [width, states] = sizes;
        let counts = self.config.counts(width, states);
        let Some(chosen) = &self.chosen else {
            if self.config.selector == SdtSelector::Random {
                return Ok(LayerChoice::drawn(
                    width,
                    states,
                    counts,
                    seed,
                    &target.path,
                ));
            }
            return Err(Self::fault(
                format!("nothing was chosen for `{}`", target.path),
                "train it in a run, which warms up first, give the method a choice, or let the selector be random",
            ));
        };
        let layer = LayerChoice::of(chosen, &target.path)?.ok_or_else(|| {
            Self::fault(
                format!("nothing was chosen for the block of `{}`", target.path),
                "target A_log of the same layers, too",
            )
        })?;
        let outside = |all: &[i64], end: usize| {
            !all.is_sorted_by(|a, b| a < b) || all.iter().any(|one| !(0..end as i64).contains(one))
        };
        // Of columns, which have no states of their own, the places are of something else.
        let of_states = target.kind == SiteKind::Parameter;
        if outside(&layer.channels, width)
            || outside(&layer.zeroed, width)
            || (of_states && outside(&layer.places, width * states))
        {
            return Err(Self::fault(
                format!(
                    "what was chosen for the block of `{}` is of more than its {width} channels and their states",
                    target.path
                ),
                "target weights whose inputs are the channels of A_log",
            ));
        }
        Ok(layer)
    }

    fn ints(values: Vec<i64>, device: &Device) -> Param<Tensor<1, Int>> {
        let shape = [values.len()];
        let values = Tensor::from_data(TensorData::new(values, shape), device);
        Param::initialized(ParamId::new(), values)
    }

    fn entries(
        offsets: TensorData,
        layer: LayerChoice,
        target: &Target,
        device: &Device,
    ) -> DynAdapter {
        let zeroed = (!layer.zeroed.is_empty()).then(|| Self::ints(layer.zeroed, device));
        DynAdapter::of_parameter(SparseOffset {
            offsets: Param::from_tensor(Tensor::from_data(offsets, (device, target.dtype.into()))),
            places: Self::ints(layer.places, device),
            zeroed,
        })
    }

    fn columns(weights: Tensor<2>, channels: Vec<i64>, from: usize, device: &Device) -> DynAdapter {
        DynAdapter::new(ChannelColumns {
            weights: Param::from_tensor(weights),
            channels: Self::ints(channels, device),
            from,
        })
    }

    /// Integers of a file: rising, below `end`, as many as are wanted.
    fn stored(
        target: &Target,
        tensors: &Fields<HostTensor>,
        suffix: &str,
        count: usize,
        end: usize,
    ) -> Result<Vec<i64>, AdapterError> {
        let name = target.tensor_name(suffix);
        let values = target.stored(tensors, suffix)?;
        let values = values.expect_shape(&name, &[count])?.to_ints(&name)?;
        let rising = values.is_sorted_by(|a, b| a < b);
        if !rising || values.iter().any(|value| !(0..end as i64).contains(value)) {
            return Err(AdapterError::Places {
                name,
                problem: format!("its numbers are not rising and below {end}"),
            });
        }
        Ok(values)
    }

    /// As many as the configuration says, or as a shared budget came to.
    fn count(&self, target: &Target, own: usize) -> usize {
        let known = self.config.place_counts.get(&target.path).copied();
        known.unwrap_or(own)
    }
}
