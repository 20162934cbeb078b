//! Rotary positions: frequencies and their rescalings.

use std::f64::consts::PI;

use super::{Fault, fields::ConfigFields};

const FIX: &str = "use a checkpoint whose rotary positions are of a supported kind: default, linear, \
                   dynamic, llama3, yarn or longrope";

/// Rotary position embedding (Su et al. 2021) of the first channels of every head.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Channels of a head that are rotated, an even number; the rest passes through.
    pub width: usize,
    /// Base of the frequencies, `θ^(−2i/width)`.
    pub theta: f64,
    /// Longest sequence of the model.
    pub max_positions: usize,
    /// How frequencies are stretched.
    pub scaling: RopeScaling,
}

/// How the frequencies of rotary positions are stretched beyond the length of pretraining.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// A larger base for sequences beyond the model's length (NTK-aware).
    Dynamic {
        /// The factor.
        factor: f64,
    },
    /// Long wavelengths divided by a factor, short ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths beyond `original / low` are divided.
        low: f64,
        /// Wavelengths below `original / high` are kept.
        high: f64,
        /// Length of pretraining.
        original: f64,
    },
    /// A ramp over the channels between divided and kept frequencies, and warmer attention (Peng et al.
    /// 2023).
    Yarn {
        /// The factor.
        factor: f64,
        /// Channels that turn more often than this over the length of pretraining are kept.
        fast: f64,
        /// Channels that turn less often are divided.
        slow: f64,
        /// Length of pretraining.
        original: f64,
        /// Whether the ends of the ramp are whole channels.
        truncate: bool,
        /// Factor of cosines and sines.
        attention: f64,
    },
    /// A divisor for each channel, one list for short and one for long sequences (Phi-3).
    LongRope {
        /// Divisors up to the length of pretraining.
        short: Vec<f64>,
        /// Divisors beyond.
        long: Vec<f64>,
        /// Length of pretraining.
        original: usize,
        /// Factor of cosines and sines.
        attention: f64,
    },
}

impl RopeConfig {
    /// Reads `rope_scaling`, or the `rope_parameters` of newer files, and `rope_theta` within or beside it.
    pub(super) fn read(
        fields: ConfigFields,
        parameters: Option<ConfigFields>,
        width: usize,
        theta: f64,
        max_positions: usize,
    ) -> Result<Self, Fault> {
        if width == 0 || !width.is_multiple_of(2) {
            return Err((
                format!("{width} channels of a head cannot be rotated in pairs"),
                FIX,
            ));
        }
        let own = parameters
            .map(|own| own.number("rope_theta"))
            .transpose()?
            .flatten();
        let theta = match own {
            Some(theta) => theta,
            None => fields.number("rope_theta")?.unwrap_or(theta),
        };
        if theta <= 1.0 {
            return Err((
                format!("`rope_theta` is {theta}, expected more than 1"),
                FIX,
            ));
        }
        let scaling = match parameters {
            Some(own) => RopeScaling::read(fields, own, width, max_positions)?,
            None => RopeScaling::None,
        };
        Ok(Self {
            width,
            theta,
            max_positions,
            scaling,
        })
    }

    /// The length beyond which a sequence's positions are other ones from its first token on, where there is
    /// one. Positions that change with every further token (`dynamic`) have none: as in transformers, tokens
    /// keep those that they had when they came.
    pub fn switches_beyond(&self) -> Option<usize> {
        match &self.scaling {
            RopeScaling::LongRope { original, .. } => Some(*original),
            _ => None,
        }
    }

    /// Frequencies of the pairs of channels, in radians a position, and the factor of cosines and sines,
    /// for a batch whose longest sequence has so many tokens.
    pub fn frequencies(&self, longest: usize) -> (Vec<f64>, f64) {
        let pairs = self.width / 2;
        let base = |theta: f64| -> Vec<f64> {
            let exponent = |pair| -2.0 * pair as f64 / self.width as f64;
            (0..pairs).map(|pair| theta.powf(exponent(pair))).collect()
        };
        let plain = base(self.theta);
        match &self.scaling {
            RopeScaling::None => (plain, 1.0),
            RopeScaling::Linear { factor } => {
                (plain.into_iter().map(|f| f / factor).collect(), 1.0)
            }
            RopeScaling::Dynamic { factor } => {
                let (most, width) = (self.max_positions as f64, self.width as f64);
                let length = (longest as f64).max(most);
                let stretched = factor * length / most - (factor - 1.0);
                // A single pair has no other frequency than 1.
                let exponent = if self.width > 2 {
                    width / (width - 2.0)
                } else {
                    0.0
                };
                (base(self.theta * stretched.powf(exponent)), 1.0)
            }
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let stretch = |f: f64| {
                    let wavelength = 2.0 * PI / f;
                    if wavelength < original / high {
                        return f;
                    }
                    if wavelength > original / low {
                        return f / factor;
                    }
                    let t = (original / wavelength - low) / (high - low);
                    (1.0 - t) * f / factor + t * f
                };
                (plain.into_iter().map(stretch).collect(), 1.0)
            }
            RopeScaling::Yarn {
                factor,
                fast,
                slow,
                original,
                truncate,
                attention,
            } => {
                let width = self.width as f64;
                let channel = |turns: f64| {
                    width * (original / (2.0 * PI * turns)).ln() / (2.0 * self.theta.ln())
                };
                let (mut first, mut last) = (channel(*fast), channel(*slow));
                if *truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                let (first, mut last) = (first.max(0.0), last.min(width - 1.0));
                if first == last {
                    last += 0.001;
                }
                let stretch = |(pair, f): (usize, f64)| {
                    let ramp = ((pair as f64 - first) / (last - first)).clamp(0.0, 1.0);
                    f / factor * ramp + f * (1.0 - ramp)
                };
                (
                    plain.into_iter().enumerate().map(stretch).collect(),
                    *attention,
                )
            }
            RopeScaling::LongRope {
                short,
                long,
                original,
                attention,
            } => {
                let divisors = if longest > *original { long } else { short };
                let stretched = plain.iter().zip(divisors).map(|(f, divisor)| f / divisor);
                (stretched.collect(), *attention)
            }
        }
    }
}

