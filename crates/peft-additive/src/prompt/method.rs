use std::collections::BTreeMap;

use burn::{
    Tensor,
    tensor::{Device, Int, TensorData},
};
use indexmap::IndexMap;
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    Site, SiteKind, Target,
    kernels::{decoded, key_of, normal, uniform, uniform_within},
};
use serde_json::{Map, Value};

use super::{
    EncodedPrompt, PTuningConfig, Prompt, PromptConfig, PromptInit,
    adapter::{encoded_values, values},
};
use crate::fields::{param, restored};

/// The slot of a model's embedded input.
const SLOT: &str = "prompt";
/// The tensor of a file, `[p, w]`, which PEFT has by itself.
const ROWS: &str = "prompt_embeddings";
/// Fields of a network's layers.
const LAYERS: [[&str; 2]; 3] = [
    ["first", "first_bias"],
    ["second", "second_bias"],
    ["third", "third_bias"],
];

/// Prompt tuning ([2104.08691](https://arxiv.org/abs/2104.08691)): see [`Prompt`]. Files are those of PEFT.
#[derive(Debug, Clone)]
pub struct PromptMethod {
    config: PromptConfig,
}

impl PromptMethod {
    /// The name of the method.
    pub const NAME: &'static str = "prompt";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "PROMPT_TUNING";

    /// Prompt tuning with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config = PromptConfig::from_json(map)?;
        Ok(Self { config })
    }

    fn sizes(&self, target: &Target) -> Result<[usize; 2], AdapterError> {
        sizes(Self::NAME, self.config.num_virtual_tokens, target)
    }

    fn fault(problem: String, fix: &str) -> AdapterError {
        AdapterError::Config {
            method: Self::NAME.into(),
            problem,
            fix: fix.into(),
        }
    }

    /// Vectors of drawn tokens, `[count, width]`.
    fn sampled(
        start: &InitContext,
        target: &Target,
        [count, width]: [usize; 2],
    ) -> Result<TensorData, AdapterError> {
        let fault = |problem| Self::fault(problem, "start at RANDOM");
        let Some(table) = start.vocabulary else {
            return Err(fault("the model has no table of tokens to start at".into()));
        };
        let [entries, wide] = table.dims();
        if wide != width {
            let problem = format!("vectors of tokens have {wide} values, and the input {width}");
            return Err(fault(problem));
        }
        let draws = uniform(key_of(start.seed, &target.path, 0), count).into_iter();
        let ids = draws.map(|u| ((f64::from(u) * entries as f64) as i64).min(entries as i64 - 1));
        let ids = TensorData::new(ids.collect::<Vec<i64>>(), [count]);
        let table = decoded(table.clone()).without_autodiff();
        let ids = Tensor::<1, Int>::from_data(ids, &table.device());
        Ok(table.select(0, ids).into_data())
    }
}

/// Rows and width of a target, which must be the slot of the input.
fn sizes(method: &str, rows: usize, target: &Target) -> Result<[usize; 2], AdapterError> {
    if target.path.rsplit('.').next() != Some(SLOT) {
        return Err(AdapterError::Config {
            method: method.to_owned(),
            problem: format!("it does nothing in the slot `{}`", target.path),
            fix: format!("target {SLOT}"),
        });
    }
    Ok([rows, target.in_features])
}

fn spec(target: &Target, shape: [usize; 2], parameters: usize) -> AdapterSpec {
    AdapterSpec {
        cost: values(parameters),
        keeps_input: false,
        tensors: Fields::from([(ROWS.to_owned(), target.values_info(&shape))]),
    }
}

fn flat(
    target: &Target,
    tensors: &Fields<HostTensor>,
    shape: [usize; 2],
    device: &Device,
) -> Result<DynAdapter, AdapterError> {
    let rows = restored(target, tensors, ROWS, shape, device)?;
    Ok(DynAdapter::of_slot(Prompt { rows }))
}

