use proptest::prelude::*;

use super::chain::draw;
use super::*;
use crate::gp::Ensemble;

const LONG: NutsSettings = NutsSettings {
    warmup: 400,
    draws: 8000,
    thinning: 1,
    depth: 8,
};

/// A function of the first two of `width` inputs, standardised, with noise of 2 % of its spread.
fn observed(count: usize, width: usize, seed: u64) -> (Rows, Vec<f64>) {
    let mut counter = Counter::new(seed, 0, 0);
    let values: Vec<f64> = (0..count * width).map(|_| counter.uniform()).collect();
    let rows = Rows::new(width, values);
    let raw: Vec<f64> = (0..count)
        .map(|i| {
            let x = rows.row(i);
            (6.0 * x[0]).sin() + (5.0 * x[1]).cos() + 0.02 * counter.normal()
        })
        .collect();
    let mean = raw.iter().sum::<f64>() / count as f64;
    let spread = (raw.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / count as f64).sqrt();
    (rows, raw.iter().map(|y| (y - mean) / spread).collect())
}

/// Mean of a function of a chain's points and its Monte-Carlo standard error, from the means of 40 batches.
fn average(points: &[Vec<f64>], of: impl Fn(&[f64]) -> f64) -> (f64, f64) {
    let batches: Vec<f64> = points
        .chunks_exact(points.len() / 40)
        .map(|batch| batch.iter().map(|p| of(p)).sum::<f64>() / batch.len() as f64)
        .collect();
    let count = batches.len() as f64;
    let mean = batches.iter().sum::<f64>() / count;
    let square = batches.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (square / count).sqrt())
}

/// Asserts a mean within four of its standard errors, which are themselves at most `error`.
fn assert_mean(points: &[Vec<f64>], of: impl Fn(&[f64]) -> f64, expected: f64, error: f64) {
    let (mean, own) = average(points, of);
    assert!(own < error, "the standard error is {own}, above {error}");
    assert!(
        (mean - expected).abs() < 4.0 * own,
        "{mean} ± {own}, not {expected}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn gradient_is_that_of_finite_differences(
        count in 2usize..14, width in 2usize..7, shared in any::<bool>(), seed in 0u64..1000,
        point in prop::collection::vec(-2.0..2.0f64, 11),
    ) {
        let (rows, outputs) = observed(count, width, seed);
        // The last two columns may share a length scale.
        let groups: Vec<usize> =
            (0..width).map(|column| column.min(width - 1 - usize::from(shared))).collect();
        let density = SaasDensity::new(&rows, &outputs, &groups, 1e-4);
        let mut point = point[..density.dimensions()].to_vec();
        // Noise of the size that is met.
        point[2] -= 3.0;
        let mut gradient = vec![0.0; point.len()];
        density.evaluate(&point, &mut gradient).unwrap();
        for (index, gradient) in gradient.into_iter().enumerate() {
            let at = |steps: f64| {
                let mut moved = point.clone();
                moved[index] += steps * 2e-3;
                density.evaluate(&moved, &mut vec![0.0; point.len()]).unwrap()
            };
            // Of sixth order.
            let slope = (45.0 * (at(1.0) - at(-1.0)) - 9.0 * (at(2.0) - at(-2.0)) + at(3.0) - at(-3.0)) / 0.12;
            let error = (slope - gradient).abs() / gradient.abs().max(1.0);
            prop_assert!(error <= 1e-7, "{index}: {slope} {gradient}");
        }
    }

    #[test]
    fn density_is_finite_far_out(
        seed in 0u64..1000, point in prop::collection::vec(-20.0..20.0f64, 7),
    ) {
        let (rows, outputs) = observed(10, 3, seed);
        let density = SaasDensity::new(&rows, &outputs, &[0, 1, 2], 1e-4);
        let mut gradient = [0.0; 7];
        let value = density.evaluate(&point, &mut gradient);
        prop_assert!(value.is_some_and(f64::is_finite), "{value:?}");
        prop_assert!(gradient.iter().all(|slope| slope.is_finite()), "{gradient:?}");
    }
}

