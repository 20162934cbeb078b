//! Between two steps: what the method is shown of the adapters, and what it changed.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::Int,
};
use peft_core::{AdapterStep, FieldStep, ParamPath, Values};

use super::Trainer;
use crate::GradientSet;

impl Trainer {
    /// The adapters of a model as they are after a step, with what the method remembers of them.
    pub(super) fn adapters<M: Module>(
        &mut self,
        model: &M,
        gradients: &GradientSet,
        scale: f64,
    ) -> BTreeMap<String, AdapterStep> {
        let mut read = Read {
            path: ParamPath::default(),
            gradients,
            scale,
            adapters: BTreeMap::new(),
        };
        model.visit(&mut read);
        let mut adapters = read.adapters;
        for (module, memory) in std::mem::take(&mut self.memory) {
            adapters.entry(module).or_default().memory = memory;
        }
        adapters
    }

    /// Put what the method changed into the model and the optimiser, and keep its memory.
    pub(super) fn take_over<M: Module>(
        &mut self,
        model: M,
        adapters: BTreeMap<String, AdapterStep>,
    ) -> M {
        let mut write = Write {
            path: ParamPath::default(),
            values: BTreeMap::new(),
            moments: BTreeMap::new(),
        };
        for (module, AdapterStep { fields, memory }) in adapters {
            for (field, step) in fields {
                let change = step.into_change();
                let place = (module.clone(), field);
                if let Some(moments) = change.moments {
                    write.moments.insert(place.clone(), moments);
                }
                if let Some(value) = change.value {
                    write.values.insert(place, value);
                }
            }
            if !memory.is_empty() {
                self.memory.insert(module, memory);
            }
        }
        if write.values.is_empty() && write.moments.is_empty() {
            return model;
        }
        let Write { moments, .. } = &write;
        for (path, place) in float_fields(&model) {
            if let Some(from) = moments.get(&place) {
                self.optimizer.rearrange(&path, from);
            }
        }
        model.map(&mut write)
    }

    /// Whether the method remembers anything but zeros of an adapter: one that updates a field by itself
    /// leaves the optimiser nothing to remember.
    pub(super) fn remembers(&self, module: &str) -> bool {
        let nonzero = |values: &Values| match values {
            Values::Float(values) => values.clone().abs().max().into_scalar::<f64>() != 0.0,
            Values::Int(values) => values.clone().abs().max().into_scalar::<i64>() != 0,
        };
        let memory = self.memory.get(module).into_iter().flat_map(|all| all.values());
        memory.filter(|values| !values.is_empty()).any(nonzero)
    }
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
    gradients: &'a GradientSet,
    scale: f64,
    adapters: BTreeMap<String, AdapterStep>,
}

impl Read<'_> {
    fn add(&mut self, value: Values, shape: Vec<usize>) {
        let Some((module, field)) = self.path.adapter_field() else {
            return;
        };
        let gradient = self.gradients.get(&self.path.text());
        let gradient = gradient.map(|gradient| (gradient.clone(), self.scale));
        let adapter = self.adapters.entry(module).or_default();
        let step = FieldStep::new(value, shape, gradient);
        adapter.fields.insert(field, step);
    }
}

impl ModuleVisitor for Read<'_> {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.adapter_field().is_some() {
            let value = param.base().inner();
            let shape = value.dims();
            let flat = value.reshape([shape.iter().product::<usize>()]);
            self.add(Values::Float(flat), shape.to_vec());
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if self.path.adapter_field().is_some() {
            let value = param.base().inner();
            let shape = value.dims();
            let flat = value.reshape([shape.iter().product::<usize>()]);
            self.add(Values::Int(flat), shape.to_vec());
        }
    }
}

/// Module and field of an adapter's parameter.
type Place = (String, String);

/// The paths of the floating-point fields of a model's adapters.
fn float_fields<M: Module>(model: &M) -> Vec<(String, Place)> {
    #[derive(Default)]
    struct Fields {
        path: ParamPath,
        found: Vec<(String, Place)>,
    }
    impl ModuleVisitor for Fields {
        follow_path!();

        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
            if let Some(place) = self.path.adapter_field() {
                self.found.push((self.path.text(), place));
            }
        }
    }
    let mut fields = Fields::default();
    model.visit(&mut fields);
    fields.found
}

struct Write {
    path: ParamPath,
    values: BTreeMap<Place, Values>,
    moments: BTreeMap<Place, Vec<Option<usize>>>,
}

impl ModuleMapper for Write {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let place = self.path.adapter_field();
        match place.and_then(|place| self.values.remove(&place)) {
            None => param,
            Some(new) => param.map(|old| {
                let trained = old.is_require_grad();
                let new = new.float().cast(old.dtype()).reshape(old.dims());
                let new = if old.is_autodiff() { new.autodiff() } else { new };
                new.set_require_grad(trained)
            }),
        }
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let place = self.path.adapter_field();
        match place.and_then(|place| self.values.remove(&place)) {
            None => param,
            Some(new) => param.map(|old| {
                let new = new.int().cast(old.dtype()).reshape(old.dims());
                if old.is_autodiff() { new.autodiff() } else { new }
            }),
        }
    }
}
