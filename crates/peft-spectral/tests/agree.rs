//! All ways to apply an update are the same update, in value and in gradient, to 1e-12.

mod common;

use common::{dense, error, noise, scattered, times_transposed, transposed};
use peft_spectral::{
    Basis, Sandwich,
    merge::{delta_weight, merge_into},
    sandwich::{Factored, Fast, Formed},
    transform::{BasisRows, Transform, Wavelet, basis_row, spectrum},
};
use proptest::prelude::*;

const TOLERANCE: f64 = 1e-12;

fn wavelet(name: &str) -> Basis {
    Basis::Wavelet(Wavelet::named(name).unwrap())
}

fn bases() -> Vec<Basis> {
    let mut bases = vec![Basis::Dct, Basis::Hartley, Basis::Fourier, Basis::Identity];
    bases.extend(["db1", "db3", "sym5", "coif2"].map(wavelet));
    bases
}

/// Dense, factored, fast and merged, for one update and a few rows.
fn check(basis: Basis, m: usize, n: usize, count: usize, seed: u64) {
    let support = scattered(basis, m, n, count, seed);
    let a = noise(seed, support.len());
    let gamma = 0.7;
    let rows = 3;
    let x = noise(seed + 1, rows * n);
    let g = noise(seed + 2, rows * m);
    let base = noise(seed + 3, rows * m);

    let delta = dense(basis, m, n, &support, &a, gamma);
    let sandwich = Sandwich::new(basis, m, n, &support).unwrap();
    let named = format!("{basis:?} {m}x{n} n={count} seed={seed}");
    let merged = delta_weight(&sandwich, &a, gamma);
    assert!(error(&merged, &delta) < TOLERANCE, "merged: {named}");
    let mut sum = noise(seed + 4, m * n);
    let wanted: Vec<f64> = sum.iter().zip(&delta).map(|(w, d)| w + d).collect();
    Formed::new(&sandwich).add_to(&a, gamma, &mut sum);
    assert!(error(&sum, &wanted) < TOLERANCE, "formed: {named}");
    let transposed_delta = delta_weight(&sandwich.transposed(), &a, gamma);
    assert!(
        error(&transposed_delta, &transposed(&delta, n)) < TOLERANCE,
        "transposed: {named}"
    );
    assert_eq!(
        sandwich.transposed().core(),
        Sandwich::new(basis, n, m, &support.transposed())
            .unwrap()
            .core()
    );

    let mut y_wanted = times_transposed(&x, &delta, n);
    y_wanted.iter_mut().zip(&base).for_each(|(y, b)| *y += b);
    let dx_wanted = times_transposed(&g, &transposed(&delta, n), m);
    // ∂L/∂a is the update of a unit coefficient against the weight's gradient gᵀ x.
    let weight_gradient = times_transposed(&transposed(&g, m), &transposed(&x, n), rows);
    let projected = spectrum(basis, &weight_gradient, m, n);
    let da_wanted: Vec<f64> = support
        .entries()
        .iter()
        .map(|&[u, v]| gamma * projected[u as usize * support.cols() + v as usize])
        .collect();

    let q_len = rows * sandwich.core().cols();
    let factored = Factored::new(&sandwich);
    let fast = Fast::new(&sandwich);
    let (mut kept, mut projected) = (vec![0.0; q_len], vec![0.0; q_len]);
    fast.forward(&x, &a, gamma, &mut base.clone(), &mut kept);
    fast.project(&x, &mut projected);
    assert_eq!(projected, kept, "{named}");
    for way in ["factored", "fast"] {
        let (mut y, mut q) = (base.clone(), vec![0.0; q_len]);
        let (mut dx, mut da) = (vec![0.0; x.len()], vec![0.0; a.len()]);
        if way == "fast" {
            fast.forward(&x, &a, gamma, &mut y, &mut q);
            fast.backward(&q, &g, &a, gamma, Some(&mut dx), &mut da);
        } else {
            factored.forward(&x, &a, gamma, &mut y, &mut q);
            factored.backward(&q, &g, &a, gamma, Some(&mut dx), &mut da);
        }
        assert!(error(&y, &y_wanted) < TOLERANCE, "{way} y: {named}");
        assert!(error(&dx, &dx_wanted) < TOLERANCE, "{way} dx: {named}");
        assert!(error(&da, &da_wanted) < TOLERANCE, "{way} da: {named}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn all_ways_agree(
        basis in 0..bases().len(),
        m in 1_usize..34,
        n in 1_usize..34,
        share in 0.0..1.0_f64,
        seed in 0_u64..1 << 40,
    ) {
        let count = (share * share * (m * n) as f64) as usize;
        check(bases()[basis], m, n, count, seed);
    }
}

#[test]
fn all_ways_agree_at_the_edges() {
    for basis in bases() {
        for (m, n) in [
            (1, 1),
            (1, 2),
            (2, 1),
            (2, 2),
            (8, 8),
            (31, 37),
            (64, 27),
            (5, 96),
        ] {
            check(basis, m, n, 1, 5);
            check(basis, m, n, usize::MAX, 6);
        }
    }
    for (m, n) in [(211, 97), (128, 384)] {
        check(Basis::Dct, m, n, 200, 7);
        check(Basis::Fourier, m, n, 200, 7);
    }
}

#[test]
fn synthesis_undoes_analysis() {
    // PEFT's coif4 is no orthogonal wavelet.
    let wavelets = Wavelet::names()
        .filter(|&name| name != "coif4")
        .map(wavelet);
    for basis in bases().into_iter().chain(wavelets) {
        for n in [1, 2, 3, 7, 16, 97, 250] {
            let transform = Transform::<f64>::new(basis, n);
            let x = noise(n as u64, 4 * n);
            let mut z = vec![0.0; 4 * transform.width()];
            let mut back = vec![0.0; 4 * n];
            transform.analyse(&x, &mut z);
            transform.synthesise(&z, &mut back);
            // The tables of the longer wavelets are good to eleven digits.
            let tolerance = if matches!(basis, Basis::Wavelet(_)) {
                1e-10
            } else {
                1e-14
            };
            assert!(error(&back, &x) < tolerance, "{basis:?} {n}");
        }
    }
}

#[test]
fn transforms_are_their_rows_in_both_precisions() {
    for basis in bases() {
        for n in [1, 2, 5, 12, 101] {
            let width = basis.width(n);
            let rows: Vec<f64> =
                BasisRows::new(basis, n).matrix(&(0..width as u32).collect::<Vec<_>>());
            let x = noise(3, n);
            let wanted = times_transposed(&x, &rows, n);
            let mut z = vec![0.0; width];
            Transform::new(basis, n).analyse(&x, &mut z);
            assert!(error(&z, &wanted) < 1e-14, "{basis:?} {n}");
            let narrow: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let mut z = vec![0.0_f32; width];
            Transform::new(basis, n).analyse(&narrow, &mut z);
            let z: Vec<f64> = z.into_iter().map(f64::from).collect();
            assert!(error(&z, &wanted) < 2e-6, "{basis:?} {n}");
        }
    }
}

#[test]
fn far_rows_keep_their_accuracy() {
    // Against the transform of a unit vector, at a length where k·n reaches 10⁹.
    let n = 28_672;
    let mut unit = vec![0.0; n];
    unit[n - 1] = 1.0;
    let mut column = vec![0.0; n];
    Transform::<f64>::new(Basis::Dct, n).analyse(&unit, &mut column);
    for k in [0, 1, n / 2, n - 2, n - 1] {
        let row = basis_row::<f64>(Basis::Dct, k, n);
        let error = (row[n - 1] - column[k]).abs();
        assert!(error < 1e-16, "{k}: {error:e}");
        let square: f64 = row.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-11, "{k}");
    }
}

