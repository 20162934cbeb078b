//! Typed access to the keys of one adapter method.

use serde_json::Value;

use super::AdapterConfig;
use crate::error::{FormatError, Result};
use crate::targets::PatternMap;

/// Values that a pattern map may hold.
pub trait PatternNumber: Sized {
    /// What errors call it.
    const WHAT: &'static str;
    /// The value, if the JSON is of this type and in range.
    fn from_json(value: &Value) -> Option<Self>;
}

impl PatternNumber for usize {
    const WHAT: &'static str = "an object from module patterns to whole numbers";

    fn from_json(value: &Value) -> Option<Self> {
        as_usize(value)
    }
}

impl PatternNumber for f64 {
    const WHAT: &'static str = "an object from module patterns to numbers";

    fn from_json(value: &Value) -> Option<Self> {
        value.as_f64().filter(|x| x.is_finite())
    }
}

/// Python writes `16.0` where a float was passed for an integer, and PEFT computes with it.
fn as_usize(value: &Value) -> Option<usize> {
    if let Some(n) = value.as_u64() {
        return n.try_into().ok();
    }
    let x = value.as_f64()?;
    (x >= 0.0 && x.fract() == 0.0 && x < (1u64 << 53) as f64).then_some(x as usize)
}

macro_rules! accessors {
    ($($required:ident, $optional:ident: $type:ty, $what:literal, $read:expr;)*) => {$(
        #[doc = concat!("The value of `key` as ", $what, ".")]
        ///
        /// # Errors
        /// [`FormatError::Field`] if it is missing, null or of another type.
        pub fn $required(&self, key: &str) -> Result<$type> {
            self.$optional(key)?.ok_or_else(|| self.field_error(key, $what))
        }

        #[doc = concat!("The value of `key` as ", $what, "; `None` if missing or null.")]
        ///
        /// # Errors
        /// [`FormatError::Field`] if it is of another type.
        pub fn $optional(&self, key: &str) -> Result<Option<$type>> {
            let read: fn(&Value) -> Option<$type> = $read;
            match self.fields().get(key) {
                None | Some(Value::Null) => Ok(None),
                Some(value) => {
                    read(value).map(Some).ok_or_else(|| self.field_error(key, $what))
                }
            }
        }
    )*};
}

impl AdapterConfig {
    accessors! {
        usize_field, opt_usize_field: usize, "a whole number, not negative", as_usize;
        f64_field, opt_f64_field: f64, "a finite number", f64::from_json;
        bool_field, opt_bool_field: bool, "true or false", Value::as_bool;
        string_field, opt_string_field: &str, "a string", |value| value.as_str();
    }

    /// A map from module patterns to numbers, such as `rank_pattern`; empty if missing or null.
    ///
    /// # Errors
    /// [`FormatError::Field`] for a value of another type, [`FormatError::Target`] for a bad pattern.
    pub fn pattern_field<V: PatternNumber>(&self, key: &str) -> Result<PatternMap<V>> {
        let object = match self.fields().get(key) {
            None | Some(Value::Null) => return Ok(PatternMap::default()),
            Some(Value::Object(object)) => object,
            Some(_) => return Err(self.field_error(key, V::WHAT)),
        };
        let mut entries = Vec::with_capacity(object.len());
        for (pattern, value) in object {
            let number = V::from_json(value).ok_or_else(|| FormatError::Field {
                path: self.path().to_owned(),
                key: format!("{key}[{}]", crate::error::shorten(pattern)),
                expected: V::WHAT.into(),
                found: super::check::short_value(value),
            })?;
            entries.push((pattern.clone(), number));
        }
        let place = match key {
            "rank_pattern" => "rank_pattern",
            "alpha_pattern" => "alpha_pattern",
            "n_frequency_pattern" => "n_frequency_pattern",
            _ => "a pattern of the adapter configuration",
        };
        Ok(PatternMap::new(place, entries)?)
    }

    /// A list of strings, or one string in its place; `None` if missing or null.
    ///
    /// # Errors
    /// [`FormatError::Field`] for anything else.
    pub fn opt_strings_field(&self, key: &str) -> Result<Option<Vec<String>>> {
        let wrong = || self.field_error(key, "a list of strings");
        match self.fields().get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(one)) => Ok(Some(vec![one.clone()])),
            Some(Value::Array(list)) => {
                let strings = list.iter().map(|v| v.as_str().map(str::to_owned));
                strings.collect::<Option<_>>().ok_or_else(wrong).map(Some)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// A list of whole numbers, or one number in its place; `None` if missing or null.
    ///
    /// # Errors
    /// [`FormatError::Field`] for anything else.
    pub fn opt_usizes_field(&self, key: &str) -> Result<Option<Vec<usize>>> {
        let read = match self.fields().get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(list)) => list.iter().map(as_usize).collect(),
            Some(one) => as_usize(one).map(|n| vec![n]),
        };
        read.ok_or_else(|| self.field_error(key, "a list of whole numbers"))
            .map(Some)
    }
}
