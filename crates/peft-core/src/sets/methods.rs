//! Which method trains which adapter.

use std::collections::BTreeMap;

use crate::Method;

/// The methods of a model's adapters, as a trainer asks for them between steps: one [`Method`] of them
/// all, or [`NamedMethods`].
pub trait Methods {
    /// The method of the adapter of a name, or of the model's only one.
    fn of(&self, adapter: Option<&str>) -> Option<&dyn Method>;

    /// Factor on the learning rate of that adapter, beside those of its fields.
    fn rate(&self, _adapter: Option<&str>) -> f64 {
        1.0
    }
}

impl<M: Method> Methods for M {
    fn of(&self, _: Option<&str>) -> Option<&dyn Method> {
        Some(self)
    }
}

impl Methods for dyn Method + '_ {
    fn of(&self, _: Option<&str>) -> Option<&dyn Method> {
        Some(self)
    }
}

/// Methods by the names of adapters, for adapters of several kinds that are trained together.
#[derive(Debug, Clone, Default)]
pub struct NamedMethods<'a>(BTreeMap<String, (&'a dyn Method, f64)>);

impl<'a> NamedMethods<'a> {
    /// No adapter yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more adapter. Its fields are trained at `rate` times the trainer's learning rate.
    #[must_use]
    pub fn with(mut self, adapter: &str, method: &'a dyn Method, rate: f64) -> Self {
        self.0.insert(adapter.to_owned(), (method, rate));
        self
    }
}

impl Methods for NamedMethods<'_> {
    fn of(&self, adapter: Option<&str>) -> Option<&dyn Method> {
        self.0.get(adapter?).map(|(method, _)| *method)
    }

    fn rate(&self, adapter: Option<&str>) -> f64 {
        let known = adapter.and_then(|adapter| self.0.get(adapter));
        known.map_or(1.0, |(_, rate)| *rate)
    }
}
