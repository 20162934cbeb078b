//! The paths of parameters, as Burn's traversals announce them.

use burn::module::Reparameterization;

use crate::{
    DynAdapter, SiteKind,
    adapter::{IMPLIED, MARK, SET, WHOLE},
    slot::{EMPTY, OCCUPIED},
};

/// Whose parameter a parameter of an adapter is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdapterPlace {
    /// The adapter's name, in a set.
    pub adapter: Option<String>,
    /// Burn path of the adapted [site](crate::Site): the module of a weight, else the parameter or the slot.
    pub module: String,
    /// The field of the adapter.
    pub field: String,
}

impl AdapterPlace {
    /// What tells the site of one adapter from that of another: its path, with the adapter's name where it
    /// has one, `<site>.@<name>`.
    pub fn key(&self) -> String {
        match &self.adapter {
            None => self.module.clone(),
            Some(adapter) => format!("{}.{MARK}{adapter}", self.module),
        }
    }
}

/// The path that a visitor or mapper is at: feed it what Burn's traversals announce.
#[derive(Debug, Default, Clone)]
pub struct ParamPath {
    parts: Vec<(String, String)>,
}

impl ParamPath {
    /// For `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.parts.push((name.to_owned(), container.to_owned()));
    }

    /// For `exit_module`.
    pub fn exit(&mut self) {
        self.parts.pop();
    }

    /// The components, joined by dots.
    pub fn text(&self) -> String {
        join(self.parts.iter())
    }

    /// The path of the linear layer whose weight this is.
    pub fn linear_of_weight(&self) -> Option<String> {
        let (path, kind) = self.site();
        kind.is_linear().then_some(path)
    }

    /// The path and the kind of the [site](crate::Site) that a parameter of the model's own is.
    pub fn site(&self) -> (String, SiteKind) {
        site_of(&self.parts)
    }

    /// The path of the slot that was entered just now.
    pub(crate) fn slot(&self) -> Option<String> {
        let (last, rest) = self.parts.split_last()?;
        let slot = last.0 == DynAdapter::NAME && (last.1 == OCCUPIED || last.1 == EMPTY);
        slot.then(|| join(rest.iter()))
    }

    /// The path of the adapted site and the field of its adapter, at a parameter of an adapter.
    pub fn adapter_field(&self) -> Option<(String, String)> {
        let AdapterPlace { module, field, .. } = self.adapter_place()?;
        Some((module, field))
    }

    /// Whose field this is, at a parameter of an adapter. A module that an adapter of a set
    /// [has in full](Self::whole) is none, nor is the copy of a weight's adapter that a bias carries.
    pub fn adapter_place(&self) -> Option<AdapterPlace> {
        let adapter = self.adapter()?;
        // `<site>.adapter.<field>`, or `.adapter.@<name>.<field>`.
        let (module, _) = match self.parts[adapter].1 == OCCUPIED {
            true => (join(self.parts[..adapter].iter()), SiteKind::Slot),
            false => site_of(&self.parts[..adapter]),
        };
        let owner = self.owner(adapter);
        let fields = adapter + 1 + usize::from(owner.is_some());
        let copied = self.parts[adapter..].iter().any(|part| part.1 == IMPLIED);
        (!self.is_whole() && !copied).then(|| AdapterPlace {
            adapter: owner.map(str::to_owned),
            module,
            field: join(self.parts[fields..].iter()),
        })
    }

    /// At a parameter that an adapter of a set has in full: the adapter's name, and the path of the
    /// model's own parameter.
    pub fn whole(&self) -> Option<(String, Self)> {
        let adapter = self.adapter()?;
        let owner = self.owner(adapter).filter(|_| self.is_whole())?;
        let parts = self.parts[..adapter].to_vec();
        Some((owner.to_owned(), Self { parts }))
    }

    /// Whether weight decay is for this parameter, as Hugging Face's Trainer has it: not for biases and the
    /// parameters of norms, nor for what adapts them.
    pub fn decays(&self) -> bool {
        let spared = |(name, container): &(String, String)| {
            name.to_lowercase().contains("bias") || container.ends_with("Norm")
        };
        !self.parts.iter().any(spared)
    }

    /// Whether this is within an adapter.
    pub fn in_adapter(&self) -> bool {
        self.adapter().is_some()
    }

    fn adapter(&self) -> Option<usize> {
        let here = |(name, container): &(String, String)| {
            name == DynAdapter::NAME && (container == "Reparameterization" || container == OCCUPIED)
        };
        self.parts.iter().position(here)
    }

    fn owner(&self, adapter: usize) -> Option<&str> {
        let (name, container) = self.parts.get(adapter + 1)?;
        name.strip_prefix(MARK).filter(|_| container == SET)
    }

    fn is_whole(&self) -> bool {
        let container = self.parts.last().map(|(_, container)| container.as_str());
        container == Some(WHOLE)
    }

    /// Whether this is a parameter of a norm that reads it through [`nn`](crate::nn).
    pub(crate) fn is_of_norm(&self) -> bool {
        self.parts.last().is_some_and(|(leaf, container)| {
            container.ends_with("Norm") && (leaf == "weight" || leaf == "bias")
        })
    }

    /// The path in the names of PyTorch's leaves: Burn's norms call them gamma and beta.
    pub(crate) fn torch_leaves(&self) -> String {
        let norm = self
            .parts
            .last()
            .is_some_and(|(_, container)| container.ends_with("Norm"));
        let text = self.text();
        match (norm, text.rsplit_once('.')) {
            (true, Some((module, "gamma"))) => format!("{module}.weight"),
            (true, Some((module, "beta"))) => format!("{module}.bias"),
            _ => text,
        }
    }
}

fn site_of(parts: &[(String, String)]) -> (String, SiteKind) {
    if let [rest @ .., (leaf, container)] = parts
        && leaf == "weight"
        && let Some(kind) = SiteKind::of_container(container)
    {
        return (join(rest.iter()), kind);
    }
    (join(parts.iter()), SiteKind::Parameter)
}

fn join<'a>(parts: impl Iterator<Item = &'a (String, String)>) -> String {
    parts
        .map(|(name, _)| name.as_str())
        .collect::<Vec<_>>()
        .join(".")
}
