//! From results to verdicts: ratios of perplexities by a paired bootstrap over rows and seeds, and Holm's
//! correction over the claims of a study.

use anyhow::{Result, ensure};

use super::definition::ClaimKind;
use super::outcome::{Outcome, RowLosses};
use crate::study::statistics::{RESAMPLES, Random, quantile};

/// Half the width that "equal" allows: 2 %.
pub const EQUAL: [f64; 2] = [0.98, 1.02];
/// What losses of a step may differ by.
pub const CURVE: f64 = 0.01;
/// Largest probability of a claim that is shown or refuted by chance, over all claims of a study together.
const LEVEL: f64 = 0.05;
const SEED: u64 = 20_240_601;

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Shown,
    Refuted,
    Undecided,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Self::Shown => "**shown**",
            Self::Refuted => "**refuted**",
            Self::Undecided => "undecided",
        }
    }
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

    /// Share of the samples that speak against a conclusion, never 0.
    fn share(&self, against: impl Fn(f64) -> bool) -> f64 {
        let count = self.drawn.iter().filter(|ratio| against(**ratio)).count();
        (count + 1) as f64 / (self.drawn.len() + 1) as f64
    }

    /// Probabilities that the claim, and that its contrary, were concluded by chance.
    pub fn chances(&self, kind: ClaimKind) -> [f64; 2] {
        let [low, high] = EQUAL;
        match kind {
            ClaimKind::Better | ClaimKind::Curve => [
                self.share(|ratio| ratio >= 1.0),
                self.share(|ratio| ratio <= 1.0),
            ],
            ClaimKind::Equal => {
                let shown = self
                    .share(|ratio| ratio >= high)
                    .max(self.share(|ratio| ratio <= low));
                let above = self.share(|ratio| ratio <= high);
                let below = self.share(|ratio| ratio >= low);
                [shown, above.min(below)]
            }
        }
    }
}

/// Holm's step-down procedure over claims, each with the chances of either conclusion: a claim is decided for the
/// likelier side where twice its chance is below 5 % over the number of claims that are not decided yet.
pub fn holm(chances: &[Option<[f64; 2]>]) -> Vec<Option<Verdict>> {
    let mut order: Vec<(usize, [f64; 2])> = chances
        .iter()
        .enumerate()
        .filter_map(|(claim, chances)| Some((claim, (*chances)?)))
        .collect();
    let smaller = |chances: &[f64; 2]| chances[0].min(chances[1]);
    order.sort_by(|(_, left), (_, right)| smaller(left).total_cmp(&smaller(right)));
    let mut verdicts: Vec<Option<Verdict>> = chances
        .iter()
        .map(|chances| chances.map(|_| Verdict::Undecided))
        .collect();
    // Claims that wait for runs count, so that no verdict changes when they come in.
    let mut left = chances.len();
    for (claim, chances) in order {
        if 2.0 * smaller(&chances) > LEVEL / left as f64 {
            break;
        }
        verdicts[claim] = Some(match chances[0] <= chances[1] {
            true => Verdict::Shown,
            false => Verdict::Refuted,
        });
        left -= 1;
    }
    verdicts
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
        };
        let (arm, against) = (row(1.0), row(-1.0));
        let found = Ratios::new(&[&arm], &[&against]).unwrap().estimate;
        assert!((found.value - 1.0).abs() < 1e-12);
        assert!((found.high.ln() - 1.96 * 0.005).abs() < 6e-4, "{found:?}");
    }

    #[test]
    fn holm_stops_at_the_first_claim_that_is_not_decided() {
        let verdicts = holm(&[
            Some([0.004, 0.9]),
            Some([0.9, 0.001]),
            None,
            Some([0.03, 0.9]),
        ]);
        assert_eq!(
            verdicts,
            [
                Some(Verdict::Shown),
                Some(Verdict::Refuted),
                None,
                Some(Verdict::Undecided)
            ]
        );
        // The smallest of three must be below 0.05 / 3 / 2.
        assert_eq!(
            holm(&[Some([0.01, 0.9]), Some([0.9, 0.9]), Some([0.9, 0.9])]),
            [Some(Verdict::Undecided); 3]
        );
    }
}