#[test]
fn moments_of_a_normal_distribution() {
    // x₀ = 1 + 2 a, x₁ = −3 + 0.5 (0.8 a + 0.6 b), x₂ = 10 c with independent standard normals.
    let density = |x: &[f64], g: &mut [f64]| {
        let a = (x[0] - 1.0) / 2.0;
        let b = ((x[1] + 3.0) / 0.5 - 0.8 * a) / 0.6;
        let c = x[2] / 10.0;
        g[0] = -(a - b * 0.8 / 0.6) / 2.0;
        g[1] = -b / 0.3;
        g[2] = -c / 10.0;
        Some(-0.5 * (a * a + b * b + c * c))
    };
    let drawn = draw(density, &[0.5; 3], &LONG, &mut Counter::new(1, 0, 0)).unwrap();
    assert_eq!((drawn.points.len(), drawn.divergences), (8000, 0));
    let points = &drawn.points;
    assert_mean(points, |x| x[0], 1.0, 0.1);
    assert_mean(points, |x| x[1], -3.0, 0.025);
    assert_mean(points, |x| x[2], 0.0, 0.5);
    assert_mean(points, |x| (x[0] - 1.0).powi(2), 4.0, 0.2);
    assert_mean(points, |x| (x[1] + 3.0).powi(2), 0.25, 0.0125);
    assert_mean(points, |x| x[2].powi(2), 100.0, 5.0);
    assert_mean(points, |x| (x[0] - 1.0) * (x[1] + 3.0), 0.8, 0.04);
}

#[test]
fn without_observations_draws_are_those_of_the_prior() {
    let (rows, outputs) = (Rows::new(2, Vec::new()), Vec::new());
    let density = SaasDensity::new(&rows, &outputs, &[0, 1], 1e-4);
    let start = [0.3, 2.0, -3.0, -2.0, 0.5, -0.5];
    let evaluate = |point: &[f64], gradient: &mut [f64]| density.evaluate(point, gradient);
    let drawn = draw(evaluate, &start, &LONG, &mut Counter::new(2, 0, 0)).unwrap();
    let points = &drawn.points;
    assert_mean(points, |t| t[0], 0.0, 0.05);
    assert_mean(points, |t| t[0].powi(2), 1.0, 0.05);
    // Gamma(2, 0.15): mean 40/3, mean of the square 6/0.15². Gamma(0.9, 10): mean 0.09.
    assert_mean(points, |t| t[1].exp(), 2.0 / 0.15, 0.5);
    assert_mean(points, |t| (2.0 * t[1]).exp(), 6.0 / 0.0225, 20.0);
    assert_mean(points, |t| t[2].exp(), 0.09, 0.005);
    // Of a half-Cauchy of scale s, a share of ½ is below s, ¼ below s·tan(π/8) and ¾ below s·tan(3π/8).
    for (index, ln_scale) in [(3, 0.1f64.ln()), (4, 0.0), (5, 0.0)] {
        for (share, eighths) in [(0.25, 1.0), (0.5, 2.0), (0.75, 3.0)] {
            let bound = ln_scale + (eighths * std::f64::consts::PI / 8.0).tan().ln();
            assert_mean(
                points,
                |t| f64::from(u8::from(t[index] < bound)),
                share,
                0.02,
            );
        }
    }
}

#[test]
fn inputs_that_matter_stand_out() {
    let (all, values) = observed(100, 12, 7);
    let (rows, elsewhere) = (
        all.select(&(0..50).collect::<Vec<_>>()),
        all.select(&(50..100).collect::<Vec<_>>()),
    );
    let (outputs, expected) = values.split_at(50);
    let groups: Vec<usize> = (0..12).collect();
    let density = SaasDensity::new(&rows, outputs, &groups, 1e-4);
    let settings = NutsSettings::default();
    let draws = density
        .sample(&settings, &mut Counter::new(1, 0, 0))
        .unwrap();
    assert_eq!(draws.points.len(), 16);
    let median = |input: usize| {
        let mut all: Vec<f64> = draws
            .points
            .iter()
            .map(|t| (t[3] + t[4 + input]).exp())
            .collect();
        all.sort_by(f64::total_cmp);
        all[8]
    };
    let irrelevant = (2..12).map(median).fold(0.0, f64::max);
    assert!(
        median(0) > 10.0 * irrelevant && median(1) > 10.0 * irrelevant,
        "{irrelevant}"
    );

    let mut counter = Counter::new(1, 0, 0);
    let ensemble =
        Ensemble::sample(&rows, outputs, &groups, 1e-4, &settings, &mut counter).unwrap();
    assert_eq!(ensemble.members().len(), 16);
    let (mean, variance) = ensemble.predict(&elsewhere);
    let error = mean
        .iter()
        .zip(expected)
        .map(|(m, y)| (m - y).powi(2))
        .sum::<f64>()
        / 50.0;
    assert!(error < 0.05 && variance.iter().all(|v| *v > 0.0), "{error}");
}

