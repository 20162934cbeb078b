//! Python regular expressions from users and files, and maps keyed by them.

use std::borrow::Borrow;

use fancy_regex::{Captures, Regex, RegexBuilder};
use indexmap::IndexMap;

use super::TargetError;
use crate::error::shorten;

/// The longest pattern that is compiled, in bytes.
pub const PATTERN_LIMIT: usize = 16 << 10;
/// Memory of one compiled pattern; `\d{1000}{1000}` and the like exceed it.
const COMPILED_LIMIT: usize = 4 << 20;
/// Steps after which a look-around pattern is given up: `(a*)*b` cannot hang the program.
const STEP_LIMIT: usize = 200_000;

/// A compiled pattern that remembers where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    place: &'static str,
    regex: Regex,
}

impl Pattern {
    /// `re.fullmatch(pattern, text)`.
    pub fn full(place: &'static str, pattern: &str) -> Result<Self, TargetError> {
        Self::build(place, pattern, format!(r"\A(?:{pattern})\z"))
    }

    /// `re.match(f"{before}{pattern}{after}", text)`, spliced as Python's f-string does.
    pub fn spliced(
        place: &'static str,
        before: &str,
        pattern: &str,
        after: &str,
    ) -> Result<Self, TargetError> {
        Self::build(place, pattern, format!(r"\A(?:{before}{pattern}{after})"))
    }

    fn build(place: &'static str, shown: &str, whole: String) -> Result<Self, TargetError> {
        let refuse = |reason| TargetError::Pattern {
            place,
            pattern: shorten(shown),
            reason,
        };
        if whole.len() > PATTERN_LIMIT {
            let reason = format!("is {} bytes long, above {PATTERN_LIMIT}", whole.len());
            return Err(refuse(reason));
        }
        let regex = RegexBuilder::new(&whole)
            .delegate_size_limit(COMPILED_LIMIT)
            .delegate_dfa_size_limit(COMPILED_LIMIT)
            .backtrack_limit(STEP_LIMIT)
            .build()
            .map_err(|e| refuse(shorten(&format!("is not valid: {e}"))))?;
        Ok(Self { place, regex })
    }

    pub fn is_match(&self, text: &str) -> Result<bool, TargetError> {
        self.regex.is_match(text).map_err(|e| self.too_slow(&e))
    }

    pub fn captures<'t>(&self, text: &'t str) -> Result<Option<Captures<'t>>, TargetError> {
        self.regex.captures(text).map_err(|e| self.too_slow(&e))
    }

    fn too_slow(&self, error: &fancy_regex::Error) -> TargetError {
        TargetError::Pattern {
            place: self.place,
            pattern: shorten(self.regex.as_str()),
            reason: shorten(&format!("cannot be decided: {error}")),
        }
    }
}

/// Values keyed by patterns, such as `rank_pattern` and `alpha_pattern`.
#[derive(Debug, Clone)]
pub struct PatternMap<V> {
    entries: Vec<(String, Pattern, V)>,
}

impl<V> Default for PatternMap<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<V> PatternMap<V> {
    /// Compiles the keys; `place` names the setting in errors.
    ///
    /// # Errors
    /// [`TargetError::Pattern`].
    pub fn new<K: Into<String>>(
        place: &'static str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, TargetError> {
        let compile = |(key, value): (K, V)| {
            let key = key.into();
            // PEFT: re.match(rf"(.*\.)?({key})$", path)
            let pattern = Pattern::spliced(place, r"(.*\.)?(", &key, r")$")?;
            Ok((key, pattern, value))
        };
        Ok(Self {
            entries: entries.into_iter().map(compile).collect::<Result<_, _>>()?,
        })
    }

    /// The value of the first key, in file order, that matches the end of the path at a dot;
    /// failing that, of a key equal to the path (PEFT's `get_pattern_key` falls back on the path).
    ///
    /// # Errors
    /// [`TargetError::Pattern`] if a pattern takes too many steps.
    pub fn get(&self, module_path: &str) -> Result<Option<&V>, TargetError> {
        for (_, pattern, value) in &self.entries {
            if pattern.is_match(module_path)? {
                return Ok(Some(value));
            }
        }
        Ok(self
            .entries
            .iter()
            .find(|e| e.0 == module_path)
            .map(|e| &e.2))
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries
            .iter()
            .map(|(key, _, value)| (key.as_str(), value))
    }
}

/// One look-up in an uncompiled map; for many, build a [`PatternMap`].
///
/// # Errors
/// [`TargetError::Pattern`].
pub fn pattern_value<'a, K: Borrow<str>, V>(
    patterns: &'a IndexMap<K, V>,
    module_path: &str,
) -> Result<Option<&'a V>, TargetError> {
    let entries = patterns.iter().map(|(key, value)| (key.borrow(), value));
    Ok(PatternMap::new("pattern", entries)?
        .get(module_path)?
        .copied())
}
