//! Files of settings that a model folder holds.

use std::path::Path;

use serde_json::{Map, Value};

use crate::RunError;

/// Fields of a file of settings.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub path: &'a Path,
    pub map: &'a Map<String, Value>,
}

impl Fields<'_> {
    pub fn fault(&self, problem: String) -> RunError {
        RunError::File {
            path: self.path.to_owned(),
            problem,
            fix: "correct it, or fetch the file again".into(),
        }
    }

    /// Refuse settings of another search, or that force or forbid tokens in ways that are not offered: without them other texts
    /// would come than the model's authors meant.
    pub fn expect_known(&self) -> Result<(), RunError> {
        let other = [
            ("num_beams", 1),
            ("num_beam_groups", 1),
            ("encoder_no_repeat_ngram_size", 0),
        ];
        for (name, usual) in other {
            if self.count(name)?.is_some_and(|value| value != usual) {
                let value = &self.map[name];
                return Err(self.fault(format!("`{name}` is {value}, which is not offered")));
            }
        }
        let lists = [
            "bad_words_ids",
            "force_words_ids",
            "constraints",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "begin_suppress_tokens",
            "sequence_bias",
            "penalty_alpha",
            "dola_layers",
        ];
        let set = |name: &&&str| self.map.get(**name).is_some_and(|value| !value.is_null());
        match lists.iter().find(set) {
            Some(name) => Err(self.fault(format!("`{name}` is set, which is not offered"))),
            None => Ok(()),
        }
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, RunError> {
        match self.map.get(name).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.fault(format!("`{name}` is {value}, expected {expected}"))),
            },
        }
    }

    pub fn number(&self, name: &str) -> Result<Option<f64>, RunError> {
        self.read(name, "a number", Value::as_f64)
    }

    pub fn count(&self, name: &str) -> Result<Option<usize>, RunError> {
        self.read(name, "a whole number", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, RunError> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// One token or several.
    pub fn ids(&self, name: &str) -> Result<Option<Vec<u32>>, RunError> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        self.read(name, "a token or a list of tokens", |value| match value {
            Value::Array(list) => list.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        })
    }
}
