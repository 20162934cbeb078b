//! Which method trains which adapter.

use std::collections::BTreeMap;

use crate::Method;

/// An adapter, as [`Methods`] are asked for its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner<'a> {
    /// The adapter's name, where it has one.
    pub adapter: Option<&'a str>,
    /// The [name](Method::name) of the method that made it, where [`attach`](crate::attach()) was told: several
    /// methods may have made parts of one adapter.
    pub method: Option<&'static str>,
}

/// The methods of a model's adapters, as a trainer asks for them between steps: one [`Method`] of them
/// all, [`NamedMethods`], or [`MethodList`].
pub trait Methods {
    /// The method of an adapter.
    fn of(&self, owner: Owner) -> Option<&dyn Method>;

    /// Factor on the learning rate of that adapter, beside those of its fields.
    fn rate(&self, _owner: Owner) -> f64 {
        1.0
    }
}

impl<M: Method> Methods for M {
    fn of(&self, owner: Owner) -> Option<&dyn Method> {
        match made_by(self, owner) {
            true => Some(self),
            false => self.part(owner.method?),
        }
    }
}

impl Methods for dyn Method + '_ {
    fn of(&self, owner: Owner) -> Option<&dyn Method> {
        match made_by(self, owner) {
            true => Some(self),
            false => self.part(owner.method?),
        }
    }
}

fn made_by(method: &(impl Method + ?Sized), owner: Owner) -> bool {
    owner.method.is_none_or(|name| name == method.name())
}

/// Methods that made parts of one adapter without a name, each with a rate of its own.
#[derive(Debug, Clone, Default)]
pub struct MethodList<'a>(Vec<(&'a dyn Method, f64)>);

impl<'a> MethodList<'a> {
    /// No method yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more method. The fields of what it made are trained at `rate` times the trainer's learning rate.
    #[must_use]
    pub fn with(mut self, method: &'a dyn Method, rate: f64) -> Self {
        self.0.push((method, rate));
        self
    }

    fn find(&self, owner: Owner) -> Option<(&'a dyn Method, f64)> {
        let found = |(method, _): &&(&dyn Method, f64)| made_by(*method, owner);
        self.0.iter().find(found).copied()
    }
}

impl Methods for MethodList<'_> {
    fn of(&self, owner: Owner) -> Option<&dyn Method> {
        self.find(owner).map(|(method, _)| method)
    }

    fn rate(&self, owner: Owner) -> f64 {
        self.find(owner).map_or(1.0, |(_, rate)| rate)
    }
}

/// Methods by the names of adapters, for adapters of several kinds that are trained together.
#[derive(Debug, Clone, Default)]
pub struct NamedMethods<'a>(BTreeMap<String, MethodList<'a>>);

impl<'a> NamedMethods<'a> {
    /// No adapter yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more adapter, or one more method of one. Its fields are trained at `rate` times the trainer's
    /// learning rate.
    #[must_use]
    pub fn with(mut self, adapter: &str, method: &'a dyn Method, rate: f64) -> Self {
        let list = self.0.entry(adapter.to_owned()).or_default();
        list.0.push((method, rate));
        self
    }
}

impl Methods for NamedMethods<'_> {
    fn of(&self, owner: Owner) -> Option<&dyn Method> {
        self.0.get(owner.adapter?)?.of(owner)
    }

    fn rate(&self, owner: Owner) -> f64 {
        let list = owner.adapter.and_then(|adapter| self.0.get(adapter));
        list.map_or(1.0, |list| list.rate(owner))
    }
}
