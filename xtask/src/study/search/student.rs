//! Student's distribution: what a few searches say of a mean difference.

use std::f64::consts::PI;

use crate::study::statistics::{Interval, deviation, mean};

/// Probability of a value below `t`, for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
fn below(t: f64, freedom: usize) -> f64 {
    let theta = (t / (freedom as f64).sqrt()).atan();
    let (sine, square) = (theta.sin(), theta.cos().powi(2));
    // The first terms of the series of either parity, then each from the one before.
    let odd = freedom % 2 == 1;
    let mut term = if odd { theta.cos() } else { 1.0 };
    let mut sum = 0.0;
    let mut order = if odd { 3 } else { 2 };
    while order <= freedom {
        sum += term;
        let (up, down) = (order as f64 - 1.0, order as f64);
        term *= up / down * square;
        order += 2;
    }
    let between = match odd {
        true => 2.0 / PI * (theta + sine * sum),
        false => sine * sum,
    };
    0.5 + 0.5 * between
}

/// Quantile by bisection.
fn quantile(share: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (-1e4, 1e4);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        match below(middle, freedom) < share {
            true => low = middle,
            false => high = middle,
        }
    }
    (low + high) / 2.0
}

/// The mean of paired differences with its 95 % interval, and the chances that it was concluded by chance to be above 0, and below;
/// `None` for fewer than two.
pub fn paired(differences: &[f64]) -> Option<(Interval, [f64; 2])> {
    let (centre, freedom) = (mean(differences), differences.len().checked_sub(1)?);
    let error = deviation(differences)? / (differences.len() as f64).sqrt();
    let half = quantile(0.975, freedom) * error;
    let interval = Interval {
        mean: centre,
        low: centre - half,
        high: centre + half,
    };
    // Differences without a spread say all or nothing.
    let t = match (error > 0.0, centre == 0.0) {
        (true, _) => centre / error,
        (false, true) => 0.0,
        (false, false) => centre.signum() * 1e6,
    };
    let under = below(t, freedom);
    Some((interval, [1.0 - under, under]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (freedom, expected) in [
            (1, 12.7062),
            (2, 4.3027),
            (3, 3.1824),
            (4, 2.7764),
            (5, 2.5706),
            (9, 2.2622),
            (10, 2.2281),
        ] {
            let found = quantile(0.975, freedom);
            assert!((found - expected).abs() < 1e-4, "{freedom}: {found}");
        }
        assert!((below(0.0, 7) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn three_differences_need_to_be_alike() {
        let (interval, [above, under]) = paired(&[1.0, 2.0, 3.0]).unwrap();
        // 2 ± 4.3027 / √3
        assert!((interval.low - (2.0 - 4.302_65 / 3f64.sqrt())).abs() < 1e-3);
        // t = 2 √3, of which tables say 0.0371 on one side.
        assert!((above - 0.0371).abs() < 1e-4, "{above}");
        assert!((above + under - 1.0).abs() < 1e-12);
        assert!(paired(&[1.0]).is_none());
        let (_, [above, _]) = paired(&[0.1, 0.1]).unwrap();
        assert!(above < 1e-3);
    }
}
