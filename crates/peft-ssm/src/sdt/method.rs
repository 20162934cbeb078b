//! What a run asks of sparse dimension tuning.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Cost, DefaultTargets, DynAdapter, Fields, HostTensor, HostTensorExt,
    InitContext, Method, PhaseSpec, Site, SiteKind, Target, WarmUpChoice, Warmed,
    format::{Dtype, TargetModules, TensorInfo},
};
use serde_json::{Map, Value};

use super::{
    CHANNELS, KINDS, LayerChoice, OFFSETS, PLACES, SUFFIXES, SdtBudget, SdtMethod, SdtSelector,
    WEIGHT, X_PROJ, ZEROED, block, choose, columns, last,
};

impl Method for SdtMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        KINDS
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(&["A_log", X_PROJ])
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn fits(&self, sites: &[Site]) -> Result<(), AdapterError> {
        let mut decays = sites.iter().filter(|site| last(&site.path) == "A_log");
        match decays.find(|site| site.shape.len() == 1) {
            None => Ok(()),
            Some(site) => Err(Self::fault(
                format!(
                    "`{}` is one number for all channels and states of a head, as in Mamba-2: there are no states to \
                     choose from",
                    site.path
                ),
                "use ssm_components or lora, or a model of type mamba or falcon_mamba",
            )),
        }
    }

    fn fits_targets(&self, targets: &[&Site]) -> Result<(), AdapterError> {
        // Draws need no warm-up, and so no parameter to see it by.
        if self.config.selector == SdtSelector::Random {
            return Ok(());
        }
        let inside = |kind: SiteKind| targets.iter().filter(move |site| site.kind == kind);
        let chosen: Vec<&str> = inside(SiteKind::Parameter)
            .map(|site| block(&site.path))
            .collect();
        let columns = inside(SiteKind::Linear).filter(|site| last(&site.path) == X_PROJ);
        let mut alone = columns.filter(|site| !chosen.contains(&block(&site.path)));
        let problem = match (chosen.is_empty(), alone.next()) {
            (true, _) => {
                "no `A_log` is among the targets, so a warm-up would choose nothing".into()
            }
            (false, Some(site)) => format!(
                "`{}` is among the targets and the `A_log` of its block is not, by which channels are chosen",
                site.path
            ),
            (false, None) => return Ok(()),
        };
        Err(Self::fault(
            problem,
            "target A_log, too, let the selector be random, or use another method, such as lora",
        ))
    }

    fn config_of_model(
        &self,
        sites: &[Site],
        _: &dyn Fn(DefaultTargets) -> TargetModules,
    ) -> Map<String, Value> {
        let states = sites.iter().find_map(|site| match site.shape.as_slice() {
            [_, states] if last(&site.path) == "A_log" => Some(*states),
            _ => None,
        });
        let states = states.map(|states| ("state_size".to_owned(), states.into()));
        states.into_iter().collect()
    }

    fn config_of_adapters(
        &self,
        modules: &BTreeMap<String, Fields<TensorData>>,
    ) -> Map<String, Value> {
        if self.config.budget == SdtBudget::Layer {
            return Map::new();
        }
        let counts = modules.iter().filter_map(|(module, fields)| {
            let places = fields.get("places").or(fields.get("channels"))?;
            Some((module.clone(), places.num_elements().into()))
        });
        Map::from_iter([("place_counts".to_owned(), Value::Object(counts.collect()))])
    }

    fn phases(&self) -> Vec<PhaseSpec> {
        self.phases_beside(None)
    }

    fn choose(&self, warmed: &Warmed) -> Result<WarmUpChoice, AdapterError> {
        choose(&self.config, warmed)
    }

    fn with_choice(&self, chosen: &WarmUpChoice) -> Result<Option<Box<dyn Method>>, AdapterError> {
        Ok(Some(Box::new(self.having_chosen(chosen))))
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let device = start.weight.device();
        if target.kind == SiteKind::Parameter {
            let layer = self.layer(target, self.matrix(target)?, start.seed)?;
            let zeros = TensorData::zeros::<f32, _>([layer.places.len()]);
            return Ok(Self::entries(zeros, layer, target, &device));
        }
        let from = self.first_output(target)?;
        // States do not matter here.
        let layer = self.layer(target, [target.in_features, 1], start.seed)?;
        let shape = [layer.channels.len(), target.out_features - from];
        let weights = Tensor::zeros(shape, (&device, target.dtype.into()));
        Ok(Self::columns(weights, layer.channels, from, &device))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let places = |count: usize| TensorInfo {
            dtype: Dtype::I64,
            shape: vec![count],
        };
        if target.kind == SiteKind::Parameter {
            let [channels, states] = self.matrix(target)?;
            let counts = self.config.counts(channels, states);
            let count = self.count(target, counts.channels * counts.states);
            let mut tensors = Fields::from([
                (OFFSETS.to_owned(), target.values_info(&[count])),
                (PLACES.to_owned(), places(count)),
            ]);
            if counts.zeroed > 0 {
                tensors.insert(ZEROED.to_owned(), places(counts.zeroed));
            }
            return Ok(AdapterSpec {
                cost: Cost {
                    parameters: count,
                    ..Cost::default()
                },
                keeps_input: false,
                tensors,
            });
        }
        let from = self.first_output(target)?;
        let count = self.count(target, self.config.channels_of(target.in_features));
        let outputs = target.out_features - from;
        Ok(AdapterSpec {
            cost: columns::cost(count, target.out_features, from),
            keeps_input: false,
            tensors: Fields::from([
                (WEIGHT.to_owned(), target.values_info(&[outputs, count])),
                (CHANNELS.to_owned(), places(count)),
            ]),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        SUFFIXES
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        if target.kind == SiteKind::Parameter {
            let [channels, states] = self.matrix(target)?;
            let counts = self.config.counts(channels, states);
            let count = self.count(target, counts.channels * counts.states);
            let offsets = target.values(tensors, OFFSETS, &[count])?;
            let places = Self::stored(target, tensors, PLACES, count, channels * states)?;
            let zeroed = match counts.zeroed {
                0 => Vec::new(),
                zeroed => Self::stored(target, tensors, ZEROED, zeroed, channels)?,
            };
            let layer = LayerChoice {
                places,
                zeroed,
                ..LayerChoice::default()
            };
            return Ok(Self::entries(offsets, layer, target, device));
        }
        let from = self.first_output(target)?;
        let count = self.count(target, self.config.channels_of(target.in_features));
        let shape = [target.out_features - from, count];
        let weights = target.values_transposed(tensors, WEIGHT, shape)?;
        let weights = Tensor::from_data(weights, (device, target.dtype.into()));
        let channels = Self::stored(target, tensors, CHANNELS, count, target.in_features)?;
        Ok(Self::columns(weights, channels, from, device))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        let parts: &[(&str, &str)] = match target.kind {
            SiteKind::Parameter => &[("offsets", OFFSETS), ("places", PLACES), ("zeroed", ZEROED)],
            _ => &[("weights", WEIGHT), ("channels", CHANNELS)],
        };
        for (field, suffix) in parts {
            if *field == "zeroed" && !fields.contains_key(*field) {
                continue;
            }
            let tensor = target.to_store(&mut fields, field, suffix)?;
            let tensor = match *field {
                "offsets" | "weights" => tensor.transposed(),
                // Backends have integers of different widths.
                _ => {
                    let values = tensor.to_ints(&target.tensor_name(suffix))?;
                    HostTensor {
                        dtype: Dtype::I64,
                        bytes: values.iter().flat_map(|one| one.to_le_bytes()).collect(),
                        ..tensor
                    }
                }
            };
            stored.insert((*suffix).to_owned(), tensor);
        }
        Ok(stored)
    }
}
