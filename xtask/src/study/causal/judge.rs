//! From results to chances: ratios of perplexities by a paired bootstrap over rows and seeds.

use anyhow::{Result, ensure};

use super::definition::ClaimKind;
use super::outcome::{Outcome, RowLosses};
use crate::study::statistics::{RESAMPLES, Random, Resampled, quantile};
use crate::study::verdict;

/// Half the width that "equal" allows: 2 %.
pub const EQUAL: [f64; 2] = [0.98, 1.02];
/// What losses of a step may differ by.
pub const CURVE: f64 = 0.01;
const SEED: u64 = 20_240_601;

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Resampled ratios of perplexities `arm / against`, and the ratio of the samples as they are.
pub struct Ratios {
    pub estimate: Estimate,
    drawn: Vec<f64>,
}

impl Ratios {
    /// Seeds and rows are drawn with replacement and crossed: a drawn row counts with all drawn seeds, and with
    /// both arms, for all of them answered it. The perplexity of a sample is that of all its tokens together.
    pub fn new(arm: &[&RowLosses], against: &[&RowLosses]) -> Result<Self> {
        let rows = arm.first().map_or(0, |rows| rows.tokens.len());
        ensure!(
            rows > 0 && arm.len() == against.len(),
            "the two arms have not the same runs"
        );
        let same = |rows: &&RowLosses| rows.tokens == arm[0].tokens;
        ensure!(
            arm.iter().chain(against).all(same),
            "the two arms were measured on different tokens"
        );
        let tokens: Vec<f64> = arm[0]
            .tokens
            .iter()
            .map(|count| f64::from(*count))
            .collect();
        let differences: Vec<Vec<f64>> = arm
            .iter()
            .zip(against)
            .map(|(left, right)| {
                let pairs = left.nats().into_iter().zip(right.nats());
                pairs.map(|(left, right)| left - right).collect()
            })
            .collect();
        let seeds = differences.len();
        let whole: f64 =
            differences.iter().flatten().sum::<f64>() / (seeds as f64 * tokens.iter().sum::<f64>());
        let mut random = Random::new(SEED);
        let drawn = (0..RESAMPLES)
            .map(|_| {
                let chosen: Vec<usize> = (0..seeds).map(|_| random.below(seeds)).collect();
                let (mut nats, mut count) = (0.0, 0.0);
                for _ in 0..rows {
                    let row = random.below(rows);
                    nats += chosen
                        .iter()
                        .map(|seed| differences[*seed][row])
                        .sum::<f64>();
                    count += tokens[row];
                }
                (nats / (seeds as f64 * count)).exp()
            })
            .collect::<Vec<f64>>();
        Ok(Self {
            estimate: Estimate {
                value: whole.exp(),
                low: quantile(&drawn, 0.025),
                high: quantile(&drawn, 0.975),
            },
            drawn,
        })
    }

    /// Probabilities that the claim, and that its contrary, were concluded by chance.
    pub fn chances(&self, kind: ClaimKind) -> [f64; 2] {
        match kind {
            ClaimKind::Better | ClaimKind::Curve | ClaimKind::Accurate => {
                verdict::below(&self.drawn, 1.0)
            }
            ClaimKind::Equal => verdict::within(&self.drawn, EQUAL),
        }
    }
}

/// The difference of two arms' shares of right answers, and the chances of the claim that it is above 0; seeds and rows are
/// drawn as for [`Ratios`].
pub fn accuracies(arm: &[&RowLosses], against: &[&RowLosses]) -> Result<(Estimate, [f64; 2])> {
    let rows = arm.first().map_or(0, |rows| rows.right.len());
    let mut all = arm.iter().chain(against);
    ensure!(
        rows > 0 && arm.len() == against.len() && all.all(|run| run.right.len() == rows),
        "the two arms did not answer the same rows"
    );
    let differences: Vec<Vec<i8>> = arm
        .iter()
        .zip(against)
        .map(|(left, right)| {
            let pairs = left.right.iter().zip(&right.right);
            pairs
                .map(|(left, right)| i8::from(*left) - i8::from(*right))
                .collect()
        })
        .collect();
    let Resampled { interval, means } = Resampled::new(&differences);
    let estimate = Estimate {
        value: interval.mean,
        low: interval.low,
        high: interval.high,
    };
    Ok((estimate, verdict::above(&means, 0.0)))
}

/// The largest difference of two runs' losses of a step, over pairs of runs with the same seed.
pub fn curve(arm: &[Outcome], against: &[Outcome]) -> Result<f64> {
    let mut largest: f64 = 0.0;
    for (left, right) in arm.iter().zip(against) {
        ensure!(
            left.seed == right.seed && left.losses.len() == right.losses.len(),
            "runs of different seeds or steps cannot be compared step by step"
        );
        for (left, right) in left.losses.iter().zip(&right.losses) {
            largest = largest.max((left - right).abs());
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(shift: f64) -> RowLosses {
        RowLosses {
            loss: (0..50)
                .map(|row| 1.0 + 0.1 * f64::from(row % 7) + shift)
                .collect(),
            tokens: (0..50).map(|row| 10 + row % 3).collect(),
            right: (0..50).map(|row| row % 2 == 0 || shift < 0.0).collect(),
        }
    }

    #[test]
    fn a_shift_of_all_rows_is_a_ratio_without_spread() {
        let (arm, against) = (rows(-0.1), rows(0.0));
        let ratios = Ratios::new(&[&arm, &arm], &[&against, &against]).unwrap();
        let Estimate { value, low, high } = ratios.estimate;
        for found in [value, low, high] {
            assert!((found - (-0.1f64).exp()).abs() < 1e-9, "{found}");
        }
        assert!(ratios.chances(ClaimKind::Better)[0] < 1e-3);
        assert!(ratios.chances(ClaimKind::Equal)[1] < 1e-3);
        let (difference, chances) = accuracies(&[&arm, &arm], &[&against, &against]).unwrap();
        assert!((difference.value - 0.5).abs() < 1e-12 && difference.low > 0.3);
        assert!(chances[0] < 1e-3);
        assert!(accuracies(&[&arm], &[&RowLosses::default()]).is_err());
        let same = Ratios::new(&[&against], &[&against]).unwrap();
        assert!(same.chances(ClaimKind::Equal)[0] < 1e-3);
        assert!(
            same.chances(ClaimKind::Better)
                .iter()
                .all(|chance| *chance > 0.9)
        );
        let fewer = RowLosses::default();
        assert!(Ratios::new(&[&fewer], &[&against]).is_err());
    }

    #[test]
    fn one_seed_gives_the_interval_of_the_rows() {
        // Differences of ±1 nat on rows of 10 tokens: a standard error of 0.1 / √400 = 0.005.
        let row = |sign: f64| RowLosses {
            loss: (0..400)
                .map(|row| 2.0 + sign * if row % 2 == 0 { 0.05 } else { -0.05 })
                .collect(),
            tokens: vec![10; 400],
            right: Vec::new(),
        };
        let (arm, against) = (row(1.0), row(-1.0));
        let found = Ratios::new(&[&arm], &[&against]).unwrap().estimate;
        assert!((found.value - 1.0).abs() < 1e-12);
        assert!((found.high.ln() - 1.96 * 0.005).abs() < 6e-4, "{found:?}");
    }
}
