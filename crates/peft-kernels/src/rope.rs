//! The angles of rotary position embedding, on the host and in double precision.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// How a model turns the positions of its queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Channels `R` of a head that are turned, the first ones: even.
    pub channels: usize,
    /// Base `θ` of the frequencies, as a rule 10 000.
    pub theta: f64,
    /// What stretches the positions beyond those of the pretraining.
    pub scaling: RopeScaling,
}

/// Ways to stretch rotary positions beyond those of the pretraining, under their names in a model's
/// configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// `default`: frequencies `fᵢ = θ^(−2i/R)` as they are.
    Default,
    /// `linear` (Chen et al. 2023): `fᵢ / factor`.
    Linear {
        /// By how much positions are compressed.
        factor: f64,
    },
    /// `dynamic` (NTK-aware): with `L` the longest sequence, once it is above `max_positions` `M`, the base is
    /// `θ (factor · L/M − (factor − 1))^(R/(R−2))`.
    Dynamic {
        /// Strength of the change.
        factor: f64,
        /// `max_position_embeddings`.
        max_positions: usize,
    },
    /// `llama3`: with the wavelength `w = 2π/fᵢ`, short ones (below `original / high`) keep their frequency, long ones
    /// (above `original / low`) have it divided by the factor, and between both
    /// `t = (original/w − low) / (high − low)` blends `(1 − t) fᵢ/factor + t fᵢ`.
    Llama3 {
        /// `factor`.
        factor: f64,
        /// `low_freq_factor`.
        low: f64,
        /// `high_freq_factor`.
        high: f64,
        /// `original_max_position_embeddings`.
        original: usize,
    },
    /// `yarn`.
    Yarn(Yarn),
    /// `longrope`, and `su`, its older name.
    LongRope(LongRope),
}

/// YaRN (Peng et al. 2023): with `corr(n) = R ln(o / 2πn) / 2 ln θ`, `fᵢ` goes over to `fᵢ / factor` along a ramp of `i`
/// from `corr(beta_fast)` to `corr(beta_slow)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// `s`; where a configuration has none, `max_position_embeddings / original`.
    pub factor: f64,
    /// `original_max_position_embeddings`, `o`.
    pub original: usize,
    /// Turns from which on a channel keeps its frequency, as a rule 32.
    pub beta_fast: f64,
    /// Turns up to which a channel is compressed in full, as a rule 1.
    pub beta_slow: f64,
    /// Whether the ends of the ramp are rounded outwards, as a rule true.
    pub truncate: bool,
    /// Factor of both tables, if the configuration names it.
    pub attention_factor: Option<f64>,
    /// `mscale`: with `mscale_all_dim` and without `attention_factor`, the factor of the tables is
    /// `g(mscale) / g(mscale_all_dim)`, otherwise `g(1)`; `g(m) = 0.1 m ln s + 1`, and 1 for `s ≤ 1`.
    pub mscale: Option<f64>,
    /// `mscale_all_dim`.
    pub mscale_all_dim: Option<f64>,
}

/// LongRoPE (Ding et al. 2024): every frequency has divisors of its own, one for sequences within the original length
/// and one for longer ones.
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// `short_factor`, `R/2` of them.
    pub short: Vec<f64>,
    /// `long_factor`, `R/2` of them.
    pub long: Vec<f64>,
    /// `original_max_position_embeddings`, `o`.
    pub original: usize,
    /// `s` of the factor of both tables, `√(1 + ln s / ln o)` (1 for `s ≤ 1`); where a configuration has none,
    /// `max_position_embeddings / original`.
    pub factor: f64,
    /// Factor of both tables, if the configuration names it.
    pub attention_factor: Option<f64>,
}

/// Why a specification makes no frequencies.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RopeError {
    /// The turned channels are not pairs.
    #[error("rotary embedding needs an even number of channels of at least 2, not {0}")]
    Channels(usize),
    /// A number is out of its range.
    #[error("rotary embedding: {name} is {value}, but must be {range}")]
    Number {
        /// Its name in a configuration.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// A list of divisors has not one for every pair of channels.
    #[error("rotary embedding: {name} has {found} numbers, but the model needs {needed}")]
    Divisors {
        /// Its name in a configuration.
        name: &'static str,
        /// How many there are.
        found: usize,
        /// `R/2`.
        needed: usize,
    },
}

/// Frequencies of the pairs of channels.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeFrequencies {
    /// Radians a position, `R/2` of them.
    pub inverse: Vec<f64>,
    /// Factor of both tables.
    pub attention_factor: f64,
}

/// Cosines and sines for [`rope`](crate::rope), a row a position.
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// `[T, R/2]`.
    pub cos: Tensor<2>,
    /// `[T, R/2]`.
    pub sin: Tensor<2>,
}

fn number(
    name: &'static str,
    value: f64,
    good: bool,
    range: &'static str,
) -> Result<f64, RopeError> {
    match good && value.is_finite() {
        true => Ok(value),
        false => Err(RopeError::Number { name, value, range }),
    }
}

fn positive(name: &'static str, value: f64) -> Result<f64, RopeError> {
    number(name, value, value > 0.0, "a positive number")
}

fn count(name: &'static str, value: usize) -> Result<f64, RopeError> {
    number(name, value as f64, value > 1, "at least 2")
}

