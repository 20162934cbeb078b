//! One parameter of a space: its levels and what they mean.

use serde::{Deserialize, Serialize};

use crate::SearchError;

/// The values a parameter can take, as a finite list of levels `0..count`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Domain {
    /// Off (level 0) or on (level 1).
    Binary,
    /// Choices without an order; the level is the index of the choice.
    Categorical {
        /// The names of the choices, at least two, all different.
        choices: Vec<String>,
    },
    /// Numbers in an order that matters more than their differences: sizes, ranks. The level is the index.
    Ordinal {
        /// The numbers in the order meant, at least two.
        values: Vec<f64>,
        /// The level at which the thing sized is not there at all, where there is one: close to its neighbour in
        /// the order but far in effect, so that models see a bit of its own for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        absent: Option<u32>,
    },
    /// The integers `low..=high`; the level is the distance from `low`.
    Integer {
        /// The smallest value.
        low: i64,
        /// The largest value.
        high: i64,
        /// Whether models see its logarithm; `low` is then at least 1.
        #[serde(default)]
        log: bool,
    },
    /// Equally spaced real numbers from `low` to `high`.
    Real {
        /// The smallest value.
        low: f64,
        /// The largest value.
        high: f64,
        /// Whether they are equally spaced in the logarithm; `low` is then above 0.
        #[serde(default)]
        log: bool,
        /// How many, at least two: 65,536 unless said, 16 bits of resolution.
        #[serde(default = "default_levels")]
        levels: u32,
    },
}

fn default_levels() -> u32 {
    1 << 16
}

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a [`Domain::Binary`].
    Flag(bool),
    /// Of a [`Domain::Integer`].
    Integer(i64),
    /// Of a [`Domain::Ordinal`] or a [`Domain::Real`].
    Number(f64),
    /// Of a [`Domain::Categorical`].
    Choice(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Flag(on) => f.write_str(if *on { "on" } else { "off" }),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Choice(name) => f.write_str(name),
        }
    }
}

/// A parameter counts only while another one is at certain levels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The name of the other parameter, which comes earlier in the space.
    pub parent: String,
    /// The other's levels at which this parameter counts.
    pub levels: Vec<u32>,
}

/// A named parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, unique in the space.
    pub name: String,
    /// Its values.
    pub domain: Domain,
    /// When it counts; always, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

impl Parameter {
    /// A parameter that always counts.
    pub fn new(name: impl Into<String>, domain: Domain) -> Self {
        Self {
            name: name.into(),
            domain,
            condition: None,
        }
    }

    /// The same parameter, counting only while `parent` is at one of `levels`.
    pub fn when(mut self, parent: impl Into<String>, levels: Vec<u32>) -> Self {
        self.condition = Some(Condition {
            parent: parent.into(),
            levels,
        });
        self
    }

    /// What it can be, in words.
    fn values(&self) -> String {
        match &self.domain {
            Domain::Binary => "on or off".to_owned(),
            Domain::Categorical { choices } => choices.join(", "),
            Domain::Ordinal { values, .. } => {
                let values: Vec<String> = values.iter().map(f64::to_string).collect();
                values.join(", ")
            }
            Domain::Integer { low, high, .. } => format!("whole numbers from {low} to {high}"),
            Domain::Real { low, high, .. } => format!("numbers from {low} to {high}"),
        }
    }

