//! Between two steps: what the method is shown of the adapters, and what it changed.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::Int,
};
use peft_core::{AdapterPlace, AdapterStep, FieldChange, FieldStep, ParamPath, Values};

use super::Trainer;
use crate::{AdamW, GradientSet};

impl Trainer {
    /// The adapters of a name as they are after a step, with what the method remembers of them.
    pub(super) fn adapters<M: Module>(
        &mut self,
        model: &M,
        name: Option<&str>,
        gradients: &GradientSet,
        scale: f64,
    ) -> BTreeMap<String, AdapterStep> {
        let mut read = Read {
            path: ParamPath::default(),
            name,
            gradients,
            scale,
            adapters: BTreeMap::new(),
        };
        model.visit(&mut read);
        let mut adapters = read.adapters;
        for (module, step) in &mut adapters {
            step.memory = self.memory.remove(&key(name, module)).unwrap_or_default();
        }
        adapters
    }

    /// Put what the method changed into the model and the optimiser, and keep its memory.
    pub(super) fn take_over<M: Module>(
        &mut self,
        model: M,
        name: Option<&str>,
        adapters: BTreeMap<String, AdapterStep>,
    ) -> M {
        let mut changes = BTreeMap::new();
        for (module, AdapterStep { fields, memory }) in adapters {
            for (field, step) in fields {
                let change = step.into_change();
                if change.value.is_some() || change.moments.is_some() {
                    changes.insert(place(name, &module, field), change);
                }
            }
            if !memory.is_empty() {
                self.memory.insert(key(name, &module), memory);
            }
        }
        if changes.is_empty() {
            return model;
        }
        model.map(&mut Write {
            path: ParamPath::default(),
            optimizer: &mut self.optimizer,
            changes,
        })
    }

    /// Whether the method remembers anything but zeros of an adapter, by its key: one that updates a field
    /// by itself leaves the optimiser nothing to remember.
    pub(super) fn remembers(&self, key: &str) -> bool {
        let nonzero = |values: &Values| match values {
            Values::Float(values) => values.clone().abs().max().into_scalar::<f64>() != 0.0,
            Values::Int(values) => values.clone().abs().max().into_scalar::<i64>() != 0,
        };
        let memory = self
            .memory
            .get(key)
            .into_iter()
            .flat_map(|all| all.values());
        memory.filter(|values| !values.is_empty()).any(nonzero)
    }
}

fn place(name: Option<&str>, module: &str, field: String) -> AdapterPlace {
    AdapterPlace {
        adapter: name.map(str::to_owned),
        module: module.to_owned(),
        field,
    }
}

/// Where the memory of an adapter of a module is kept.
fn key(name: Option<&str>, module: &str) -> String {
    place(name, module, String::new()).key()
}

macro_rules! follow_path {
    () => {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
    };
}

struct Read<'a> {
    path: ParamPath,
    name: Option<&'a str>,
    gradients: &'a GradientSet,
    scale: f64,
    adapters: BTreeMap<String, AdapterStep>,
}

impl Read<'_> {
    fn add(&mut self, value: Values, shape: Vec<usize>) {
        let Some(place) = self.path.adapter_place() else {
            return;
        };
        if place.adapter.as_deref() != self.name {
            return;
        }
        let gradient = self.gradients.get(&self.path.text());
        let gradient = gradient.map(|gradient| (gradient.clone(), self.scale));
        let adapter = self.adapters.entry(place.module).or_default();
        let step = FieldStep::new(value, shape, gradient);
        adapter.fields.insert(place.field, step);
    }
}

impl ModuleVisitor for Read<'_> {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.adapter_place().is_some() {
            let value = param.base().inner();
            let shape = value.dims();
            let flat = value.reshape([shape.iter().product::<usize>()]);
            self.add(Values::Float(flat), shape.to_vec());
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if self.path.adapter_place().is_some() {
            let value = param.base().inner();
            let shape = value.dims();
            let flat = value.reshape([shape.iter().product::<usize>()]);
            self.add(Values::Int(flat), shape.to_vec());
        }
    }
}

struct Write<'a> {
    path: ParamPath,
    optimizer: &'a mut AdamW,
    changes: BTreeMap<AdapterPlace, FieldChange>,
}

impl Write<'_> {
    fn change(&mut self) -> Option<FieldChange> {
        let place = self.path.adapter_place()?;
        self.changes.remove(&place)
    }
}

impl ModuleMapper for Write<'_> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(change) = self.change() else {
            return param;
        };
        if let Some(from) = change.moments {
            self.optimizer.rearrange(&self.path.text(), &from);
        }
        let Some(new) = change.value else {
            return param;
        };
        param.map(|old| {
            let trained = old.is_require_grad();
            let new = new.float().cast(old.dtype()).reshape(old.dims());
            let new = if old.is_autodiff() {
                new.autodiff()
            } else {
                new
            };
            new.set_require_grad(trained)
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let Some(new) = self.change().and_then(|change| change.value) else {
            return param;
        };
        param.map(|old| {
            let new = new.int().cast(old.dtype()).reshape(old.dims());
            if old.is_autodiff() {
                new.autodiff()
            } else {
                new
            }
        })
    }
}