#[test]
fn the_same_seed_draws_the_same_bits() {
    let (rows, outputs) = observed(20, 4, 3);
    let density = SaasDensity::new(&rows, &outputs, &[0, 1, 2, 3], 1e-4);
    let sample = |seed: u64| {
        let mut counter = Counter::new(seed, 0, 0);
        density
            .sample(&NutsSettings::default(), &mut counter)
            .unwrap()
            .points
    };
    let bits = |points: &[Vec<f64>]| -> Vec<u64> {
        points
            .iter()
            .flatten()
            .map(|value| value.to_bits())
            .collect()
    };
    let first = sample(4);
    assert_eq!(bits(&first), bits(&sample(4)));
    assert_ne!(bits(&first), bits(&sample(5)));
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let nowhere = |_: &[f64], _: &mut [f64]| None;
    let settings = NutsSettings::default();
    let error = draw(nowhere, &[0.0; 2], &settings, &mut Counter::new(0, 0, 0))
        .err()
        .unwrap();
    assert!(error.contains("no value"), "{error}");
    // A value at the start and nowhere else: every trajectory ends at once.
    let mut called = 0;
    let once = |_: &[f64], gradient: &mut [f64]| {
        called += 1;
        gradient.fill(1.0);
        (called <= 3).then_some(0.0)
    };
    let drawn = draw(once, &[0.0; 2], &settings, &mut Counter::new(0, 0, 0));
    assert!(drawn.is_err() || drawn.is_ok_and(|drawn| drawn.divergences == 64));

    let rows = Rows::new(1, vec![0.1, 0.2]);
    let sample = |outputs: &[f64], settings: &NutsSettings| {
        let rows = rows.select(&(0..outputs.len()).collect::<Vec<_>>());
        let density = SaasDensity::new(&rows, outputs, &[0], 1e-4);
        density.sample(settings, &mut Counter::new(0, 0, 0))
    };
    for outputs in [&[][..], &[f64::NAN, 1.0]] {
        let error = sample(outputs, &settings).unwrap_err();
        assert!(matches!(error, SearchError::Fit { .. }), "{error}");
    }
    for wrong in [
        NutsSettings {
            thinning: 0,
            ..settings
        },
        NutsSettings {
            draws: 3,
            ..settings
        },
        NutsSettings {
            draws: usize::MAX,
            ..settings
        },
        NutsSettings {
            warmup: usize::MAX,
            ..settings
        },
        NutsSettings {
            depth: 0,
            ..settings
        },
    ] {
        let error = sample(&[0.5, -0.5], &wrong).unwrap_err();
        assert!(matches!(error, SearchError::Setting { .. }), "{error}");
    }
    // Squares that are not finite: there is no value at any start.
    let error = sample(&[1e200, -1e200], &settings).unwrap_err().to_string();
    assert!(
        error.contains("no chain of 3") && error.contains("no value"),
        "{error}"
    );
    // Equal inputs with different outputs, and a single observation.
    assert!(sample(&[0.5], &settings).is_ok());
    let twice = Rows::new(1, vec![0.3; 8]);
    let outputs = [1.0, -1.0, 0.5, -0.5, 0.0, 0.0, 2.0, -2.0];
    let density = SaasDensity::new(&twice, &outputs, &[0], 0.0);
    assert!(
        density
            .sample(&settings, &mut Counter::new(0, 0, 0))
            .is_ok()
    );
}

#[test]
fn chains_of_any_length_end() {
    let (rows, outputs) = observed(12, 3, 5);
    let density = SaasDensity::new(&rows, &outputs, &[0, 1, 2], 1e-4);
    for warmup in [0, 1, 2, 7, 20, 50] {
        for (draws, thinning, depth) in [(1, 1, 1), (5, 2, 3), (20, 20, 6)] {
            let settings = NutsSettings {
                warmup,
                draws,
                thinning,
                depth,
            };
            match density.sample(&settings, &mut Counter::new(6, 0, 0)) {
                Ok(drawn) => assert_eq!(drawn.points.len(), draws / thinning),
                Err(error) => assert!(error.to_string().contains("diverged"), "{error}"),
            }
        }
    }
}

