//! Gradients of the trained parameters, by path.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::Gradients,
};
use peft_core::{ParamPath, kernels::norms};

/// The gradients of a model's trained parameters, flattened.
#[derive(Debug, Clone, Default)]
pub struct GradientSet {
    tensors: BTreeMap<String, Tensor<1>>,
}

impl GradientSet {
    /// The gradient of the parameter at `path`.
    pub fn get(&self, path: &str) -> Option<&Tensor<1>> {
        self.tensors.get(path)
    }

    /// Paths of the parameters that have a gradient.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Add the gradients of another part of the same batch.
    pub fn add(&mut self, other: Self) {
        for (path, gradient) in other.tensors {
            let sum = match self.tensors.remove(&path) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.tensors.insert(path, sum);
        }
    }

    /// Add the gradient at a path to that at another, and keep the sum only.
    pub(crate) fn fold(&mut self, path: &str, into: &str) {
        let Some(gradient) = self.tensors.remove(path) else {
            return;
        };
        let sum = match self.tensors.remove(into) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.tensors.insert(into.to_owned(), sum);
    }

    /// The Euclidean norm of each tensor, in the order of [`paths`](Self::paths).
    pub fn norms(&self) -> Vec<f64> {
        let tensors: Vec<Tensor<1>> = self.tensors.values().cloned().collect();
        norms(&tensors)
    }

    /// Whether a parameter of an adapter of this name, or of the model and the one without a name, has a
    /// gradient.
    pub(crate) fn has_owner(&self, name: Option<&str>) -> bool {
        self.paths().any(|path| owner(path) == name)
    }

    /// Multiply the gradients of each owner's parameters by a factor of their norms.
    pub(crate) fn rescale_by_owner(&mut self, factor: impl Fn(&[f64]) -> f64) {
        let norms = self.norms();
        let mut owned: BTreeMap<Option<String>, Vec<f64>> = BTreeMap::new();
        for (path, norm) in self.paths().zip(norms) {
            let name = owner(path).map(str::to_owned);
            owned.entry(name).or_default().push(norm);
        }
        let factors: BTreeMap<_, f64> = (owned.into_iter())
            .map(|(name, norms)| (name, factor(&norms)))
            .collect();
        for (path, gradient) in &mut self.tensors {
            let factor = factors[&owner(path).map(str::to_owned)];
            if factor != 1.0 {
                *gradient = gradient.clone().mul_scalar(factor);
            }
        }
    }

    /// The Euclidean norm of all of them together.
    pub fn norm(&self) -> f64 {
        self.norms()
            .iter()
            .map(|norm| norm * norm)
            .sum::<f64>()
            .sqrt()
    }
}

/// The name of the adapter whose parameter is at a path, in a set: `<parameter>.adapter.@<name>.<field>`.
pub(crate) fn owner(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once(".adapter.@")?;
    rest.split('.').next()
}

/// Take the gradients of a model's trained parameters out of a backward pass.
pub fn gradients<M: Module>(model: &M, grads: &mut Gradients) -> GradientSet {
    struct Visitor<'a> {
        path: ParamPath,
        grads: &'a mut Gradients,
        tensors: BTreeMap<String, Tensor<1>>,
    }
    impl ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.base();
            if !value.is_require_grad() {
                return;
            }
            if let Some(gradient) = value.grad_remove(self.grads) {
                let length = gradient.shape().num_elements();
                self.tensors
                    .insert(self.path.text(), gradient.reshape([length]));
            }
        }
    }
    let mut visitor = Visitor {
        path: ParamPath::default(),
        grads,
        tensors: BTreeMap::new(),
    };
    model.visit(&mut visitor);
    GradientSet {
        tensors: visitor.tensors,
    }
}
