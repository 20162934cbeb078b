use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, Cost, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext,
    Method, Site, SiteKind, Target,
    format::TargetModules,
    kernels::{key_of, uniform_within},
};
use serde_json::{Map, Value};

use super::{
    ComponentsConfig, PieceLora, WholeWeight,
    adapters::{pieces_cost, whole_cost},
    config::{is, of_model},
};
use crate::WholeOffset;

const A: &str = "piece_A.weight";
const B: &str = "piece_B.weight";
const WHOLE: &str = "whole_offset";

/// Tuning of chosen components of state-space blocks, the others frozen: some in full, some by low-rank updates, of single
/// pieces of a projection's outputs, too.
///
/// It is what the comparisons of the field are made of ("LoRA on SSM modules", "LoRA on linear projections" and others in
/// [2410.09016](https://arxiv.org/abs/2410.09016), LoRAp(X) in [2411.03855](https://arxiv.org/abs/2411.03855)): see
/// [`ComponentPreset`](super::ComponentPreset). All of it merges exactly.
#[derive(Debug, Clone)]
pub struct ComponentsMethod {
    config: ComponentsConfig,
}

/// What becomes of a target.
enum Part {
    Whole,
    Pieces(Vec<Range<usize>>),
}

impl ComponentsMethod {
    /// The name of the method.
    pub const NAME: &'static str = "ssm_components";
    /// Its name with the settings of [`ComponentsConfig::lorap_x`].
    pub const LORAP_X: &'static str = "lorap_x";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SSM_COMPONENTS";

    /// The method with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Ok(Self {
            config: ComponentsConfig::from_json(map)?,
        })
    }

    fn fault(problem: String, fix: &str) -> AdapterError {
        AdapterError::Config {
            method: Self::NAME.into(),
            problem,
            fix: fix.into(),
        }
    }

    /// Names of the sites that the components are in.
    fn names(&self) -> Vec<String> {
        let [full, lora] = self.config.chosen(false);
        let mut names: Vec<String> = Vec::new();
        let layers = lora.into_iter().map(|name| match self.config.piece(&name) {
            Some((layer, _)) => layer.to_owned(),
            None => name,
        });
        for name in full.into_iter().chain(layers) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn part(&self, target: &Target) -> Result<Part, AdapterError> {
        let [full, lora] = self.config.chosen(false);
        if full.iter().any(|name| is(&target.path, name)) {
            return Ok(Part::Whole);
        }
        if target.kind.is_linear() {
            if lora.iter().any(|name| is(&target.path, name)) {
                let whole = 0..target.out_features;
                return Ok(Part::Pieces(vec![whole]));
            }
            let mut ranges = Vec::new();
            for name in &lora {
                if let Some((layer, piece)) = self.config.piece(name)
                    && is(&target.path, layer)
                {
                    ranges.push(self.range(target, layer, piece)?);
                }
            }
            ranges.sort_by_key(|range| range.start);
            if !ranges.is_empty() {
                return Ok(Part::Pieces(ranges));
            }
        } else if lora.iter().any(|name| is(&target.path, name)) {
            return Err(Self::fault(
                format!(
                    "`{}` is no linear layer and has no low-rank update",
                    target.path
                ),
                "name it among `full`",
            ));
        }
        Err(Self::fault(
            format!(
                "`{}` is none of the components that are trained",
                target.path
            ),
            "name it in `full` or `lora`, or leave the target modules out",
        ))
    }

    fn range(
        &self,
        target: &Target,
        layer: &str,
        piece: &str,
    ) -> Result<Range<usize>, AdapterError> {
        let known = self.config.pieces.get(layer);
        let Some(&[from, to]) = known.and_then(|pieces| pieces.get(piece)) else {
            let names: Vec<&str> = known
                .into_iter()
                .flat_map(|pieces| pieces.keys().map(String::as_str))
                .collect();
            return Err(Self::fault(
                format!(
                    "`{}` has no piece `{piece}` that `pieces` tells; it tells of [{}]",
                    target.path,
                    names.join(", ")
                ),
                "name pieces that this kind of model has, or give `pieces`",
            ));
        };
        if from >= to || to > target.out_features {
            return Err(Self::fault(
                format!(
                    "`{}` has {} outputs, of which `{piece}` cannot be {from} to {to}",
                    target.path, target.out_features
                ),
                "correct `pieces`, or leave it out",
            ));
        }
        Ok(from..to)
    }

    fn pieces(
        &self,
        a: Tensor<2>,
        b: Tensor<2>,
        pieces: Vec<Range<usize>>,
        target: &Target,
    ) -> DynAdapter {
        DynAdapter::new(PieceLora {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            pieces,
            outputs: target.out_features,
            scale: self.config.lora_alpha / self.config.r as f64,
            dropout: (self.config.lora_dropout, key_of(0, &target.path, 0)),
        })
    }

    fn whole(values: TensorData, target: &Target, device: &Device) -> DynAdapter {
        let options = (device, target.dtype.into());
        match target.kind.is_linear() {
            true => DynAdapter::new(WholeWeight {
                offset: Param::from_tensor(Tensor::from_data(values, options)),
            }),
            false => DynAdapter::of_parameter(WholeOffset {
                offset: Param::from_tensor(Tensor::from_data(values, options)),
            }),
        }
    }
}

