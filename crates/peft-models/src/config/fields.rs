//! Typed reading of a configuration's fields.

use serde_json::{Map, Value};

use super::Fault;

const FIX: &str = "correct the field, or fetch the file again";

/// Fields of a configuration; a null means what absence means.
#[derive(Clone, Copy)]
pub struct ConfigFields<'a>(pub &'a Map<String, Value>);

impl<'a> ConfigFields<'a> {
    /// The first of these fields that is there.
    fn first(&self, names: &[&str]) -> Option<(&'a str, &'a Value)> {
        let mut fields = names.iter().filter_map(|name| self.0.get_key_value(*name));
        let (name, value) = fields.find(|(_, value)| !value.is_null())?;
        Some((name.as_str(), value))
    }

    fn wrong(name: &str, value: &Value, expected: &str) -> Fault {
        (format!("`{name}` is {value}, expected {expected}"), FIX)
    }

    /// Whether the field is in the file, if only as null.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A size; products of two below 2^28 cannot overflow when tensors are sized.
    pub fn size(&self, names: &[&str]) -> Result<Option<usize>, Fault> {
        let Some((name, value)) = self.first(names) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(size) if size < 1 << 28 => Ok(Some(size as usize)),
            _ => Err(Self::wrong(name, value, "a whole number below 2^28")),
        }
    }

    /// A size that must be there, and not 0.
    pub fn needed(&self, names: &[&str]) -> Result<usize, Fault> {
        match self.size(names)? {
            Some(0) => Err((format!("`{}` is 0", names[0]), FIX)),
            Some(size) => Ok(size),
            None => Err((format!("`{}` is missing", names[0]), FIX)),
        }
    }

    /// A finite number.
    pub fn number(&self, name: &str) -> Result<Option<f64>, Fault> {
        let Some((name, value)) = self.first(&[name]) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        let wrong = || Self::wrong(name, value, "a number");
        number.ok_or_else(wrong).map(Some)
    }

    /// A number above 0.
    pub fn positive(&self, name: &str, default: f64) -> Result<f64, Fault> {
        let number = self.number(name)?.unwrap_or(default);
        match number > 0.0 {
            true => Ok(number),
            false => Err((format!("`{name}` is {number}, expected more than 0"), FIX)),
        }
    }

    /// A probability below 1.
    pub fn dropout(&self, name: &str, default: f64) -> Result<f64, Fault> {
        let number = self.number(name)?.unwrap_or(default);
        match (0.0..1.0).contains(&number) {
            true => Ok(number),
            false => Err((format!("`{name}` is {number}, not in [0, 1)"), FIX)),
        }
    }

    /// True or false.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Fault> {
        let Some((name, value)) = self.first(&[name]) else {
            return Ok(default);
        };
        let wrong = || Self::wrong(name, value, "true or false");
        value.as_bool().ok_or_else(wrong)
    }

    /// Text.
    pub fn text(&self, names: &[&str]) -> Result<Option<&'a str>, Fault> {
        let Some((name, value)) = self.first(names) else {
            return Ok(None);
        };
        let wrong = || Self::wrong(name, value, "text");
        value.as_str().ok_or_else(wrong).map(Some)
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<ConfigFields<'a>>, Fault> {
        let Some((name, value)) = self.first(&[name]) else {
            return Ok(None);
        };
        let wrong = || Self::wrong(name, value, "an object");
        value
            .as_object()
            .ok_or_else(wrong)
            .map(|map| Some(Self(map)))
    }

    /// A list.
    pub fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Fault> {
        let Some((name, value)) = self.first(&[name]) else {
            return Ok(None);
        };
        let wrong = || Self::wrong(name, value, "a list");
        value
            .as_array()
            .ok_or_else(wrong)
            .map(|list| Some(list.as_slice()))
    }

    /// Positive factors, as many as wanted.
    pub fn factors(&self, name: &str, count: usize) -> Result<Vec<f64>, Fault> {
        let list = self.list(name)?.unwrap_or_default();
        let factors: Vec<f64> = list.iter().filter_map(Value::as_f64).collect();
        let sound = factors
            .iter()
            .all(|factor| factor.is_finite() && *factor > 0.0);
        match factors.len() == list.len() && list.len() == count && sound {
            true => Ok(factors),
            false => Err((
                format!(
                    "`{name}` must hold {count} positive numbers, and has {} entries",
                    list.len()
                ),
                FIX,
            )),
        }
    }
}
