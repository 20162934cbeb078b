use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    Site, Target, format::TargetModules,
};
use serde_json::{Map, Value};

use super::{FeedForwardModules, Ia3, Ia3Config, adapter::cost};
use crate::fields::param;

/// The tensor of a file: `[out, 1]`, or `[1, in]` where it is on what a layer reads.
const FACTORS: &str = "ia3_l";

/// The name of the setting that says which modules are feed-forward ones.
const FEED_FORWARD: &str = "feedforward_modules";

/// (IA)³ ([2205.05638](https://arxiv.org/abs/2205.05638)): factors on keys, on values and on the inner activation of the
/// feed-forward part; see [`Ia3`]. Files are those of PEFT.
#[derive(Debug, Clone, Default)]
pub struct Ia3Method {
    config: Ia3Config,
}

impl Ia3Method {
    /// The name of the method.
    pub const NAME: &'static str = "ia3";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "IA3";

    /// IA3 with these settings.
    ///
    /// # Errors
    /// If the pattern of the feed-forward modules is no regular expression.
    pub fn new(config: Ia3Config) -> Result<Self, AdapterError> {
        config.is_feed_forward("")?;
        Ok(Self { config })
    }

    /// IA3 with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or is no pattern.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(Ia3Config::from_json(map)?)
    }

    /// Whether a target's factors are on what it reads, and how many there are.
    fn factors(&self, target: &Target) -> Result<(bool, usize), AdapterError> {
        let on_inputs = self.config.is_feed_forward(&target.path)?;
        let count = match on_inputs {
            true => target.in_features,
            false => target.out_features,
        };
        Ok((on_inputs, count))
    }
}

/// The shape that files have of so many factors.
fn shape(on_inputs: bool, count: usize) -> [usize; 2] {
    match on_inputs {
        true => [1, count],
        false => [count, 1],
    }
}

impl Method for Ia3Method {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::KeysValuesInner
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn config_of_model(
        &self,
        _: &[Site],
        named: &dyn Fn(DefaultTargets) -> TargetModules,
    ) -> Map<String, Value> {
        let modules = match named(DefaultTargets::Inner) {
            TargetModules::List(names) => Value::from(names),
            TargetModules::Regex(regex) => Value::from(regex),
            TargetModules::AllLinear | TargetModules::Unspecified => return Map::new(),
        };
        Map::from_iter([(FEED_FORWARD.to_owned(), modules)])
    }

    /// A list or pattern of feed-forward modules that nothing answers to is refused: their factors would silently be on what
    /// they give.
    fn fits(&self, sites: &[Site]) -> Result<(), AdapterError> {
        let named = match &self.config.feedforward_modules {
            None => return Ok(()),
            Some(FeedForwardModules::Endings(endings)) if endings.is_empty() => return Ok(()),
            Some(FeedForwardModules::Endings(endings)) => endings.join("`, `"),
            Some(FeedForwardModules::Pattern(pattern)) => pattern.clone(),
        };
        for site in sites.iter().filter(|site| site.kind.is_linear()) {
            if self.config.is_feed_forward(&site.path)? {
                return Ok(());
            }
        }
        Err(AdapterError::Config {
            method: Self::NAME.into(),
            problem: format!("no linear layer answers to {FEED_FORWARD} `{named}`"),
            fix: "give the ends of their names as a list, or a regular expression of whole paths"
                .into(),
        })
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let (on_inputs, count) = self.factors(target)?;
        let ones = TensorData::ones::<f32, _>([count]);
        let factors = param(ones, target, &start.weight.device());
        Ok(DynAdapter::new(Ia3 { factors, on_inputs }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let (on_inputs, count) = self.factors(target)?;
        let info = target.values_info(&shape(on_inputs, count));
        Ok(AdapterSpec {
            cost: cost(count),
            keeps_input: on_inputs,
            tensors: Fields::from([(FACTORS.to_owned(), info)]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[FACTORS]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let (on_inputs, count) = self.factors(target)?;
        let data = target.values(tensors, FACTORS, &shape(on_inputs, count))?;
        let data = TensorData::new(data.iter::<f64>().collect(), [count]);
        let factors = param(data, target, device);
        Ok(DynAdapter::new(Ia3 { factors, on_inputs }))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let (on_inputs, count) = self.factors(target)?;
        let stored = HostTensor {
            shape: shape(on_inputs, count).to_vec(),
            ..target.to_store(&mut fields, "factors", FACTORS)?
        };
        Ok(Fields::from([(FACTORS.to_owned(), stored)]))
    }
}
