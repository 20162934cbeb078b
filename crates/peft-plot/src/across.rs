//! What a chart shows along its horizontal axis.

use crate::{Scale, chart::label};

/// What a chart shows along its horizontal axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Across {
    /// Steps of a run, from 0.
    Steps,
    /// Numbers.
    Numbers {
        /// What they are.
        name: String,
        /// Whether equal ratios are equally far apart. Then all of them are positive.
        logarithmic: bool,
    },
    /// Values that are no numbers, at equal distances: a point's place is its index.
    Names {
        /// What they are.
        name: String,
        /// The values.
        names: Vec<String>,
    },
}

impl Across {
    /// The words below the axis.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Steps => "step",
            Self::Numbers { name, .. } | Self::Names { name, .. } => name,
        }
    }

    pub(crate) fn scale(&self, values: &[f64], start: f64, end: f64) -> Scale {
        let last = values.iter().copied().fold(1.0, f64::max);
        match self {
            Self::Steps => Scale::between(0.0, last, start, end),
            Self::Numbers { logarithmic, .. } => {
                if *logarithmic && values.iter().all(|value| *value > 0.0) {
                    Scale::logarithmic(values, start, end)
                } else {
                    Scale::linear(values, start, end)
                }
            }
            Self::Names { names, .. } => {
                Scale::between(-0.5, names.len().max(1) as f64 - 0.5, start, end)
            }
        }
    }

    /// Values with their words.
    pub(crate) fn ticks(&self, scale: &Scale) -> Vec<(f64, String)> {
        match self {
            Self::Steps => {
                let whole = scale.ticks().into_iter().filter(|tick| tick.fract() == 0.0);
                whole.map(|tick| (tick, label(tick, 1.0))).collect()
            }
            Self::Numbers { .. } => {
                let ticks = scale.ticks().into_iter();
                ticks.map(|tick| (tick, number(tick))).collect()
            }
            Self::Names { names, .. } => {
                let named = names.iter().enumerate();
                named
                    .map(|(index, name)| (index as f64, name.clone()))
                    .collect()
            }
        }
    }

    /// A value in words.
    pub(crate) fn said(&self, value: f64) -> String {
        match self {
            Self::Steps => format!("step {value}"),
            Self::Numbers { .. } => number(value),
            Self::Names { names, .. } => {
                let name = names.get(value.round() as usize);
                name.cloned().unwrap_or_else(|| number(value))
            }
        }
    }
}

/// A number in few digits.
fn number(value: f64) -> String {
    // Sums and products of round numbers are not quite round.
    let value = format!("{value:.6e}").parse().unwrap_or(value);
    match value.abs() {
        0.0 | 1e-3..1e6 => format!("{value}"),
        _ => format!("{value:e}"),
    }
}
