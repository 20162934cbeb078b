use faer::Mat;

use super::*;
use crate::Counter;

/// Observations of a function of the first two of `width` inputs.
fn observed(count: usize, width: usize, seed: u64) -> (Rows, Vec<f64>) {
    let mut counter = Counter::new(seed, 0, 0);
    let values: Vec<f64> = (0..count * width).map(|_| counter.uniform()).collect();
    let rows = Rows::new(width, values);
    let raw: Vec<f64> = (0..count)
        .map(|i| {
            let x = rows.row(i);
            (6.0 * x[0]).sin() + 2.0 * (x[width.min(2) - 1] - 0.4).powi(2) + 0.02 * counter.normal()
        })
        .collect();
    let mean = raw.iter().sum::<f64>() / count as f64;
    let spread = (raw.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / count as f64)
        .sqrt()
        .max(1e-12);
    (rows, raw.iter().map(|y| (y - mean) / spread).collect())
}

fn groups(width: usize) -> Vec<usize> {
    (0..width).collect()
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let (rows, outputs) = observed(20, 4, 1);
    // Two columns share a length scale.
    let groups = [0, 1, 1, 2];
    for prior in [Prior::DimensionScaled, Prior::Saas { shrinkage: 0.1 }] {
        let target = Target::new(&rows, &outputs, &groups, prior, 1e-4);
        let theta = Theta {
            values: vec![0.2, -0.3, -3.0, 0.4, -1.0, 1.3],
        };
        let mut gradient = vec![0.0; 6];
        target.evaluate(&theta, &mut gradient).unwrap();
        for (index, gradient) in gradient.into_iter().enumerate() {
            let at = |step: f64| {
                let mut moved = theta.clone();
                moved.values[index] += step;
                target.evaluate(&moved, &mut [0.0; 6]).unwrap()
            };
            let step = 1e-4;
            let slope =
                (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
            let error = (slope - gradient).abs() / gradient.abs().max(1.0);
            assert!(error < 1e-7, "{prior:?} {index}: {slope} {gradient}");
        }
    }
}

#[test]
fn posterior_interpolates_and_its_variance_shrinks_with_data() {
    let (rows, outputs) = observed(15, 3, 2);
    let groups = groups(3);
    let theta = Theta {
        values: vec![0.0, 0.0, 1e-9f64.ln(), 1.0, 1.0, 1.0],
    };
    let build = |count: usize| {
        let part = rows.select(&(0..count).collect::<Vec<_>>());
        let target = Target::new(
            &part,
            &outputs[..count],
            &groups,
            Prior::DimensionScaled,
            0.0,
        );
        Gp::new(&target, theta.clone()).unwrap()
    };
    let all = build(15);
    let posterior = all.predict(&rows);
    for ((mean, variance), y) in posterior.mean.iter().zip(&posterior.variance).zip(&outputs) {
        assert!(
            (mean - y).abs() < 1e-5 && *variance < 1e-6,
            "{mean} {y} {variance}"
        );
    }
    let (elsewhere, _) = observed(40, 3, 3);
    let (more, less) = (all.predict(&elsewhere), build(8).predict(&elsewhere));
    for (more, less) in more.variance.iter().zip(&less.variance) {
        assert!(*more >= 0.0 && more <= &(less + 1e-9) && *less <= 1.0);
    }
}

#[test]
fn joint_covariance_is_that_of_the_definition() {
    let (rows, outputs) = observed(10, 2, 4);
    let groups = groups(2);
    let target = Target::new(&rows, &outputs, &groups, Prior::DimensionScaled, 1e-4);
    let theta = Theta {
        values: vec![0.1, 0.0, -3.0, 1.0, 0.5],
    };
    let gp = Gp::new(&target, theta).unwrap();
    let (a, _) = observed(4, 2, 5);
    let posterior = gp.predict(&a);
    let joint = gp.covariance(&a, &posterior.half, &a, &posterior.half);
    let mut observed = gp.kernel().between(&rows, &rows);
    (0..10).for_each(|i| observed[(i, i)] += gp.noise());
    let cross = gp.kernel().between(&rows, &a);
    let solved = Factor::new(&observed).unwrap().solve(&cross);
    let expected: Mat<f64> = gp.kernel().between(&a, &a) - cross.transpose() * solved;
    for i in 0..4 {
        assert!((joint[(i, i)] - posterior.variance[i]).abs() < 1e-10);
        (0..4).for_each(|j| assert!((joint[(i, j)] - expected[(i, j)]).abs() < 1e-10));
    }
}

#[test]
fn equal_inputs_and_single_observations_are_fitted() {
    let groups = groups(2);
    let twice = Rows::new(2, [0.3, 0.7].repeat(6));
    let outputs = [0.5, 0.6, 0.4, 0.5, 0.55, 0.45];
    for (rows, outputs) in [(twice.select(&[0]), &outputs[..1]), (twice, &outputs[..])] {
        let target = Target::new(&rows, outputs, &groups, Prior::DimensionScaled, 0.0);
        let gp = fit(&target, &FitSettings::default(), &mut Counter::new(0, 0, 0)).unwrap();
        let posterior = gp.predict(&rows);
        assert!(
            (posterior.mean[0] - 0.5).abs() < 0.2,
            "{:?}",
            posterior.mean
        );
    }
    let rows = Rows::new(2, vec![0.1, 0.2]);
    let target = Target::new(&rows, &[f64::NAN], &groups, Prior::DimensionScaled, 0.0);
    assert!(fit(&target, &FitSettings::default(), &mut Counter::new(0, 0, 0)).is_err());
}

#[test]
fn minimiser_finds_minima_inside_and_on_the_box() {
    let rosenbrock = |x: &[f64], g: &mut [f64]| {
        g[0] = -400.0 * x[0] * (x[1] - x[0] * x[0]) - 2.0 * (1.0 - x[0]);
        g[1] = 200.0 * (x[1] - x[0] * x[0]);
        Some(100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2))
    };
    let free = minimise(rosenbrock, &[-1.2, 1.0], &[(-2.0, 2.0); 2], 1e-8, 500).unwrap();
    assert!(
        (free.point[0] - 1.0).abs() < 1e-5 && (free.point[1] - 1.0).abs() < 1e-5,
        "{free:?}"
    );
    let bounds = [(-2.0, 0.5), (-2.0, 2.0)];
    let boxed = minimise(rosenbrock, &[-1.2, 1.0], &bounds, 1e-8, 500).unwrap();
    assert!(
        (boxed.point[0] - 0.5).abs() < 1e-9 && (boxed.point[1] - 0.25).abs() < 1e-5,
        "{boxed:?}"
    );
}

