//! Means, spreads and the paired bootstrap over rows and seeds.

/// Resamples per interval; fixed, with the seed, so that a report can be made again bit for bit.
pub const RESAMPLES: usize = 10_000;
const SEED: u64 = 20_240_601;

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation of a sample; `None` for fewer than two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let centre = mean(values);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Quantile with linear interpolation between the neighbours.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len().saturating_sub(1)) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * place.fract(),
        _ => f64::NAN,
    }
}

/// A mean with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// Interval of the mean of `values[seed][row]`. Seeds and rows are drawn with replacement and crossed:
/// a drawn row counts with all drawn seeds, for all of them answered the same questions.
pub fn bootstrap(values: &[Vec<i8>]) -> Interval {
    Resampled::new(values).interval
}

/// An interval and the means that it was made of.
pub struct Resampled {
    pub interval: Interval,
    pub means: Vec<f64>,
}

impl Resampled {
    /// As [`bootstrap`].
    pub fn new(values: &[Vec<i8>]) -> Self {
        let rows = values.first().map_or(0, Vec::len);
        let cells = (values.len() * rows) as f64;
        let total: i64 = values.iter().flatten().map(|&value| i64::from(value)).sum();
        let mut random = Random(SEED);
        let mut sums = vec![0_i32; rows];
        let means: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                sums.fill(0);
                for _ in values {
                    let seed = &values[random.below(values.len())];
                    sums.iter_mut()
                        .zip(seed)
                        .for_each(|(sum, &value)| *sum += i32::from(value));
                }
                let drawn: i64 = (0..rows).map(|_| i64::from(sums[random.below(rows)])).sum();
                drawn as f64 / cells
            })
            .collect();
        Self {
            interval: Interval {
                mean: total as f64 / cells,
                low: quantile(&means, 0.025),
                high: quantile(&means, 0.975),
            },
            means,
        }
    }
}

/// SplitMix64: small, and enough for drawing rows.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2f64.powi(-53)
    }

    /// Uniform below `bound`; the bias of the product method is below 2⁻⁵⁰ for any bound used here.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_is_splitmix64() {
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn equal_answers_have_no_spread() {
        let interval = bootstrap(&[vec![0; 50], vec![0; 50]]);
        assert_eq!(
            interval,
            Interval {
                mean: 0.0,
                low: 0.0,
                high: 0.0
            }
        );
        assert_eq!(bootstrap(&[vec![1; 50]]).low, 1.0);
    }

    #[test]
    fn one_seed_gives_the_binomial_interval() {
        // 400 of 2000 right: the normal interval is 0.2 ± 1.96 · sqrt(0.2 · 0.8 / 2000) = ± 0.01753.
        let row: Vec<i8> = (0..2000).map(|row| i8::from(row % 5 == 0)).collect();
        let interval = bootstrap(&[row]);
        assert_eq!(interval.mean, 0.2);
        assert!((interval.low - 0.1825).abs() < 0.0015, "{interval:?}");
        assert!((interval.high - 0.2175).abs() < 0.0015, "{interval:?}");
    }

    #[test]
    fn seeds_that_differ_widen_the_interval() {
        // Each seed is wholly right or wholly wrong: rows add nothing, the mean of 2 drawn seeds is 0, ½ or 1.
        let interval = bootstrap(&[vec![1; 100], vec![0; 100]]);
        assert_eq!(
            (interval.mean, interval.low, interval.high),
            (0.5, 0.0, 1.0)
        );
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[0.0, 10.0], 0.1), 1.0);
        assert_eq!(deviation(&[1.0, 3.0]), Some(2.0_f64.sqrt()));
        assert_eq!(deviation(&[1.0]), None);
    }
}
