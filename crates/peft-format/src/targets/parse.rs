//! Targets as text: command-line arguments and messages.

use std::fmt;

use super::{TargetError, TargetModules};
use crate::error::shorten;

impl TargetModules {
    /// Reads a command-line argument: `query,value`, `all-linear`, or `regex:...`.
    ///
    /// Without the prefix, text with characters that module paths never hold is a regex, too:
    /// `.*layers\.[0-3]\..*q_proj`. A comma inside such text belongs to the regex.
    ///
    /// # Errors
    /// [`TargetError::Setting`] for an empty list or entry, [`TargetError::Pattern`].
    pub fn parse_cli(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        let regex = text.strip_prefix("regex:");
        if let Some(regex) = regex.or_else(|| text.contains(is_meta).then_some(text)) {
            super::pattern::Pattern::full("target_modules", regex)?;
            return Ok(Self::Regex(regex.to_owned()));
        }
        if text.eq_ignore_ascii_case("all-linear") {
            return Ok(Self::AllLinear);
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err(TargetError::Setting {
                place: "target_modules",
                expected: "names separated by commas, `all-linear`, or `regex:...`",
                found: format!("`{}`", shorten(text)),
            });
        }
        Ok(Self::List(names))
    }

    /// Reads the string form of a configuration: `all-linear` in any case, else a regex.
    pub fn from_config_str(text: &str) -> Self {
        if text.eq_ignore_ascii_case("all-linear") {
            Self::AllLinear
        } else {
            Self::Regex(text.to_owned())
        }
    }
}

/// A dot is left out: it is common in paths, and a pattern of nothing but dots is rare.
fn is_meta(c: char) -> bool {
    "*+?[](){}|^$\\".contains(c)
}

impl fmt::Display for TargetModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(names) => f.write_str(&shorten(&format!("{names:?}"))),
            Self::Regex(regex) => write!(f, "regex `{}`", shorten(regex)),
            Self::AllLinear => f.write_str("`all-linear`"),
            Self::Unspecified => f.write_str("null (none given)"),
        }
    }
}