/// Simulation-based calibration (Talts et al., arXiv 1804.06788): where hyper-parameters are drawn from the prior and
/// observations from them, their ranks among the draws of the posterior are uniform.
#[test]
fn draws_are_calibrated() {
    const RUNS: u64 = 200;
    let mut counter = Counter::new(11, 0, 0);
    let mut ranks = vec![Vec::new(); 6];
    for _ in 0..RUNS {
        let rows = Rows::new(2, (0..16).map(|_| counter.uniform()).collect());
        let blank = [0.0; 8];
        let truth = from_prior(2, &mut counter);
        let prior = SaasDensity::new(&rows, &blank, &[0, 1], 1e-4);
        let (kernel, noise) = prior.target.kernel(&prior.theta(&truth));
        let mut covariance = kernel.between(&rows, &rows);
        (0..8).for_each(|i| covariance[(i, i)] += noise);
        let factor = crate::gp::Factor::new(&covariance).unwrap();
        let normals: Vec<f64> = (0..8).map(|_| counter.normal()).collect();
        let outputs: Vec<f64> = (0..8)
            .map(|i| {
                truth[0]
                    + (0..=i)
                        .map(|j| factor.lower()[(i, j)] * normals[j])
                        .sum::<f64>()
            })
            .collect();
        let density = SaasDensity::new(&rows, &outputs, &[0, 1], 1e-4);
        let draws = density
            .sample(&NutsSettings::default(), &mut counter)
            .unwrap();
        for (index, ranks) in ranks.iter_mut().enumerate() {
            let below = draws
                .points
                .iter()
                .filter(|t| t[index] < truth[index])
                .count();
            ranks.push((below as f64 + 0.5) / 17.0);
        }
    }
    // Of 17 equally likely ranks: mean ½ and variance (1 − 17⁻²)/12, here with four standard errors.
    let error = (1.0 / 12.0 / RUNS as f64).sqrt();
    for (index, ranks) in ranks.iter().enumerate() {
        let mean = ranks.iter().sum::<f64>() / RUNS as f64;
        assert!(
            (mean - 0.5).abs() < 4.0 * error,
            "{index}: mean rank {mean}"
        );
        let square = ranks.iter().map(|r| (r - 0.5).powi(2)).sum::<f64>() / RUNS as f64;
        // The square's own variance is 1/180.
        let error = (1.0 / 180.0 / RUNS as f64).sqrt();
        let expected = (1.0 - 1.0 / 289.0) / 12.0;
        assert!(
            (square - expected).abs() < 4.0 * error,
            "{index}: variance of ranks {square}"
        );
    }
}

/// `(c, ln s², ln σ², ln τ, ln λ …)` from the prior.
fn from_prior(scales: usize, counter: &mut Counter) -> Vec<f64> {
    let mut half_cauchy = || (std::f64::consts::FRAC_PI_2 * counter.uniform()).tan().ln();
    let shrinkage = 0.1f64.ln() + half_cauchy();
    let scales: Vec<f64> = (0..scales).map(|_| half_cauchy()).collect();
    let exponential = |counter: &mut Counter| -(1.0 - counter.uniform()).ln();
    let signal = (exponential(counter) + exponential(counter)) / 0.15;
    // Gamma(0.9) by rejection: Gamma(1) has the heavier tail, and a power the peak at 0 (Ahrens and Dieter 1974).
    let (shape, split) = (0.9, (std::f64::consts::E + 0.9) / std::f64::consts::E);
    let noise = loop {
        let (place, accept) = (split * counter.uniform(), exponential(counter));
        if place <= 1.0 {
            let value = place.powf(1.0 / shape);
            if value <= accept {
                break value;
            }
        } else {
            let value = -((split - place) / shape).ln();
            if (1.0 - shape) * value.ln() <= accept {
                break value;
            }
        }
    };
    let head = [
        counter.normal(),
        signal.ln(),
        (noise / 10.0).ln(),
        shrinkage,
    ];
    head.into_iter().chain(scales).collect()
}
