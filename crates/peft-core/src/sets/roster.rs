//! What a model's sets hold, and what of it may be chosen.

use std::collections::BTreeSet;

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::Device,
};
use peft_kernels::RowLayout;

use crate::{AdapterChoice, AdapterError, BASE, ParamPath, RowGroups, sites, walk};

/// The named adapters of a model: which there are, and which choices make sense.
///
/// Taken once of a model, it stays right while adapters are trained or switched, until one comes or goes.
#[derive(Debug, Clone)]
pub struct AdapterRoster {
    names: Vec<String>,
    places: Vec<Place>,
    /// Why rows cannot take the unadapted model, if they cannot.
    no_base: Option<String>,
}

/// A parameter with a set.
#[derive(Debug, Clone)]
struct Place {
    path: String,
    /// Whether it belongs to a linear layer or a norm, or is a slot of rows: others do not choose by rows.
    by_rows: bool,
    /// The members, and whether each can be summed with others.
    members: Vec<(String, bool)>,
}

/// Burn paths of the parameters of norms that go row by row: those with the fields of [`nn`](crate::nn), `weight` and `bias`.
/// Burn's own, `gamma` and `beta`, know nothing of rows.
fn norm_parameters<M: Module>(model: &M) -> BTreeSet<String> {
    #[derive(Default)]
    struct Norms {
        path: ParamPath,
        found: BTreeSet<String>,
    }
    impl ModuleVisitor for Norms {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
            if self.path.is_of_norm() {
                self.found.insert(self.path.text());
            }
        }
    }
    let mut norms = Norms::default();
    model.visit(&mut norms);
    norms.found
}

/// Which adapters the rows of a packed batch take.
#[derive(Debug, Clone)]
pub struct AdapterRows {
    /// For activations of one row a token.
    pub tokens: RowGroups,
    /// For activations of one row a sequence.
    pub sequences: RowGroups,
}

impl AdapterRows {
    /// The same choices of sequences that have so many rows each.
    #[must_use]
    pub fn with_lengths(&self, lengths: &[usize], device: &Device) -> Self {
        let choices: Vec<&AdapterChoice> = self.sequences.choices().collect();
        let of = self.sequences.groups_of().iter();
        let choices: Vec<AdapterChoice> = of.map(|group| choices[*group].clone()).collect();
        Self {
            tokens: RowGroups::new(&choices, lengths, device),
            sequences: self.sequences.clone(),
        }
    }
}

impl AdapterRoster {
    /// That of a model.
    pub fn of<M: Module>(model: &M) -> Self {
        let mut linears = sites(model);
        linears.retain(|site| site.kind.is_linear());
        let norms = norm_parameters(model);
        let mut places = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (path, adapter) in walk::adapters(model) {
            let Some(set) = adapter.as_set() else {
                continue;
            };
            let path = walk::adapted(&path);
            let module = path.rsplit_once('.').map_or("", |(module, _)| module);
            let members = set.members().map(|(name, one)| {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
                (name.to_owned(), one.is_additive())
            });
            let members = members.collect();
            let linear = linears.iter().any(|site| site.path == module);
            let alone = linear || norms.contains(&path);
            places.push(Place {
                by_rows: adapter.by_rows(alone),
                path,
                members,
            });
        }
        names.sort();
        Self {
            names,
            places,
            no_base: None,
        }
    }

    /// The names, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Refuse rows that choose the unadapted model, for a reason that is said: such as a head that only
    /// adapters have.
    #[must_use]
    pub fn without_base(self, reason: &str) -> Self {
        let no_base = Some(reason.to_owned());
        Self { no_base, ..self }
    }

    /// Refuse a name that no adapter has.
    ///
    /// # Errors
    /// [`AdapterError::UnknownAdapter`], with the names that there are.
    pub fn expect_name(&self, name: &str) -> Result<(), AdapterError> {
        if self.names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(AdapterError::UnknownAdapter {
            name: name.to_owned(),
            known: self.names.join("`, `"),
        })
    }

    /// Refuse what cannot be active.
    ///
    /// # Errors
    /// For a name that no adapter has, and for a sum of adapters of which one, at a parameter that
    /// another adapts too, does not add to what is there: DoRA scales what the others add, and of two
    /// heads neither is an addition to the other.
    pub fn check(&self, choice: &AdapterChoice) -> Result<(), AdapterError> {
        choice.names().try_for_each(|name| self.expect_name(name))?;
        if let (Some(reason), true) = (&self.no_base, choice.is_base()) {
            let reason = reason.clone();
            return Err(AdapterError::NoBase { reason });
        }
        for place in &self.places {
            let members = place.members.iter();
            let chosen: Vec<_> = members.filter(|one| choice.contains(&one.0)).collect();
            if let [_, _, ..] = chosen.as_slice()
                && let Some((name, _)) = chosen.iter().find(|(_, additive)| !additive)
            {
                return Err(AdapterError::NotAdditive {
                    choice: choice.to_string(),
                    name: name.clone(),
                    parameter: place.path.clone(),
                });
            }
        }
        Ok(())
    }

    /// Let every sequence of a batch take its own choice.
    ///
    /// # Errors
    /// As [`check`](Self::check); if there is not a choice for every sequence; for an adapter of a parameter that is neither a
    /// linear layer's nor a norm's: such a one can be switched to, but not chosen by rows.
    pub fn rows(
        &self,
        choices: &[AdapterChoice],
        layout: &RowLayout,
        device: &Device,
    ) -> Result<AdapterRows, AdapterError> {
        if choices.len() != layout.len() {
            return Err(AdapterError::RowChoices {
                choices: choices.len(),
                rows: layout.len(),
            });
        }
        let lengths: Vec<usize> = layout.starts().windows(2).map(|w| w[1] - w[0]).collect();
        let sequences = RowGroups::new(choices, &vec![1; choices.len()], device);
        for choice in sequences.choices() {
            self.check(choice)?;
            let whole = |place: &&Place| {
                let chosen = |one: &(String, bool)| choice.contains(&one.0);
                !place.by_rows && place.members.iter().any(chosen)
            };
            if let Some(place) = self.places.iter().find(whole) {
                return Err(AdapterError::NotByRows {
                    choice: choice.to_string(),
                    parameter: place.path.clone(),
                });
            }
        }
        Ok(AdapterRows {
            tokens: RowGroups::new(choices, &lengths, device),
            sequences,
        })
    }

    /// All that may stand where an adapter is named: the names, and [`BASE`] unless it is refused.
    pub fn choices(&self) -> Vec<String> {
        let base = self.no_base.is_none().then(|| BASE.to_owned());
        self.names.iter().cloned().chain(base).collect()
    }
}
