use std::{collections::BTreeSet, fmt};

use crate::AdapterError;

/// What stands for the unadapted model where adapters are named, as in PEFT's `adapter_names`.
pub const BASE: &str = "__base__";

/// Which adapters of a set compute: none, one, or the sum of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterChoice(BTreeSet<String>);

impl AdapterChoice {
    /// The unadapted model.
    pub fn base() -> Self {
        Self::default()
    }

    /// One adapter; [`BASE`] is the unadapted model.
    pub fn one(name: &str) -> Self {
        match name {
            BASE => Self::base(),
            name => Self(BTreeSet::from([name.to_owned()])),
        }
    }

    /// The sum of what adapters add to the base. Their order is of no account, nor that of one is named
    /// twice.
    pub fn sum<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(|n| n.as_ref().to_owned()).collect())
    }

    /// The chosen adapters; none for the unadapted model.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether this is the unadapted model.
    pub fn is_base(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an adapter is among the chosen ones.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_base() {
            true => f.write_str(BASE),
            false => f.write_str(&self.names().collect::<Vec<_>>().join(" + ")),
        }
    }
}

/// Refuse a text that cannot name an adapter: a name is part of the paths of parameters, and of
/// arguments such as `name=DIR`.
///
/// # Errors
/// [`AdapterError::Name`].
pub fn check_adapter_name(name: &str) -> Result<(), AdapterError> {
    let letter = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(letter) && name != BASE {
        return Ok(());
    }
    Err(AdapterError::Name {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_no_adapter() {
        assert!(AdapterChoice::one(BASE).is_base());
        assert_eq!(AdapterChoice::base().to_string(), BASE);
        assert_eq!(
            AdapterChoice::sum(["b", "a", "b"]),
            AdapterChoice::sum(["a", "b"])
        );
        assert_eq!(AdapterChoice::sum(["b", "a"]).to_string(), "a + b");
    }

    #[test]
    fn names_are_words() {
        for name in ["sst2", "größe-2", "a_b"] {
            assert!(check_adapter_name(name).is_ok(), "{name}");
        }
        for name in ["", "a.b", "a b", "a=b", "a/b", "@a", BASE] {
            assert!(check_adapter_name(name).is_err(), "{name}");
        }
    }
}
