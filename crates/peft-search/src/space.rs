//! Spaces of configurations: finite, mixed, with conditions and forbidden combinations.

mod encoding;
mod lattice;
mod parameter;

use std::collections::BTreeMap;

pub use encoding::Encoding;
pub use lattice::Configurations;
pub use parameter::{Condition, Domain, Parameter, Value};
use serde::{Deserialize, Serialize};

use crate::SearchError;

/// One configuration of a space: a level for each parameter, in the space's order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Configuration(pub Vec<u32>);

/// A combination that no configuration may have: all the named parameters at the named levels at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Forbidden(pub Vec<(String, u32)>);

/// A finite space of configurations.
///
/// Parameters whose [`Condition`] does not hold are *inactive*: their level is 0 in every configuration of the
/// space, so that configurations that mean the same are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Description", into = "Description")]
pub struct Space {
    parameters: Vec<Parameter>,
    forbidden: Vec<Forbidden>,
    /// Of each parameter its parent's index and the levels at which it counts.
    conditions: Vec<Option<(usize, Vec<u32>)>>,
    /// The forbidden combinations by index.
    clauses: Vec<Vec<(usize, u32)>>,
}

/// How a space is written to files.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Description {
    parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    forbidden: Vec<Forbidden>,
}

impl TryFrom<Description> for Space {
    type Error = SearchError;

    fn try_from(description: Description) -> Result<Self, SearchError> {
        Space::new(description.parameters, description.forbidden)
    }
}

impl From<Space> for Description {
    fn from(space: Space) -> Self {
        Self {
            parameters: space.parameters,
            forbidden: space.forbidden,
        }
    }
}

impl Space {
    /// The space of these parameters without the forbidden combinations.
    ///
    /// # Errors
    ///
    /// [`SearchError::Parameter`] where a name is used twice or not known, a domain has fewer than two levels, or a
    /// condition names a parameter that does not come earlier.
    pub fn new(parameters: Vec<Parameter>, forbidden: Vec<Forbidden>) -> Result<Self, SearchError> {
        let refuse = |parameter: &str, reason: String| SearchError::Parameter {
            parameter: parameter.to_owned(),
            reason,
        };
        if parameters.is_empty() {
            return Err(refuse("", "a space needs at least one parameter".into()));
        }
        let mut names = BTreeMap::new();
        let mut conditions = Vec::with_capacity(parameters.len());
        for (index, parameter) in parameters.iter().enumerate() {
            parameter.check()?;
            if names.insert(parameter.name.as_str(), index).is_some() {
                return Err(refuse(
                    &parameter.name,
                    "two parameters have this name".into(),
                ));
            }
            conditions.push(match &parameter.condition {
                None => None,
                Some(Condition { parent, levels }) => {
                    let earlier = names.get(parent.as_str()).copied();
                    let Some(parent) = earlier.filter(|&parent| parent < index) else {
                        let reason =
                            format!("its parent {parent:?} must be a parameter that comes earlier");
                        return Err(refuse(&parameter.name, reason));
                    };
                    let count = parameters[parent].levels();
                    if levels.is_empty() || levels.iter().any(|&level| level >= count) {
                        let reason = format!(
                            "its condition names levels {levels:?}; its parent has 0 to {}",
                            count - 1
                        );
                        return Err(refuse(&parameter.name, reason));
                    }
                    Some((parent, levels.clone()))
                }
            });
        }
        let mut clauses = Vec::with_capacity(forbidden.len());
        for Forbidden(pairs) in &forbidden {
            let mut clause = Vec::with_capacity(pairs.len());
            for (name, level) in pairs {
                match names.get(name.as_str()).copied() {
                    Some(index) if *level < parameters[index].levels() => {
                        clause.push((index, *level));
                    }
                    Some(index) => {
                        let last = parameters[index].levels() - 1;
                        let reason =
                            format!("a forbidden combination has level {level}, past {last}");
                        return Err(refuse(name, reason));
                    }
                    None => {
                        let reason = "a forbidden combination names it, the space does not";
                        return Err(refuse(name, reason.into()));
                    }
                }
            }
            if clause.is_empty() {
                return Err(refuse("", "a forbidden combination is empty".into()));
            }
            clauses.push(clause);
        }
        Ok(Self {
            parameters,
            forbidden,
            conditions,
            clauses,
        })
    }