/// The one site, with the one tensor.
fn spread_rows(whole: &Fields<HostTensor>, sites: &[Site]) -> BTreeMap<String, Fields<HostTensor>> {
    let mut sites = sites.iter();
    let site = sites.find(|site| site.path.rsplit('.').next() == Some(SLOT));
    site.map(|site| (site.path.clone(), whole.clone()))
        .into_iter()
        .collect()
}

fn gather_rows(modules: &mut IndexMap<String, Fields<HostTensor>>) -> Fields<HostTensor> {
    // There is one site at the most.
    let found = modules
        .values_mut()
        .find_map(|tensors| tensors.remove(ROWS));
    modules.retain(|_, tensors| !tensors.is_empty());
    found
        .map(|rows| (ROWS.to_owned(), rows))
        .into_iter()
        .collect()
}

/// What both methods say of their files.
macro_rules! one_tensor {
    () => {
        fn site_kinds(&self) -> &'static [SiteKind] {
            &[SiteKind::Slot]
        }

        fn default_targets(&self) -> DefaultTargets {
            DefaultTargets::Named(&[SLOT])
        }

        fn config(&self) -> Map<String, Value> {
            let rows = self.config.num_virtual_tokens.into();
            Map::from_iter([("num_virtual_tokens".to_owned(), rows)])
        }

        fn rows_before(&self) -> usize {
            self.config.num_virtual_tokens
        }

        fn suffixes(&self) -> &'static [&'static str] {
            &[ROWS]
        }

        fn whole_names(&self) -> &'static [&'static str] {
            &[ROWS]
        }

        fn spread(
            &self,
            whole: &Fields<HostTensor>,
            sites: &[Site],
        ) -> Result<BTreeMap<String, Fields<HostTensor>>, AdapterError> {
            Ok(spread_rows(whole, sites))
        }

        fn gather(
            &self,
            modules: &mut IndexMap<String, Fields<HostTensor>>,
            _: &[Site],
        ) -> Result<Fields<HostTensor>, AdapterError> {
            Ok(gather_rows(modules))
        }

        fn restore(
            &self,
            target: &Target,
            tensors: &Fields<HostTensor>,
            device: &Device,
        ) -> Result<DynAdapter, AdapterError> {
            flat(target, tensors, self.sizes(target)?, device)
        }
    };
}

impl Method for PromptMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    one_tensor!();

    fn wants_vocabulary(&self) -> bool {
        self.config.prompt_tuning_init == PromptInit::SampleVocabulary
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let shape = self.sizes(target)?;
        let rows = match self.config.prompt_tuning_init {
            PromptInit::SampleVocabulary => Self::sampled(start, target, shape)?,
            PromptInit::Random => {
                let draws = normal(key_of(start.seed, &target.path, 0), shape[0] * shape[1]);
                TensorData::new(draws, shape)
            }
            PromptInit::Text => {
                return Err(Self::fault(
                    "a prompt cannot be started at a text here".into(),
                    "use SAMPLE_VOCAB or RANDOM for prompt_tuning_init",
                ));
            }
        };
        let rows = param(rows, target, &start.weight.device());
        Ok(DynAdapter::of_slot(Prompt { rows }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let shape = self.sizes(target)?;
        Ok(spec(target, shape, shape[0] * shape[1]))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let rows = target.to_store(&mut fields, "rows", ROWS)?;
        Ok(Fields::from([(ROWS.to_owned(), rows)]))
    }
}

/// P-tuning ([2103.10385](https://arxiv.org/abs/2103.10385)): a prompt that a network makes of trained rows, see
/// [`EncodedPrompt`], of which files hold the prompt. Files are those of PEFT, whose network of full layers it is; its LSTM is
/// read, as its prompts are, and not trained.
#[derive(Debug, Clone)]
pub struct PTuningMethod {
    config: PTuningConfig,
    /// Whether the network is left behind.
    flat: bool,
}

impl PTuningMethod {
    /// The name of the method.
    pub const NAME: &'static str = "p_tuning";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "P_TUNING";

    /// P-tuning with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let config = PTuningConfig::from_json(map)?;
        let flat = false;
        Ok(Self { config, flat })
    }

    fn sizes(&self, target: &Target) -> Result<[usize; 2], AdapterError> {
        sizes(Self::NAME, self.config.num_virtual_tokens, target)
    }

    fn hidden(&self, width: usize) -> usize {
        self.config.encoder_hidden_size.unwrap_or(width)
    }
}