#[test]
fn conjugate_frequencies_are_one_function() {
    let (m, n) = (12, 9);
    let entry = |u, v| peft_spectral::Support::new(m, n, vec![[u, v]]).unwrap();
    let one = dense(Basis::Fourier, m, n, &entry(5, 2), &[1.0], 1.0);
    let other = dense(Basis::Fourier, m, n, &entry(7, 7), &[1.0], 1.0);
    assert!(error(&one, &other) < 1e-15);
}

#[test]
fn merging_adds_and_unmerging_subtracts() {
    let (m, n) = (40, 24);
    let support = scattered(Basis::Dct, m, n, 50, 1);
    let sandwich = Sandwich::new(Basis::Dct, m, n, &support).unwrap();
    let a: Vec<f32> = noise(2, 50).into_iter().map(|x| x as f32).collect();
    let weight: Vec<f32> = noise(3, m * n).into_iter().map(|x| x as f32).collect();
    let mut merged = weight.clone();
    merge_into(&sandwich, &a, 0.5, &mut merged);
    assert_ne!(merged, weight);
    merge_into(&sandwich, &a, -0.5, &mut merged);
    for (back, was) in merged.iter().zip(&weight) {
        assert!((back - was).abs() <= 2.0 * f32::EPSILON);
    }
    let zeros = vec![0.0; 50];
    merge_into(&sandwich, &zeros, 0.5, &mut merged);
    let mut same = weight.clone();
    merge_into(&sandwich, &zeros, 0.5, &mut same);
    assert_eq!(same, weight);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let (m, n, rows) = (48, 36, 200);
    let support = scattered(Basis::Fourier, m, n, 300, 1);
    let sandwich = Sandwich::new(Basis::Fourier, m, n, &support).unwrap();
    let a = noise(1, 300);
    let (x, g) = (noise(2, rows * n), noise(3, rows * m));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let fast = Fast::new(&sandwich);
            let (mut y, mut q) = (
                vec![0.0; rows * m],
                vec![0.0; rows * sandwich.core().cols()],
            );
            fast.forward(&x, &a, 1.0, &mut y, &mut q);
            let (mut dx, mut da) = (vec![0.0; rows * n], vec![0.0; 300]);
            fast.backward(&q, &g, &a, 1.0, Some(&mut dx), &mut da);
            (y, dx, da, delta_weight(&sandwich, &a, 1.0))
        })
    };
    assert!(run(1) == run(3));
}