    fn refuse(&self, reason: impl Into<String>) -> SearchError {
        SearchError::Parameter {
            parameter: self.name.clone(),
            reason: reason.into(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), SearchError> {
        match &self.domain {
            Domain::Binary => {}
            Domain::Categorical { choices } => {
                if choices.len() < 2 || choices.len() > MOST_LEVELS as usize {
                    return Err(self.refuse("a categorical parameter has 2 to 2^31 choices"));
                }
                let different: std::collections::BTreeSet<_> = choices.iter().collect();
                if different.len() < choices.len() {
                    return Err(self.refuse("two of its choices have the same name"));
                }
            }
            Domain::Ordinal { values, absent } => {
                if values.len() < 2 || values.iter().any(|v| !v.is_finite()) {
                    return Err(self.refuse("an ordinal parameter has two or more finite values"));
                }
                if absent.is_some_and(|level| level as usize >= values.len()) {
                    return Err(self.refuse("its absent level is not one of its levels"));
                }
            }
            Domain::Integer { low, high, log } => {
                let span = i128::from(*high) - i128::from(*low);
                if !(1..i128::from(MOST_LEVELS)).contains(&span) {
                    return Err(self.refuse("low must be below high, by less than 2^31"));
                }
                if *log && *low < 1 {
                    return Err(self.refuse("low must be 1 or more where the scale is logarithmic"));
                }
            }
            Domain::Real {
                low,
                high,
                log,
                levels,
            } => {
                // The difference of finite numbers may be past all of them.
                if !(low < high && (high - low).is_finite()) {
                    return Err(self.refuse("low must be below high, by a finite number"));
                }
                if *log && *low <= 0.0 {
                    return Err(self.refuse("low must be above 0 where the scale is logarithmic"));
                }
                if !(2..=MOST_LEVELS).contains(levels) {
                    return Err(self.refuse("it must have 2 to 2^31 levels"));
                }
            }
        }
        Ok(())
    }

    /// How many levels it has.
    pub fn levels(&self) -> u32 {
        match &self.domain {
            Domain::Binary => 2,
            Domain::Categorical { choices } => choices.len() as u32,
            Domain::Ordinal { values, .. } => values.len() as u32,
            Domain::Integer { low, high, .. } => (high - low + 1) as u32,
            Domain::Real { levels, .. } => *levels,
        }
    }

    /// The value at a level; a level past the last gives the last value.
    pub fn value(&self, level: u32) -> Value {
        let level = level.min(self.levels() - 1);
        match &self.domain {
            Domain::Binary => Value::Flag(level == 1),
            Domain::Categorical { choices } => Value::Choice(choices[level as usize].clone()),
            Domain::Ordinal { values, .. } => Value::Number(values[level as usize]),
            Domain::Integer { low, .. } => Value::Integer(low + i64::from(level)),
            Domain::Real {
                low,
                high,
                log,
                levels,
            } => {
                let share = f64::from(level) / f64::from(levels - 1);
                Value::Number(if *log {
                    (low.ln() + share * (high.ln() - low.ln()))
                        .exp()
                        .clamp(*low, *high)
                } else {
                    low + share * (high - low)
                })
            }
        }
    }

    /// The value that a text means, `true` or `on` of a flag.
    ///
    /// # Errors
    ///
    /// [`SearchError::Parameter`] of a text that is none of the parameter's values.
    pub fn parse(&self, text: &str) -> Result<Value, SearchError> {
        let number = || text.trim().parse::<f64>().ok();
        let value = match (&self.domain, text.trim()) {
            (Domain::Binary, "true" | "on" | "1") => Some(Value::Flag(true)),
            (Domain::Binary, "false" | "off" | "0") => Some(Value::Flag(false)),
            (Domain::Binary, _) => None,
            (Domain::Categorical { .. }, text) => Some(Value::Choice(text.to_owned())),
            (Domain::Integer { .. }, text) => text.parse().ok().map(Value::Integer),
            (Domain::Ordinal { .. } | Domain::Real { .. }, _) => number().map(Value::Number),
        };
        let value = value.ok_or_else(|| self.none_of(text))?;
        self.level(&value).map(|_| value)
    }

    /// The value that changes nothing about a default, where there is one: on of a flag, a factor of 1.
    pub fn neutral(&self) -> Option<Value> {
        let value = match &self.domain {
            Domain::Binary => Value::Flag(true),
            Domain::Ordinal { .. } => Value::Number(1.0),
            _ => return None,
        };
        self.level(&value).ok().map(|_| value)
    }

    /// The level of a value: exact for flags, choices, integers and ordinals, the nearest level for real numbers.
    pub fn level(&self, value: &Value) -> Result<u32, SearchError> {
        let level = match (&self.domain, value) {
            (Domain::Binary, Value::Flag(on)) => Some(u32::from(*on)),
            (Domain::Categorical { choices }, Value::Choice(name)) => choices
                .iter()
                .position(|choice| choice == name)
                .map(|index| index as u32),
            (Domain::Ordinal { values, .. }, Value::Number(number)) => values
                .iter()
                .position(|v| v == number)
                .map(|index| index as u32),
            (Domain::Ordinal { values, .. }, Value::Integer(number)) => values
                .iter()
                .position(|v| *v == *number as f64)
                .map(|index| index as u32),
            (Domain::Integer { low, high, .. }, Value::Integer(number)) => (low..=high)
                .contains(&number)
                .then(|| (number - low) as u32),
            (
                Domain::Real {
                    low,
                    high,
                    log,
                    levels,
                },
                Value::Number(number),
            ) => (*low..=*high).contains(number).then(|| {
                let share = if *log {
                    (number.ln() - low.ln()) / (high.ln() - low.ln())
                } else {
                    (number - low) / (high - low)
                };
                (share * f64::from(levels - 1)).round() as u32
            }),
            (Domain::Real { .. }, Value::Integer(number)) => {
                return self.level(&Value::Number(*number as f64));
            }
            _ => None,
        };
        level.ok_or_else(|| self.none_of(value))
    }

    fn none_of(&self, value: impl std::fmt::Display) -> SearchError {
        self.refuse(format!(
            "`{value}` is none of its values: {}",
            self.values()
        ))
    }

    /// The level's place in the parameter's range, 0 to 1, on the scale that models see.
    pub(crate) fn place(&self, level: u32) -> f64 {
        match &self.domain {
            Domain::Integer {
                low,
                high,
                log: true,
            } => {
                let (low, high) = (*low as f64, *high as f64);
                ((low + f64::from(level)) / low).ln() / (high / low).ln()
            }
            _ => f64::from(level) / f64::from(self.levels() - 1),
        }
    }

    /// The levels one exchange away: all others where they are few or without an order, else ±1, ±2, ±4 and so on.
    pub(super) fn exchanges(&self, level: u32) -> Vec<u32> {
        let count = self.levels();
        let few = count <= MOST_EXCHANGES || matches!(self.domain, Domain::Categorical { .. });
        if few {
            return (0..count).filter(|&other| other != level).collect();
        }
        let mut found = Vec::with_capacity(64);
        let mut step = 1;
        while step < count {
            if let Some(below) = level.checked_sub(step) {
                found.push(below);
            }
            if level + step < count {
                found.push(level + step);
            }
            step *= 2;
        }
        found
    }
}

/// So that sums of two levels stay within `u32`.
const MOST_LEVELS: u32 = 1 << 31;
/// Up to here the neighbourhood holds every other level.
const MOST_EXCHANGES: u32 = 33;