impl Method for PTuningMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    one_tensor!();

    fn of_files(&self) -> Option<Box<dyn Method>> {
        let flat = || Self {
            flat: true,
            ..self.clone()
        };
        (!self.flat).then(|| Box::new(flat()) as Box<dyn Method>)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let [count, width] = self.sizes(target)?;
        let (inner, device) = (self.hidden(width), start.weight.device());
        let key = |part| key_of(start.seed, &target.path, part);
        let rows = normal(key(0), count * width);
        let mut part = 0;
        let mut spread = |values: usize, inputs: usize| -> Vec<f32> {
            part += 1;
            let bound = 1.0 / (inputs as f32).sqrt();
            uniform_within(key(part), values, bound)
        };
        let matrix =
            |values, shape: [usize; 2]| param(TensorData::new(values, shape), target, &device);
        let vector = |values: Vec<f32>| {
            let shape = [values.len()];
            param(TensorData::new(values, shape), target, &device)
        };
        Ok(DynAdapter::of_slot(EncodedPrompt {
            embedding: matrix(rows, [count, width]),
            first: matrix(spread(width * inner, width), [width, inner]),
            first_bias: vector(spread(inner, width)),
            second: matrix(spread(inner * inner, inner), [inner, inner]),
            second_bias: vector(spread(inner, inner)),
            third: matrix(spread(inner * width, inner), [inner, width]),
            third_bias: vector(spread(width, inner)),
        }))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let [count, width] = self.sizes(target)?;
        let parameters = match self.flat {
            true => count * width,
            false => encoded_values(count, width, self.hidden(width)),
        };
        Ok(spec(target, [count, width], parameters))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        if fields.contains_key("embedding") {
            let rows = encoded(target, &mut fields)?;
            fields.insert("rows".into(), rows);
        }
        let rows = target.to_store(&mut fields, "rows", ROWS)?;
        Ok(Fields::from([(ROWS.to_owned(), rows)]))
    }
}

/// The rows that a network makes, computed in double precision; its fields are taken out.
fn encoded(target: &Target, fields: &mut Fields<TensorData>) -> Result<TensorData, AdapterError> {
    let mut field = |name: &str| {
        fields
            .remove(name)
            .ok_or_else(|| AdapterError::MissingTensor {
                module: target.path.clone(),
                suffix: name.to_owned(),
                found: Vec::new(),
            })
    };
    let embedding = field("embedding")?;
    let (dtype, count) = (embedding.dtype(), embedding.shape()[0]);
    let mut x: Vec<f64> = embedding.iter::<f64>().collect();
    for (place, [weight, bias]) in LAYERS.into_iter().enumerate() {
        let (weight, bias) = (field(weight)?, field(bias)?);
        let weight: Vec<f64> = weight.iter::<f64>().collect();
        let bias: Vec<f64> = bias.iter::<f64>().collect();
        let inputs = x.len() / count.max(1);
        let mut y = Vec::with_capacity(count * bias.len());
        for row in x.chunks_exact(inputs.max(1)) {
            let mut given = bias.clone();
            for (x, weights) in row.iter().zip(weight.chunks_exact(bias.len())) {
                given
                    .iter_mut()
                    .zip(weights)
                    .for_each(|(sum, weight)| *sum += x * weight);
            }
            y.extend(given);
        }
        if place + 1 < LAYERS.len() {
            y.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        x = y;
    }
    let width = x.len() / count.max(1);
    Ok(TensorData::new(x, [count, width]).convert_dtype(dtype))
}