    /// The parameters in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The index of a parameter.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.parameters
            .iter()
            .position(|parameter| parameter.name == name)
    }

    /// How many combinations of levels there are, before conditions and forbidden combinations: `∏ levels`.
    pub fn combinations(&self) -> f64 {
        self.parameters
            .iter()
            .map(|parameter| f64::from(parameter.levels()))
            .product()
    }

    /// Whether a parameter counts in a configuration.
    pub fn is_active(&self, configuration: &Configuration, parameter: usize) -> bool {
        let mut index = parameter;
        // A loop and no recursion: a file may describe a chain of any length.
        while let Some((parent, levels)) = &self.conditions[index] {
            if !levels.contains(&configuration.0[*parent]) {
                return false;
            }
            index = *parent;
        }
        true
    }

    /// The configuration with every inactive parameter at level 0.
    pub fn canonical(&self, mut configuration: Configuration) -> Configuration {
        for index in 0..self.parameters.len() {
            if self.conditions[index].is_some() && !self.is_active(&configuration, index) {
                configuration.0[index] = 0;
            }
        }
        configuration
    }

    /// Whether a configuration is one of the space's.
    ///
    /// # Errors
    ///
    /// [`SearchError::Configuration`] with the reason it is not.
    pub fn check(&self, configuration: &Configuration) -> Result<(), SearchError> {
        let refuse = |reason: String| {
            Err(SearchError::Configuration {
                levels: configuration.0.clone(),
                reason,
            })
        };
        if configuration.0.len() != self.parameters.len() {
            return refuse(format!(
                "the space has {} parameters",
                self.parameters.len()
            ));
        }
        for (index, (parameter, &level)) in self.parameters.iter().zip(&configuration.0).enumerate()
        {
            if level >= parameter.levels() {
                let (name, last) = (&parameter.name, parameter.levels() - 1);
                return refuse(format!("{name:?} has levels 0 to {last}, not {level}"));
            }
            if level != 0 && !self.is_active(configuration, index) {
                return refuse(format!(
                    "{:?} does not count here: its level must be 0, not {level}",
                    parameter.name
                ));
            }
        }
        if let Some(clause) = self.forbids(configuration) {
            let parts = self.clauses[clause].iter().map(|&(index, level)| {
                let parameter = &self.parameters[index];
                format!("{} {}", parameter.name, parameter.value(level))
            });
            let parts: Vec<String> = parts.collect();
            return refuse(format!(
                "it has a forbidden combination: {}",
                parts.join(", ")
            ));
        }
        Ok(())
    }

    /// The first forbidden combination a configuration has.
    fn forbids(&self, configuration: &Configuration) -> Option<usize> {
        self.clauses.iter().position(|clause| {
            clause
                .iter()
                .all(|&(index, level)| configuration.0[index] == level)
        })
    }

    /// Whether a canonical configuration has no forbidden combination.
    pub(crate) fn allows(&self, configuration: &Configuration) -> bool {
        self.forbids(configuration).is_none()
    }

    /// The configuration of named values; parameters not named are at level 0.
    ///
    /// # Errors
    ///
    /// [`SearchError::Parameter`] of names and values that the space does not have, [`SearchError::Configuration`]
    /// where their combination is not one of its configurations.
    pub fn configuration(&self, values: &[(&str, Value)]) -> Result<Configuration, SearchError> {
        let mut levels = vec![0; self.parameters.len()];
        for (name, value) in values {
            let index = self.index(name).ok_or_else(|| SearchError::Parameter {
                parameter: (*name).to_owned(),
                reason: "the space has no parameter of this name".into(),
            })?;
            levels[index] = self.parameters[index].level(value)?;
        }
        let configuration = self.canonical(Configuration(levels));
        self.check(&configuration)?;
        Ok(configuration)
    }

    /// The values of a configuration's active parameters, by name, in the space's order.
    pub fn values(&self, configuration: &Configuration) -> Vec<(&str, Value)> {
        self.parameters
            .iter()
            .enumerate()
            .filter(|(index, _)| self.is_active(configuration, *index))
            .map(|(index, parameter)| {
                (
                    parameter.name.as_str(),
                    parameter.value(configuration.0[index]),
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
