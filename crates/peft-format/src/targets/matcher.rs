//! PEFT's `check_target_module_exists`, compiled once and asked per module.

use super::pattern::Pattern;
use super::{Exclude, TargetError, TargetModules, TargetSpec};
use crate::error::shorten;

/// Compiled targets.
#[derive(Debug, Clone)]
pub struct TargetMatcher {
    modules: Rule,
    exclude: Option<Rule>,
    saved: Vec<Pattern>,
    layers: Option<Layers>,
}

#[derive(Debug, Clone)]
enum Rule {
    List(Vec<String>),
    Regex(Pattern),
    Everything,
    Nothing,
}

#[derive(Debug, Clone)]
struct Layers {
    numbers: Vec<usize>,
    patterns: Vec<Pattern>,
}

impl TargetSpec {
    /// Compiles the patterns and checks that the settings go together.
    ///
    /// # Errors
    /// [`TargetError::Pattern`] or [`TargetError::Setting`].
    pub fn compile(&self) -> Result<TargetMatcher, TargetError> {
        let modules = match &self.modules {
            TargetModules::List(names) => Rule::List(names.clone()),
            TargetModules::Regex(regex) => Rule::Regex(Pattern::full("target_modules", regex)?),
            TargetModules::AllLinear => Rule::Everything,
            TargetModules::Unspecified => Rule::Nothing,
        };
        let exclude = match &self.exclude {
            None => None,
            Some(Exclude::List(names)) => Some(Rule::List(names.clone())),
            // Python takes the empty string for "no exclusion".
            Some(Exclude::Regex(regex)) if regex.is_empty() => None,
            Some(Exclude::Regex(regex)) => {
                Some(Rule::Regex(Pattern::full("exclude_modules", regex)?))
            }
        };
        let saved = self.modules_to_save.iter();
        let saved = saved
            .map(|name| Pattern::spliced("modules_to_save", r"(^|.*\.)", name, r"($|\..*)"))
            .collect::<Result<_, _>>()?;
        Ok(TargetMatcher {
            modules,
            exclude,
            saved,
            layers: self.layers()?,
        })
    }

    /// Whether the module at this path is a target; see [`TargetMatcher::matches`].
    ///
    /// Compiles the patterns on every call; for many paths, use [`compile`](Self::compile).
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn matches(&self, module_path: &str) -> Result<bool, TargetError> {
        self.compile()?.matches(module_path)
    }

    fn layers(&self) -> Result<Option<Layers>, TargetError> {
        let numbers = self.layers_to_transform.clone();
        let patterns = self.layers_pattern.as_deref().unwrap_or_default();
        let whole_paths = matches!(
            self.modules,
            TargetModules::Regex(_) | TargetModules::AllLinear
        );
        if whole_paths && (numbers.is_some() || self.layers_pattern.is_some()) {
            return Err(TargetError::Setting {
                place: "layers_to_transform",
                expected: "no layer settings beside a regex or all-linear (put the numbers into the regex)",
                found: shorten(&format!("{numbers:?}, layers_pattern {patterns:?}")),
            });
        }
        let Some(numbers) = numbers else {
            if patterns.is_empty() {
                return Ok(None);
            }
            return Err(TargetError::Setting {
                place: "layers_pattern",
                expected: "layers_to_transform beside it",
                found: shorten(&format!("only {patterns:?}")),
            });
        };
        if numbers.is_empty() {
            return Ok(None);
        }
        // The lazy prefix finds the first number, not that of an expert inside the layer.
        let number = r"\.(?P<idx>\d+)\.";
        let patterns = if patterns.is_empty() {
            vec![Pattern::spliced(
                "layers_pattern",
                r".*?\.",
                "[^.]*",
                number,
            )?]
        } else {
            let compile =
                |p: &String| Pattern::spliced("layers_pattern", r"(?:^|.*?\.)", p, number);
            patterns.iter().map(compile).collect::<Result<_, _>>()?
        };
        Ok(Some(Layers { numbers, patterns }))
    }
}

impl TargetMatcher {
    /// Whether the module at this path is a target, by its path alone.
    ///
    /// With [`TargetModules::AllLinear`] every path is that is not excluded: only
    /// [`TargetSpec::resolve`] knows which modules are linear and which are heads.
    ///
    /// # Errors
    /// [`TargetError::Pattern`] if a pattern takes too many steps.
    pub fn matches(&self, path: &str) -> Result<bool, TargetError> {
        if self.excludes(path)? {
            return Ok(false);
        }
        match &self.modules {
            // As in PEFT, an entry that is the whole path is not subject to the layer filter.
            Rule::List(names) if names.iter().any(|name| name == path) => Ok(true),
            Rule::List(names) => {
                Ok(names.iter().any(|name| ends_in(path, name)) && self.in_layers(path)?)
            }
            rule => rule.matches(path),
        }
    }

    /// Whether `exclude_modules` or `modules_to_save` takes the module out.
    ///
    /// # Errors
    /// [`TargetError::Pattern`] if a pattern takes too many steps.
    pub fn excludes(&self, path: &str) -> Result<bool, TargetError> {
        if let Some(rule) = &self.exclude
            && rule.matches(path)?
        {
            return Ok(true);
        }
        for pattern in &self.saved {
            if pattern.is_match(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn in_layers(&self, path: &str) -> Result<bool, TargetError> {
        let Some(layers) = &self.layers else {
            return Ok(true);
        };
        for pattern in &layers.patterns {
            // The first pattern that matches decides, as in PEFT.
            if let Some(found) = pattern.captures(path)? {
                let number = found.name("idx").and_then(|m| m.as_str().parse().ok());
                return Ok(number.is_some_and(|n: usize| layers.numbers.contains(&n)));
            }
        }
        Ok(false)
    }
}

impl Rule {
    fn matches(&self, path: &str) -> Result<bool, TargetError> {
        match self {
            Self::List(names) => Ok(names.iter().any(|n| n == path || ends_in(path, n))),
            Self::Regex(pattern) => pattern.is_match(path),
            Self::Everything => Ok(true),
            Self::Nothing => Ok(false),
        }
    }
}

/// `path.endswith(f".{name}")`.
pub(super) fn ends_in(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|rest| rest.ends_with('.'))
}