fn width(pieces: &[Range<usize>]) -> usize {
    pieces.iter().map(ExactSizeIterator::len).sum()
}

/// Names kept for the process: there are few sets of them.
fn kept(names: Vec<String>) -> &'static [&'static str] {
    static KNOWN: Mutex<Vec<&'static [&'static str]>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = known.iter().find(|one| names == **one) {
        return same;
    }
    let names = names.into_iter().map(|name| &*name.leak());
    let all: &'static [&'static str] = names.collect::<Vec<_>>().leak();
    known.push(all);
    all
}

impl Method for ComponentsMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[
            SiteKind::Linear,
            SiteKind::TransposedLinear,
            SiteKind::Conv1d,
            SiteKind::Parameter,
        ]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(kept(self.names()))
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn config_of_model(
        &self,
        sites: &[Site],
        _: &dyn Fn(DefaultTargets) -> TargetModules,
    ) -> Map<String, Value> {
        of_model(&self.config, sites)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let device = start.weight.device();
        let pieces = match self.part(target)? {
            Part::Pieces(pieces) => pieces,
            Part::Whole => {
                let zeros = match target.kind.is_linear() {
                    true => TensorData::zeros::<f32, _>([target.in_features, target.out_features]),
                    false => TensorData::zeros::<f32, _>([length(target)]),
                };
                return Ok(Self::whole(zeros, target, &device));
            }
        };
        let (inputs, rank) = (target.in_features, self.config.r);
        let columns = pieces.len() * rank;
        // Kaiming's uniform with a = √5, as LoRA starts.
        let bound = 1.0 / (inputs as f32).sqrt();
        let values = uniform_within(key_of(start.seed, &target.path, 0), inputs * columns, bound);
        let options = (&device, target.dtype.into());
        let a = Tensor::from_data(TensorData::new(values, [inputs, columns]), options);
        let b = Tensor::zeros([rank, width(&pieces)], options);
        Ok(self.pieces(a, b, pieces, target))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let sizes = [target.in_features, target.out_features];
        Ok(match self.part(target)? {
            Part::Pieces(pieces) => {
                let (rank, dropout) = (self.config.r, self.config.lora_dropout);
                let all = pieces.len() * rank;
                AdapterSpec {
                    cost: pieces_cost(rank, &pieces, sizes, dropout),
                    keeps_input: dropout == 0.0,
                    tensors: Fields::from([
                        (A.to_owned(), target.values_info(&[all, target.in_features])),
                        (B.to_owned(), target.values_info(&[width(&pieces), rank])),
                    ]),
                }
            }
            Part::Whole if target.kind.is_linear() => AdapterSpec {
                cost: whole_cost(sizes),
                keeps_input: true,
                tensors: Fields::from([(
                    WHOLE.to_owned(),
                    target.values_info(&[target.out_features, target.in_features]),
                )]),
            },
            Part::Whole => AdapterSpec {
                cost: Cost {
                    parameters: length(target),
                    ..Cost::default()
                },
                keeps_input: false,
                tensors: Fields::from([(WHOLE.to_owned(), target.values_info(&[length(target)]))]),
            },
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[A, B, WHOLE]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let (inputs, outputs) = (target.in_features, target.out_features);
        let pieces = match self.part(target)? {
            Part::Pieces(pieces) => pieces,
            Part::Whole => {
                let values = match target.kind.is_linear() {
                    true => target.values_transposed(tensors, WHOLE, [outputs, inputs])?,
                    false => target.values(tensors, WHOLE, &[length(target)])?,
                };
                return Ok(Self::whole(values, target, device));
            }
        };
        let rank = self.config.r;
        let a = target.values_transposed(tensors, A, [pieces.len() * rank, inputs])?;
        let b = target.values_transposed(tensors, B, [width(&pieces), rank])?;
        let options = (device, target.dtype.into());
        let [a, b] = [a, b].map(|data| Tensor::from_data(data, options));
        Ok(self.pieces(a, b, pieces, target))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        let parts: &[(&str, &str)] = match self.part(target)? {
            Part::Pieces(_) => &[("a", A), ("b", B)],
            Part::Whole => &[("offset", WHOLE)],
        };
        for (field, suffix) in parts {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            let tensor = match target.kind.is_linear() {
                true => tensor.transposed(),
                false => tensor,
            };
            stored.insert((*suffix).to_owned(), tensor);
        }
        Ok(stored)
    }
}

/// Values of a parameter.
fn length(target: &Target) -> usize {
    target.shape.iter().product()
}
