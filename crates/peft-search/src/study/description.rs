//! What a study was begun with: written once, never changed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use crate::{Asha, Objective, Policy, Problem, SearchError, Settings, Space};

/// The description's name in a study's folder.
pub const DESCRIPTION: &str = "study.json";
/// The form of descriptions and journals that this version reads and writes.
const VERSION: u32 = 1;
/// Largest description that is read.
pub(super) const LARGEST: u64 = 16 << 20;

/// What a study is: everything that its proposals depend on, besides its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The form of this file and of the journal, 1.
    pub version: u32,
    /// Its name in reports.
    pub name: String,
    /// What is searched.
    pub space: Space,
    /// The objectives.
    pub objectives: Vec<Objective>,
    /// The reference point in the objectives' own units.
    pub reference: Vec<f64>,
    /// What is made of trials without values.
    #[serde(default)]
    pub policy: Policy,
    /// How many workers may be lost with a trial before it counts as failed.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// What chooses the trials.
    pub settings: Settings,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The resource (epochs, as a rule) that a full trial uses, where trials report on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<u32>,
    /// Which trials are stopped early; none, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruning: Option<Asha>,
    /// When the study ends.
    #[serde(default)]
    pub budget: Budget,
    /// What else the trials depend on (model, data, training settings), for whoever runs them. Compared when a study is
    /// opened, and shown in its report.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub context: serde_json::Map<String, serde_json::Value>,
}

fn default_attempts() -> u32 {
    Description::ATTEMPTS
}

impl Description {
    /// How many workers may be lost with a trial where nothing is said.
    pub const ATTEMPTS: u32 = 3;

    /// The description of a study of a problem, without a budget and pruning.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where the problem has no reference point: a study's must not change under way.
    pub fn new(
        name: impl Into<String>,
        problem: &Problem,
        settings: Settings,
        seed: u64,
    ) -> Result<Self, SearchError> {
        let Some(reference) = problem.reference() else {
            return Err(SearchError::Study {
                reason:
                    "its problem has no reference point: give one, the worst values that still \
                         count in each objective"
                        .into(),
            });
        };
        Ok(Self {
            version: VERSION,
            name: name.into(),
            space: problem.space().clone(),
            objectives: problem.objectives().to_vec(),
            reference: reference.to_vec(),
            policy: problem.policy(),
            attempts: default_attempts(),
            settings,
            seed,
            full: None,
            pruning: None,
            budget: Budget::default(),
            context: serde_json::Map::new(),
        })
    }

    /// The problem, with known values as the journal has them.
    ///
    /// # Errors
    ///
    /// Those of [`Problem::recorded`].
    pub fn problem(&self) -> Result<Problem, SearchError> {
        let (space, objectives) = (self.space.clone(), self.objectives.clone());
        let problem = Problem::recorded(space, objectives, Some(self.reference.clone()))?;
        Ok(problem.with_policy(self.policy))
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    ///
    /// [`SearchError`] of the first setting that is out of its range.
    pub fn check(&self) -> Result<(), SearchError> {
        let refuse = |reason: String| Err(SearchError::Study { reason });
        if self.version != VERSION {
            return refuse(format!(
                "it has form {}, this version reads form {VERSION}: continue with the version that began it",
                self.version
            ));
        }
        if self.attempts == 0 {
            return refuse("attempts is 0: a trial needs at least one".into());
        }
        if self.full == Some(0) {
            return refuse("a full trial uses a resource of 1 or more, not 0".into());
        }
        self.settings.check_ranges()?;
        self.budget.check(self.full)?;
        if let Some(asha) = &self.pruning {
            asha.check()?;
            if self.full != Some(asha.most) {
                return refuse(format!(
                    "pruning takes {} for a full trial, the study {:?}: they must be the same",
                    asha.most, self.full
                ));
            }
        }
        self.problem().map(drop)
    }

    /// Reads the description in a study's folder.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where there is none or it is no description.
    pub fn read(folder: &Path) -> Result<Self, SearchError> {
        Self::read_file(&folder.join(DESCRIPTION))
    }

    /// Reads the description in a file.
    pub(crate) fn read_file(path: &Path) -> Result<Self, SearchError> {
        let bytes = peft_format::bounded::read(path, "description of a study", LARGEST).map_err(
            |error| SearchError::Study {
                reason: format!("{error}: is this the folder of a study?"),
            },
        )?;
        Self::parse(&bytes, &path.display().to_string())
    }

    /// The description in the text that `place` holds.
    pub(super) fn parse(text: &[u8], place: &str) -> Result<Self, SearchError> {
        let read: Self = serde_json::from_slice(text).map_err(|error| SearchError::Journal {
            path: place.to_owned(),
            line: error.line() as u64,
            reason: error.to_string(),
        })?;
        read.check()?;
        Ok(read)
    }

    /// Its text.
    pub(super) fn text(&self) -> Result<String, SearchError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| SearchError::Study {
            reason: error.to_string(),
        })?;
        Ok(text + "\n")
    }

    /// Writes it to a file, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where it cannot be written.
    pub(crate) fn write_file(&self, path: &Path) -> Result<(), SearchError> {
        let text = self.text()?;
        peft_format::atomic::write_atomic_bytes(path, text.as_bytes()).map_err(|error| {
            SearchError::Study {
                reason: error.to_string(),
            }
        })
    }

    /// What another description, with which the study was to be opened, has otherwise. The budget may change: a study
    /// is prolonged so.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        // Studies of two kinds differ in everything, and the name says it all.
        if self.name != other.name {
            return vec![format!("it is `{}`, not `{}`", self.name, other.name)];
        }
        let value = |description: &Self| {
            let mut value = serde_json::to_value(description).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.remove("budget");
            }
            value
        };
        let mut found = Vec::new();
        compare("", Some(&value(self)), Some(&value(other)), &mut found);
        let more = found.len().saturating_sub(MOST_DIFFERENCES);
        found.truncate(MOST_DIFFERENCES);
        found.extend((more > 0).then(|| format!("{more} more differ")));
        found
    }
}

/// Differences that are told.
const MOST_DIFFERENCES: usize = 5;

/// Tell what differs below a path, leaf by leaf.
fn compare(
    path: &str,
    own: Option<&serde_json::Value>,
    other: Option<&serde_json::Value>,
    found: &mut Vec<String>,
) {
    use serde_json::Value;
    if own == other {
        return;
    }
    if let (Some(Value::Object(own)), Some(Value::Object(other))) = (own, other) {
        let names: std::collections::BTreeSet<&String> = own.keys().chain(other.keys()).collect();
        for name in names {
            let below = match path {
                // What it is about, which its settings stand in.
                "" if name == "seed" => "the seed of the search".to_owned(),
                "context" if name == "contents" => "the model's or the data's contents".to_owned(),
                "" | "context" | "run" => name.clone(),
                path => format!("{path}.{name}"),
            };
            compare(&below, own.get(name), other.get(name), found);
        }
        return;
    }
    let show = |value: Option<&Value>| {
        let text = value.map_or("nothing".to_owned(), Value::to_string);
        match text.char_indices().nth(80) {
            Some((end, _)) => format!("{} …", &text[..end]),
            None => text,
        }
    };
    found.push(format!("{path} was {}, is {}", show(own), show(other)));
}