#[test]
fn saas_shrinks_what_does_not_matter() {
    let (rows, outputs) = observed(50, 12, 7);
    let groups = groups(12);
    let settings = FitSettings {
        starts: 2,
        calls: 200,
        tolerance: 1e-4,
    };
    let member = |shrinkage: f64| {
        let target = Target::new(&rows, &outputs, &groups, Prior::Saas { shrinkage }, 1e-4);
        fit(&target, &settings, &mut Counter::new(1, 0, 0)).unwrap()
    };
    let gp = member(0.1);
    let precisions: Vec<f64> = gp.length_scales().iter().map(|l| l.powi(-2)).collect();
    let irrelevant = precisions[2..].iter().copied().fold(0.0, f64::max);
    assert!(precisions[0] > 10.0 * irrelevant, "{precisions:?}");
    let median = |gp: &Gp| {
        let mut scales = gp.length_scales();
        scales.sort_by(f64::total_cmp);
        scales[6]
    };
    assert!(median(&member(0.001)) >= median(&member(1.0)));
    let ensemble = Ensemble::fit(
        &rows,
        &outputs,
        &groups,
        &Ensemble::saas(),
        1e-4,
        &settings,
        &mut Counter::new(1, 0, 0),
    )
    .unwrap();
    let (mean, variance) = ensemble.predict(&rows);
    let error: f64 = mean
        .iter()
        .zip(&outputs)
        .map(|(m, y)| (m - y).powi(2))
        .sum::<f64>()
        / 50.0;
    assert!(error < 0.02 && variance.iter().all(|v| *v > 0.0), "{error}");
    assert!(ensemble.precisions()[0] > 10.0 * ensemble.precisions()[7]);
}