impl RopeSpec {
    /// The frequencies for a batch whose longest sequence, keys of a cache included, has `longest` positions. Only
    /// `dynamic` and `longrope` look at it.
    ///
    /// # Errors
    /// If a number of the specification is out of its range.
    pub fn frequencies(&self, longest: usize) -> Result<RopeFrequencies, RopeError> {
        let r = self.channels;
        if r < 2 || !r.is_multiple_of(2) {
            return Err(RopeError::Channels(r));
        }
        let theta = number("rope_theta", self.theta, self.theta > 1.0, "above 1")?;
        let plain = powers(theta, r);
        let mut attention_factor = 1.0;
        let inverse = match &self.scaling {
            RopeScaling::Default => plain,
            RopeScaling::Linear { factor } => {
                let factor = positive("factor", *factor)?;
                plain.iter().map(|f| f / factor).collect()
            }
            RopeScaling::Dynamic {
                factor,
                max_positions,
            } => {
                let factor = number("factor", *factor, *factor >= 1.0, "at least 1")?;
                let most = count("max_position_embeddings", *max_positions)?;
                if r == 2 {
                    // One pair: its frequency is 1 for any base, and the exponent would be infinite.
                    return Ok(RopeFrequencies {
                        inverse: plain,
                        attention_factor,
                    });
                }
                let stretch = factor * (longest as f64).max(most) / most - (factor - 1.0);
                powers(theta * stretch.powf(r as f64 / (r as f64 - 2.0)), r)
            }
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let factor = positive("factor", *factor)?;
                let low = positive("low_freq_factor", *low)?;
                let high = number(
                    "high_freq_factor",
                    *high,
                    *high > low,
                    "above low_freq_factor",
                )?;
                let original = count("original_max_position_embeddings", *original)?;
                let stretched = |f: f64| {
                    let turns = original * f / core::f64::consts::TAU;
                    // 0 for the long wavelengths, 1 for the short ones.
                    let t = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - t) * f / factor + t * f
                };
                plain.into_iter().map(stretched).collect()
            }
            RopeScaling::Yarn(yarn) => {
                attention_factor = yarn.attention_factor()?;
                yarn.frequencies(&plain, theta)?
            }
            RopeScaling::LongRope(long) => {
                attention_factor = long.attention_factor()?;
                long.frequencies(&plain, longest)?
            }
        };
        Ok(RopeFrequencies {
            inverse,
            attention_factor,
        })
    }
}

/// `θ^(−2i/R)`.
fn powers(theta: f64, channels: usize) -> Vec<f64> {
    let exponent = |i: usize| -2.0 * i as f64 / channels as f64;
    (0..channels / 2).map(|i| theta.powf(exponent(i))).collect()
}

impl Yarn {
    fn attention_factor(&self) -> Result<f64, RopeError> {
        let factor = positive("factor", self.factor)?;
        if let Some(given) = self.attention_factor {
            return positive("attention_factor", given);
        }
        let g = |m: f64| {
            if factor > 1.0 {
                0.1 * m * factor.ln() + 1.0
            } else {
                1.0
            }
        };
        match (self.mscale, self.mscale_all_dim) {
            // A zero counts as absent, as in the files of DeepSeek.
            (Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
                Ok(g(positive("mscale", m)?) / g(positive("mscale_all_dim", all)?))
            }
            _ => Ok(g(1.0)),
        }
    }

    fn frequencies(&self, plain: &[f64], theta: f64) -> Result<Vec<f64>, RopeError> {
        let r = 2.0 * plain.len() as f64;
        let original = count("original_max_position_embeddings", self.original)?;
        let (fast, slow) = (
            positive("beta_fast", self.beta_fast)?,
            positive("beta_slow", self.beta_slow)?,
        );
        let corr = |turns: f64| {
            r * (original / (turns * core::f64::consts::TAU)).ln() / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (corr(fast), corr(slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(r - 1.0));
        if low == high {
            high += 0.001;
        }
        let blended = |(i, &f): (usize, &f64)| {
            let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            f / self.factor * ramp + f * (1.0 - ramp)
        };
        Ok(plain.iter().enumerate().map(blended).collect())
    }
}

impl LongRope {
    fn attention_factor(&self) -> Result<f64, RopeError> {
        if let Some(given) = self.attention_factor {
            return positive("attention_factor", given);
        }
        let original = count("original_max_position_embeddings", self.original)?;
        let factor = positive("factor", self.factor)?;
        Ok(if factor > 1.0 {
            (1.0 + factor.ln() / original.ln()).sqrt()
        } else {
            1.0
        })
    }

    fn frequencies(&self, plain: &[f64], longest: usize) -> Result<Vec<f64>, RopeError> {
        let (name, divisors) = if longest > self.original {
            ("long_factor", &self.long)
        } else {
            ("short_factor", &self.short)
        };
        if divisors.len() != plain.len() {
            return Err(RopeError::Divisors {
                name,
                found: divisors.len(),
                needed: plain.len(),
            });
        }
        let pairs = plain.iter().zip(divisors);
        pairs.map(|(f, &d)| Ok(f / positive(name, d)?)).collect()
    }
}

impl RopeFrequencies {
    /// `cos` and `sin` of `position · frequency`, times the attention factor, for every position.
    ///
    /// Computed in double precision and rounded once, to the type given.
    #[must_use]
    pub fn tables(&self, positions: &[usize], device: &Device, dtype: DType) -> RopeTables {
        let shape = [positions.len(), self.inverse.len()];
        let table = |function: fn(f64) -> f64| {
            let angles = positions.iter().flat_map(|&at| {
                let angle = move |f: &f64| function(at as f64 * f) * self.attention_factor;
                self.inverse.iter().map(angle)
            });
            let data = TensorData::new(angles.collect::<Vec<f64>>(), shape).convert_dtype(dtype);
            Tensor::from_data(data, (device, dtype))
        };
        RopeTables {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }
}
