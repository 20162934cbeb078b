//! Gradients, the compressed network against the original, and what is claimed of them, in small sizes.

use peft_kernels::normal;
use peft_linalg::{Dense, Threads, product};

use crate::{
    descent::{CompletionSettings, Curve, Network, complete},
    factored::Factored,
    full::Full,
    problem::Problem,
};

fn times(a: &Dense, b: &Dense) -> Dense {
    product(a.view(), b.view(), Threads::One)
}

fn largest(matrix: &Dense) -> f64 {
    matrix.values().iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

fn difference(mut a: Dense, b: &Dense) -> f64 {
    a.add_scaled(-1.0, b);
    largest(&a)
}

/// `L K Rᵀ`.
fn whole(network: &Factored) -> Dense {
    let rows = times(network.left(), &network.core());
    product(rows.view(), network.right().t(), Threads::One)
}

fn random(size: usize, key: u64) -> Dense {
    let values = normal(key, size * size).into_iter().map(f64::from);
    Dense::new(size, size, values.collect()).scaled(0.4)
}

#[test]
fn steps_follow_the_gradient() {
    let problem = Problem::random(6, 2, 0.6, 3);
    let factors: Vec<Dense> = (0..3).map(|index| random(6, index)).collect();
    let loss = |factors: &[Dense]| {
        let mut network = Full::from_factors(factors.to_vec(), 1.0);
        network.step(&problem, 0.0)
    };
    let mut moved = Full::from_factors(factors.clone(), 1.0);
    moved.step(&problem, 1.0);
    let step = 1e-5;
    for index in 0..3 {
        for entry in [0, 7, 20, 35] {
            let at = |change: f64| {
                let mut nudged = factors.clone();
                nudged[index].values_mut()[entry] += change;
                loss(&nudged)
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            let analytic = factors[index].values()[entry] - moved.factors()[index].values()[entry];
            assert!(
                (numeric - analytic).abs() < 1e-9 * analytic.abs().max(1.0),
                "{numeric} {analytic}"
            );
        }
    }
}

#[test]
fn a_narrow_product_as_wide_as_the_matrix_is_a_full_one() {
    let problem = Problem::random(9, 2, 0.5, 4);
    for depth in [2, 3, 4] {
        let mut narrow = Factored::narrow(9, 9, depth, 0.5, 8);
        // Before a step the factors of the product are those of the full network.
        let start = whole(&narrow);
        let mut factors = vec![narrow.right().transposed()];
        if depth > 2 {
            factors.push(narrow.core());
        }
        factors.push(narrow.left().clone());
        let mut full = Full::from_factors(factors, 0.5);
        assert!(difference(full.whole(), &start) < 1e-14);
        if depth == 4 {
            continue; // its two cores are one factor here
        }
        for _ in 0..30 {
            let losses = [narrow.step(&problem, 5.0), full.step(&problem, 5.0)];
            assert!((losses[0] - losses[1]).abs() < 1e-13);
        }
        assert!(difference(full.whole(), &whole(&narrow)) < 1e-12);
        assert!((narrow.error(&problem) - full.error(&problem)).abs() < 1e-12);
        assert!(difference(whole(&narrow), &start) > 0.1);
    }
}

/// With every entry observed nothing leaves the subspaces, and the compressed network is the full one.
#[test]
fn under_full_observation_compression_follows_the_original_to_rounding() {
    for (size, rank, depth) in [(12, 1, 3), (15, 2, 3), (15, 2, 2), (11, 2, 4)] {
        let problem = Problem::random(size, rank, 1.0, 5);
        let epsilon = 0.1;
        let mut full = Full::new(size, depth, epsilon, 6);
        let mut compressed = Factored::compress(&full, &problem, rank, 0.0, 6);
        let (left, right) = (compressed.left().clone(), compressed.right().clone());
        let rate = 0.02 * (size * size) as f64;
        let start = full.step(&problem, 0.0);
        let (mut worst, mut last) = (0.0f64, start);
        for _ in 0..1500 {
            last = full.step(&problem, rate);
            compressed.step(&problem, rate);
            let whole = full.whole();
            let inside = product(left.t(), whole.view(), Threads::One);
            worst = worst.max(difference(times(&inside, &right), &compressed.core()));
        }
        // What is left is the orthogonal start beside the subspaces, which only shrinks.
        let outside = difference(full.whole(), &whole(&compressed));
        assert!(worst < 1e-11, "{size} {rank} {depth}: {worst:e}");
        assert!(outside <= 1.001 * epsilon.powi(depth as i32), "{outside:e}");
        assert!(last < 1e-3 * start, "{start} is still {last}");
    }
}

/// The original, compressed, random and narrow, compressed with frozen subspaces.
fn arms(threads: usize, iterations: u64) -> [Curve; 4] {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(|| {
        let (size, rank, epsilon) = (60, 2, 2e-3);
        let problem = Problem::random(size, rank, 0.4, 11);
        let original = Full::new(size, 3, epsilon, 12);
        let settings = CompletionSettings {
            rate: 1.5e-2 * (size * size) as f64,
            iterations,
            tolerance: 1e-9,
            every: 20,
        };
        let of = |network: &mut dyn Network| complete(network, &problem, &settings, &mut |_| {});
        let compress = |rate| Factored::compress(&original, &problem, rank, rate, 13);
        [
            of(&mut original.clone()),
            // The paper's 0.01 is for d = 1000; the smaller the matrix, the more of the gradient that the
            // subspaces come from is noise of what is not observed, and the faster they must follow.
            of(&mut compress(0.1)),
            of(&mut Factored::narrow(size, 2 * rank, 3, epsilon, 13)),
            of(&mut compress(0.0)),
        ]
    })
}

#[test]
fn compression_needs_the_originals_iterations_and_frozen_subspaces_stall() {
    let [original, compressed, narrow, frozen] = arms(2, 12_000);
    let steps = |curve: &Curve| curve.found_after.expect("found") as f64;
    let ratio = steps(&compressed) / steps(&original);
    assert!((0.95..=1.05).contains(&ratio), "{ratio}");
    assert!(
        narrow.found_after.is_none() || steps(&narrow) > 1.5 * steps(&original),
        "{:?} of the narrow, {:?} of the original",
        narrow.found_after,
        original.found_after
    );
    assert_eq!(frozen.found_after, None);
    let last = frozen.points.last().unwrap().error;
    assert!(last > 1e-5, "{last:e}");
    // Equal at any number of threads, bit by bit.
    let points = [&original, &compressed, &narrow, &frozen].map(|curve| &curve.points);
    let others = arms(1, 1000);
    for (points, other) in points.iter().zip(&others) {
        assert_eq!(points[..other.points.len()], other.points);
        assert_eq!(other.points.len(), 51);
    }
}
