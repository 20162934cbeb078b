//! Parameters that several adapters share.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
};
use peft_core::{ParamPath, tied_parameters};

use crate::GradientSet;

/// Which parameters are copies of which: every copy but the first, by path, with the first one's.
///
/// Copies are trained as one parameter: the gradient of the first is the sum of all, only it has a state
/// of the optimiser, and after a step the others are the same tensor again.
#[derive(Debug, Default)]
pub struct Ties(BTreeMap<String, String>);

impl Ties {
    /// Those of a model.
    pub fn of<M: Module>(model: &M) -> Self {
        let tied = tied_parameters(model).into_iter();
        Self(tied.map(|one| (one.path, one.first)).collect())
    }

    /// The path of the parameter that is trained for the one at `path`.
    pub fn first<'a>(&'a self, path: &'a String) -> &'a String {
        self.0.get(path).unwrap_or(path)
    }

    /// Move the gradients of copies to the first of them.
    pub fn gather(&self, gradients: &mut GradientSet) {
        for (path, first) in &self.0 {
            gradients.fold(path, first);
        }
    }

    /// Give all copies the value of the first.
    pub fn spread<M: Module>(&self, model: M) -> M {
        if self.0.is_empty() {
            return model;
        }
        let mut read = Read {
            path: ParamPath::default(),
            values: self.0.values().map(|first| (first.clone(), None)).collect(),
        };
        model.visit(&mut read);
        model.map(&mut Write {
            path: ParamPath::default(),
            ties: self,
            values: read.values,
        })
    }
}

struct Read {
    path: ParamPath,
    values: BTreeMap<String, Option<Tensor<1>>>,
}

impl ModuleVisitor for Read {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(value) = self.values.get_mut(&self.path.text()) {
            let tensor = param.base().inner();
            let length = tensor.shape().num_elements();
            *value = Some(tensor.reshape([length]));
        }
    }
}

struct Write<'a> {
    path: ParamPath,
    ties: &'a Ties,
    values: BTreeMap<String, Option<Tensor<1>>>,
}

impl ModuleMapper for Write<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let first = self.ties.0.get(&self.path.text());
        let value = first.and_then(|first| self.values.get(first)?.clone());
        match value {
            Some(value) => param.map(|old| {
                let value = value.reshape(old.shape());
                Tensor::from_inner(value).set_require_grad(old.is_require_grad())
            }),
            None => param,
        }
    }
}