impl RopeScaling {
    fn read(
        fields: ConfigFields,
        own: ConfigFields,
        width: usize,
        max_positions: usize,
    ) -> Result<Self, Fault> {
        let kind = own.text(&["rope_type", "type"])?.unwrap_or("default");
        let most = max_positions as f64;
        let original = |name| -> Result<f64, Fault> {
            let within = own.number(name)?;
            Ok(within.unwrap_or(most))
        };
        let original_name = "original_max_position_embeddings";
        Ok(match kind {
            "default" => Self::None,
            "linear" => Self::Linear {
                factor: own.positive("factor", 1.0)?,
            },
            "dynamic" => Self::Dynamic {
                factor: own.positive("factor", 1.0)?,
            },
            "llama3" => Self::Llama3 {
                factor: own.positive("factor", 1.0)?,
                low: own.positive("low_freq_factor", 1.0)?,
                high: own.positive("high_freq_factor", 4.0)?,
                original: original(original_name)?,
            },
            "yarn" => {
                let original = original(original_name)?;
                let factor = own.positive("factor", most / original)?;
                let warmth = |scale: f64| match factor > 1.0 {
                    true => 0.1 * scale * factor.ln() + 1.0,
                    false => 1.0,
                };
                let scales = (own.number("mscale")?, own.number("mscale_all_dim")?);
                let attention = match (own.number("attention_factor")?, scales) {
                    (Some(attention), _) => attention,
                    (None, (Some(one), Some(all))) if one != 0.0 && all != 0.0 => {
                        warmth(one) / warmth(all)
                    }
                    _ => warmth(1.0),
                };
                Self::Yarn {
                    factor,
                    fast: own.positive("beta_fast", 32.0)?,
                    slow: own.positive("beta_slow", 1.0)?,
                    original,
                    truncate: own.flag("truncate", true)?,
                    attention,
                }
            }
            "longrope" | "su" => {
                // Phi-3 has it beside the other fields, and that wins.
                let original = match fields.number(original_name)? {
                    Some(original) => original,
                    None => original(original_name)?,
                };
                let factor = own.positive("factor", most / original)?;
                let attention = match own.number("attention_factor")? {
                    Some(attention) => attention,
                    None if factor <= 1.0 => 1.0,
                    None => (1.0 + factor.ln() / original.ln()).sqrt(),
                };
                Self::LongRope {
                    short: own.factors("short_factor", width / 2)?,
                    long: own.factors("long_factor", width / 2)?,
                    original: original as usize,
                    attention,
                }
            }
            other => {
                return Err((
                    format!("rotary positions of type `{other}` are not supported"),
                    FIX,
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rope(width: usize, most: usize, theta: f64, own: Value) -> RopeConfig {
        let (fields, own) = (serde_json::Map::new(), own.as_object().unwrap().clone());
        let own = Some(ConfigFields(&own));
        RopeConfig::read(ConfigFields(&fields), own, width, theta, most).unwrap()
    }

    fn near(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 1e-6,
            "{found} for {expected}"
        );
    }

    #[test]
    fn frequencies_are_those_of_transformers() {
        let own = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let (f, _) = rope(64, 131_072, 5e5, own).frequencies(8);
        let expected = [
            3.21144611e-3,
            1.29054801e-3,
            4.29556705e-4,
            9.70828623e-5,
            1.94616387e-5,
        ];
        for (f, expected) in f[14..].iter().zip(expected) {
            near(*f, expected);
        }
        near(f.iter().sum(), 2.96820240);
        for (own, theta, longest, sum, attention) in [
            (
                json!({"type": "linear", "factor": 4.0}),
                1e4,
                8,
                0.36558226,
                1.0,
            ),
            (
                json!({"type": "dynamic", "factor": 4.0}),
                1e4,
                128,
                1.33558042,
                1.0,
            ),
            (
                json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}),
                1e6,
                8,
                1.21422205,
                1.13862944,
            ),
        ] {
            let (f, found) = rope(16, 64, theta, own).frequencies(longest);
            near(f.iter().sum(), sum);
            near(found, attention);
        }
        let factors = |first: f64, step: f64| -> Vec<f64> {
            (0..8).map(|i| first + step * f64::from(i)).collect()
        };
        let own = json!({"type": "longrope", "original_max_position_embeddings": 4096,
            "short_factor": factors(1.0, 0.1), "long_factor": factors(2.0, 0.5)});
        let rope = rope(16, 131_072, 1e4, own);
        for (longest, sum) in [(4096, 1.40520037), (4097, 0.67231975)] {
            let (f, attention) = rope.frequencies(longest);
            near(f.iter().sum(), sum);
            near(attention, 1.19023807);
        }
    }

    #[test]
    fn unknown_kinds_are_named() {
        let own = json!({"rope_type": "spiral"});
        let fields = serde_json::Map::new();
        let own = Some(ConfigFields(own.as_object().unwrap()));
        let error = RopeConfig::read(ConfigFields(&fields), own, 8, 1e4, 64).unwrap_err();
        assert!(error.0.contains("spiral"), "{error:?}");
    }
}
