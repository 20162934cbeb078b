//! From values to places on paper, with round ticks.

/// An axis from `low` to `high`, laid out between two places.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    /// A linear axis around the values, wide enough for three ticks.
    pub fn linear(values: &[f64], start: f64, end: f64) -> Self {
        let (low, high) = range(values);
        let margin = ((high - low) * 0.08).max(0.0025);
        Self {
            low: low - margin,
            high: high + margin,
            start,
            end,
            logarithmic: false,
        }
    }

    /// A logarithmic axis around positive values, at least a factor of four wide.
    pub fn logarithmic(values: &[f64], start: f64, end: f64) -> Self {
        let (low, high) = range(values);
        let margin = (high / low).powf(0.08).max(2.0);
        Self {
            low: low / margin,
            high: high * margin,
            start,
            end,
            logarithmic: true,
        }
    }

    /// A linear axis from one value to a larger one.
    pub fn between(low: f64, high: f64, start: f64, end: f64) -> Self {
        Self {
            low,
            high,
            start,
            end,
            logarithmic: false,
        }
    }

    /// The place of a value.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + share * (self.end - self.start)
    }

    /// Round values on the axis, between three and ten of them.
    pub fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            self.logarithmic_ticks()
        } else {
            self.linear_ticks()
        }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 6.0;
        let unit = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|factor| factor * unit >= rough);
        let step = factor.unwrap_or(10.0) * unit;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|count| count as f64 * step).collect()
    }

    /// 1, 2 and 5 of each decade over up to two decades, powers of ten beyond.
    fn logarithmic_ticks(&self) -> Vec<f64> {
        let factors: &[f64] = if self.high / self.low > 200.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        decades
            .flat_map(|decade| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(decade))
            })
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    let fold = |start, pick: fn(f64, f64) -> f64| values.iter().copied().fold(start, pick);
    (
        fold(f64::INFINITY, f64::min),
        fold(f64::NEG_INFINITY, f64::max),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_on_the_axis() {
        let scale = Scale::linear(&[0.812, 0.843], 0.0, 100.0);
        let ticks = scale.ticks();
        assert!((3..=10).contains(&ticks.len()), "{ticks:?}");
        assert!(
            ticks
                .iter()
                .all(|&tick| (0.0..=100.0).contains(&scale.place(tick)))
        );
        assert!(Scale::linear(&[0.5], 0.0, 1.0).ticks().len() >= 3);
        let scale = Scale::logarithmic(&[700.0, 73_728.0], 0.0, 100.0);
        assert_eq!(scale.ticks(), [1e3, 1e4, 1e5]);
        assert!(Scale::logarithmic(&[73_728.0], 0.0, 1.0).ticks().len() >= 2);
    }
}
