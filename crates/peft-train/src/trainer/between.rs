//! Between two steps: what the method is shown of the adapters, and what it changed.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::Int,
};
use peft_core::{
    AdapterPlace, AdapterStep, FieldChange, FieldStep, Owner, ParamPath, Values, field_methods,
};

use super::Trainer;
use crate::{AdamW, GradientSet};

/// Whose the fields of a model's adapters are.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// The names of the methods that made them, by parameter path.
    methods: BTreeMap<String, &'static str>,
    /// Names of adapters and of methods.
    all: BTreeSet<(Option<String>, Option<&'static str>)>,
}

impl Owners {
    pub(super) fn of<M: Module>(model: &M) -> Self {
        let mut owners = Self {
            methods: field_methods(model),
            all: BTreeSet::new(),
        };
        let mut places = Places::default();
        model.visit(&mut places);
        for (adapter, path) in places.found {
            let method = owners.method(&path);
            owners.all.insert((adapter, method));
        }
        owners
    }

    /// The name of the method that made a field, if it is known.
    pub(super) fn method(&self, path: &str) -> Option<&'static str> {
        self.methods.get(path).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Owner<'_>> {
        self.all.iter().map(|(adapter, method)| Owner {
            adapter: adapter.as_deref(),
            method: *method,
        })
    }
}

/// The names of adapters and the paths of their fields.
#[derive(Default)]
struct Places {
    path: ParamPath,
    found: Vec<(Option<String>, String)>,
}

impl Places {
    fn add(&mut self) {
        if let Some(place) = self.path.adapter_place() {
            self.found.push((place.adapter, self.path.text()));
        }
    }
}

impl ModuleVisitor for Places {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.add();
    }

    fn visit_int<const D: usize>(&mut self, _: &Param<Tensor<D, Int>>) {
        self.add();
    }
}

impl Trainer {
    /// The adapters of an owner as they are after a step, with what the method remembers of them.
    pub(super) fn adapters<M: Module>(
        &mut self,
        model: &M,
        owner: Owner,
        owners: &Owners,
        gradients: &GradientSet,
        scale: f64,
    ) -> BTreeMap<String, AdapterStep> {
        let name = owner.adapter;
        let mut read = Read {
            path: ParamPath::default(),
            owner,
            owners,
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

struct Read<'a> {
    path: ParamPath,
    owner: Owner<'a>,
    owners: &'a Owners,
    gradients: &'a GradientSet,
    scale: f64,
    adapters: BTreeMap<String, AdapterStep>,
}

impl Read<'_> {
    fn add(&mut self, value: Values, shape: Vec<usize>) {
        let Some(place) = self.path.adapter_place() else {
            return;
        };
        let path = self.path.text();
        let method = self.owners.method(&path);
        if place.adapter.as_deref() != self.owner.adapter || method != self.owner.method {
            return;
        }
        let gradient = self.gradients.get(&path);
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
        let old = param.val();
        let new = new.int().cast(old.dtype()).reshape(old.dims());
        let new = if old.is_autodiff() {
            new.autodiff()
        } else {
            new
        };
        // Adapters keep what they made of places by the parameter's identity.
        Param::initialized(ParamId::new(), new)
    }
}
