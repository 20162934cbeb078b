use burn::{
    Tensor,
    module::{Devices, Module, ModuleMapper, ModuleVisitor, Reparameterization},
    tensor::Device,
};

use super::{AdapterChoice, AdapterContext, BaseLinear, Cost, DynAdapter, context::Chosen};
use crate::{Passing, Target};

/// What traversals call the container of a set's members.
pub(crate) const SET: &str = "AdapterSet";
/// What stands before a member's name in the paths of its parameters, where no field can begin.
pub(crate) const MARK: char = '@';

/// Adapters of one site, by name, of any kinds of method side by side.
///
/// Which of them compute is said by the [`AdapterContext`], row by row or for all rows; where it says
/// nothing, and for layers that only know dense weights, those that are active do. A choice that names
/// no member leaves the parameter as it is: an adapter need not adapt every layer that another one does.
///
/// The parameters of a member are found under `<weight path>.adapter.@<name>.<field>`.
#[derive(Debug, Clone, Default)]
pub struct AdapterSet {
    members: Vec<(String, DynAdapter)>,
    active: AdapterChoice,
}

impl AdapterSet {
    /// A set without members, of which some will be active.
    pub(crate) fn new(active: AdapterChoice) -> Self {
        Self {
            members: Vec::new(),
            active,
        }
    }

    /// The members, in the order in which they were added.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&str, &DynAdapter)> {
        self.members.iter().map(|(name, one)| (name.as_str(), one))
    }

    /// The member of a name.
    pub fn get(&self, name: &str) -> Option<&DynAdapter> {
        self.members().find(|one| one.0 == name).map(|one| one.1)
    }

    /// What is active.
    pub fn active(&self) -> &AdapterChoice {
        &self.active
    }

    pub(crate) fn set_active(&mut self, choice: AdapterChoice) {
        self.active = choice;
    }

    pub(crate) fn insert(&mut self, name: &str, adapter: DynAdapter) {
        self.members.push((name.to_owned(), adapter));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.members.retain(|(known, _)| known != name);
    }

    /// The members that a choice names.
    fn chosen<'a>(&'a self, choice: &'a AdapterChoice) -> impl Iterator<Item = &'a DynAdapter> {
        let members = self.members.iter();
        members.filter_map(|(name, one)| choice.contains(name).then_some(one))
    }

    fn product(
        &self,
        x: Tensor<2>,
        base: &BaseLinear,
        choice: &AdapterChoice,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let chosen: Vec<&DynAdapter> = self.chosen(choice).collect();
        match chosen.as_slice() {
            [] => base.forward(x),
            [one] => one.forward(x, base, context),
            several => {
                let nothing = base.without_weight();
                several.iter().fold(base.forward(x.clone()), |sum, one| {
                    sum + one.forward(x.clone(), &nothing, context)
                })
            }
        }
    }

    /// The members that are chosen in a pass for whose rows one choice holds.
    pub(crate) fn chosen_in<'a>(&'a self, context: &'a AdapterContext) -> Vec<&'a DynAdapter> {
        let choice = match context.chosen() {
            Chosen::All(choice) => choice,
            Chosen::Active | Chosen::Rows(_) => &self.active,
        };
        self.chosen(choice).collect()
    }

    /// The parameter in such a pass, as layers read it that know adapters.
    pub(crate) fn parameter_in<const D: usize>(
        &self,
        base: Tensor<D>,
        context: &AdapterContext,
    ) -> Tensor<D> {
        let chosen = self.chosen_in(context).into_iter();
        chosen.fold(base, |value, adapter| adapter.parameter(value, context))
    }

    /// The parameter as the active adapters have it.
    pub(crate) fn active_parameter<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let chosen = self.chosen(&self.active);
        chosen.fold(base, |value, adapter| adapter.apply(value))
    }

    /// What comes out of a slot that holds the set.
    pub(crate) fn pass<P: Passing>(&self, passing: P, context: &AdapterContext) -> P::Out {
        match context.chosen() {
            Chosen::Active => self.pass_chosen(passing, &self.active, context),
            Chosen::All(choice) => self.pass_chosen(passing, choice, context),
            Chosen::Rows(rows) if P::BY_ROWS => passing.by_rows(rows, &mut |passing, choice| {
                self.pass_chosen(passing, choice, context)
            }),
            Chosen::Rows(_) => self.pass_chosen(passing, &self.active, context),
        }
    }

    /// Modules of a slot are no sums: a choice has one of them at the most.
    fn pass_chosen<P: Passing>(
        &self,
        passing: P,
        choice: &AdapterChoice,
        context: &AdapterContext,
    ) -> P::Out {
        match self.chosen(choice).next() {
            Some(one) => one.pass(passing, context),
            None => passing.unchanged(),
        }
    }

    fn map_members(self, mut map: impl FnMut(&str, DynAdapter) -> DynAdapter) -> Self {
        let members = self.members.into_iter().map(|(name, one)| {
            let one = map(&name, one);
            (name, one)
        });
        Self {
            members: members.collect(),
            active: self.active,
        }
    }
}

impl AdapterSet {
    /// The product with the weight as the chosen members have it, `[rows, in] -> [rows, out]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        base: &BaseLinear,
        context: &AdapterContext,
    ) -> Tensor<2> {
        match context.chosen() {
            Chosen::Active => self.product(x, base, &self.active, context),
            Chosen::All(choice) => self.product(x, base, choice, context),
            Chosen::Rows(rows) => {
                rows.through(x, |x, choice| self.product(x, base, choice, context))
            }
        }
    }

    /// The values of all members, and the rest of the most costly one: a row passes through one of them
    /// as a rule.
    pub(crate) fn cost(&self, target: &Target) -> Cost {
        let costs = self.members.iter();
        costs
            .map(|(_, one)| one.cost(target))
            .fold(Cost::default(), |all, one| Cost {
                parameters: all.parameters + one.parameters,
                flops_per_row: all.flops_per_row.max(one.flops_per_row),
                saved_per_row: all.saved_per_row.max(one.saved_per_row),
            })
    }
}

impl Module for AdapterSet {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (name, one) in &self.members {
            let part = format!("{MARK}{name}");
            visitor.enter_module(&part, SET);
            one.visit(visitor);
            visitor.exit_module(&part, SET);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.map_members(|name, one| {
            let part = format!("{MARK}{name}");
            mapper.enter_module(&part, SET);
            let one = one.map(mapper);
            mapper.exit_module(&part, SET);
            one
        })
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        let members = self.members.iter();
        members.fold(devices, |devices, (_, one)| one.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.map_members(|_, one| one.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_members(|_, one| one.to_device(device))
    }

    fn train(self) -> Self {
        self.map_members(|_, one| Module::train(one))
    }

    fn valid(&self) -> Self {
        self.clone().map_members(|_, one| one.valid())
    }

    fn materialize(self) -> Self {
        self
    }
}
