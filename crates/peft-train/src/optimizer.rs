//! AdamW over the trained parameters only.

mod state;

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
    tensor::{Bool, Int, Shape, TensorData},
};
use peft_core::{
    AdamWConfig, ParamPath,
    kernels::{AdamWStep, AdamWTensor, adamw},
};

use crate::GradientSet;

pub use state::AdamWState;

/// Decoupled weight decay Adam ([1711.05101](https://arxiv.org/abs/1711.05101)):
///
/// ```text
/// m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
/// w ← w − η λ w − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
///
/// as PyTorch computes it: `t` counts the steps that moved the parameter, each parameter's own, so that one
/// that has its first gradient late makes a first step of length `η`. State is kept for parameters that get
/// gradients, and for nothing else.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    moments: BTreeMap<String, Moments>,
}

#[derive(Debug, Clone)]
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
    /// Steps that are in them.
    count: u64,
}

/// How a step moves a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterStep {
    /// Learning rate `η`.
    pub rate: f64,
    /// Whether weight decay is for it.
    pub decays: bool,
}

impl AdamW {
    /// An optimiser without state.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            moments: BTreeMap::new(),
        }
    }

    /// Values of state held.
    pub fn state_len(&self) -> usize {
        self.moments
            .values()
            .map(|m| 2 * m.mean.shape().num_elements())
            .sum()
    }

    /// Bytes of state held.
    pub fn state_bytes(&self) -> usize {
        let both = |m: &Moments| 2 * m.mean.shape().num_elements() * m.mean.dtype().size();
        self.moments.values().map(both).sum()
    }

    /// Update every parameter that has a gradient, which is first multiplied by `scale`; `how` tells how, or
    /// nothing for a parameter to be left as it is, its state and its count of steps too.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: &GradientSet,
        scale: f64,
        how: &dyn Fn(&ParamPath) -> Option<ParameterStep>,
    ) -> M {
        let mut taken = Take {
            path: ParamPath::default(),
            optimizer: self,
            gradients,
            how,
            groups: BTreeMap::new(),
        };
        let model = model.map(&mut taken);
        let groups = taken.groups;
        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
        } = self.config;
        let mut values = BTreeMap::new();
        for ((count, decays), (paths, tensors)) in groups {
            let step = AdamWStep {
                beta1,
                beta2,
                eps,
                weight_decay: if decays { weight_decay } else { 0.0 },
                count,
                gradient_scale: scale,
            };
            for ((path, shape), new) in paths.into_iter().zip(adamw(tensors, &step)) {
                let AdamWTensor {
                    value,
                    mean,
                    square,
                    ..
                } = new;
                values.insert(path.clone(), (value, shape));
                let moments = Moments {
                    mean,
                    square,
                    count,
                };
                self.moments.insert(path, moments);
            }
        }
        model.map(&mut Put {
            path: ParamPath::default(),
            values,
        })
    }

    /// Re-index what is remembered of a parameter: what belonged to value `from[i]` belongs to value
    /// `i`. Without a source it starts at zero, at the parameter's count of steps; without any, the parameter
    /// is as new.
    pub(crate) fn rearrange(&mut self, path: &str, from: &[Option<usize>]) {
        let Some(Moments {
            mean,
            square,
            count,
        }) = self.moments.remove(path)
        else {
            return;
        };
        if from.iter().all(Option::is_none) {
            return;
        }
        let device = mean.device();
        let length = [from.len()];
        let sources: Vec<i64> = from.iter().map(|at| at.unwrap_or(0) as i64).collect();
        let sources = Tensor::<1, Int>::from_data(TensorData::new(sources, length), &device);
        let unknown: Vec<bool> = from.iter().map(Option::is_none).collect();
        let unknown = Tensor::<1, Bool>::from_data(TensorData::new(unknown, length), &device);
        let pick = |tensor: Tensor<1>| {
            let picked = tensor.select(0, sources.clone());
            picked.mask_fill(unknown.clone(), 0.0)
        };
        let moments = Moments {
            mean: pick(mean),
            square: pick(square),
            count,
        };
        self.moments.insert(path.to_owned(), moments);
    }

    /// The moments of a parameter, no longer held here: only then can they be written in place.
    fn take_moments(&mut self, path: &str, value: &Tensor<1>) -> Moments {
        self.moments.remove(path).unwrap_or_else(|| Moments {
            mean: value.zeros_like(),
            square: value.zeros_like(),
            count: 0,
        })
    }
}

/// Takes the parameters that have a gradient out of a model, and leaves empty ones.
struct Take<'a> {
    path: ParamPath,
    optimizer: &'a mut AdamW,
    gradients: &'a GradientSet,
    how: &'a dyn Fn(&ParamPath) -> Option<ParameterStep>,
    /// By the number of their step, and whether they decay.
    groups: BTreeMap<(u64, bool), Group>,
}

/// Paths and shapes of parameters, and what the step needs of each.
type Group = (Vec<(String, Shape)>, Vec<AdamWTensor>);

impl ModuleMapper for Take<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.text();
        let Some(gradient) = self.gradients.get(&path) else {
            return param;
        };
        let Some(ParameterStep { rate, decays }) = (self.how)(&self.path) else {
            return param;
        };
        param.map(|value| {
            let shape = value.shape();
            let left = Tensor::empty([0; D], (&value.device(), value.dtype())).require_grad();
            let value = value.inner().reshape([shape.num_elements()]);
            let Moments {
                mean,
                square,
                count,
            } = self.optimizer.take_moments(&path, &value);
            let (paths, tensors) = self.groups.entry((count + 1, decays)).or_default();
            tensors.push(AdamWTensor {
                value,
                mean,
                square,
                gradient: gradient.clone(),
                rate,
            });
            paths.push((path, shape));
            left
        })
    }
}

/// Puts the new values where [`Take`] took the old ones.
struct Put {
    path: ParamPath,
    values: BTreeMap<String, (Tensor<1>, Shape)>,
}

impl ModuleMapper for Put {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.values.remove(&self.path.text()) {
            Some((value, shape)) => {
                param.map(|_| Tensor::from_inner(value.reshape(shape)).require_grad())
            }
            None => param,
        }
    }
}
