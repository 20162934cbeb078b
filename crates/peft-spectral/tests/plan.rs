//! The cost model's rules of thumb.

mod common;

use burn::tensor::{Device, FloatDType, TensorData};
use common::scattered;
use peft_spectral::{
    Basis, Route, Sandwich, Spectral, SpectralParts, Support,
    plan::{Extent, Machine, Way, choose, estimate, merged_from},
    support,
};

const ALL: [Way; 4] = [
    Way::FactoredSparse,
    Way::FactoredDense,
    Way::Fast,
    Way::Merged,
];

fn random(side: usize) -> Sandwich {
    let support = scattered(Basis::Dct, side, side, 1000, 1);
    Sandwich::new(Basis::Dct, side, side, &support).unwrap()
}

fn block(side: usize, rank: u32) -> Sandwich {
    let entries = (0..rank * rank).map(|i| [i / rank, i % rank]).collect();
    let support = Support::new(side, side, entries).unwrap();
    Sandwich::new(Basis::Dct, side, side, &support).unwrap()
}

#[test]
fn a_cpu_transforms_scattered_supports_and_multiplies_small_blocks() {
    let way = |sandwich: &Sandwich| choose(&ALL, &sandwich.into(), 1024, &Machine::CPU_CORE).way;
    assert_eq!(way(&random(4096)), Way::Fast);
    assert!(matches!(
        way(&block(4096, 8)),
        Way::FactoredSparse | Way::FactoredDense
    ));
}

#[test]
fn merging_pays_for_more_rows_than_the_weight_has() {
    let way = |side, rows| {
        let ways = [Way::Fast, Way::Merged];
        choose(&ways, &(&random(side)).into(), rows, &Machine::CPU_CORE).way
    };
    assert_eq!(way(4096, 1024), Way::Fast);
    assert_eq!(way(768, 256), Way::Fast);
    assert_eq!(way(768, 8192), Way::Merged);
    assert_eq!(way(384, 4096), Way::Merged);
}

#[test]
fn the_number_of_rows_from_which_merging_pays_is_where_the_choice_turns() {
    for side in [128, 384, 768, 2048] {
        let extent = Extent::from(&random(side));
        let from = merged_from(&extent, &Machine::CPU_CORE).expect("it pays for many rows");
        let way = |rows| choose(&[Way::Fast, Way::Merged], &extent, rows, &Machine::CPU_CORE).way;
        assert_eq!(
            (way(from - 1), way(from + 1)),
            (Way::Fast, Way::Merged),
            "{side}: {from}"
        );
    }
}

#[test]
fn a_scattered_support_is_as_large_as_expected() {
    for (side, count) in [(384, 1200), (768, 1000), (4096, 1000)] {
        let support = scattered(Basis::Dct, side, side, count, 3);
        let found = Extent::from(&Sandwich::new(Basis::Dct, side, side, &support).unwrap());
        let expected = Extent::scattered(Basis::Dct, [side, side], count);
        let near = |a: usize, b: usize| (a as f64 / b as f64 - 1.0).abs() < 0.03;
        assert!(
            near(found.out_rows, expected.out_rows),
            "{found:?} {expected:?}"
        );
        assert!(
            near(found.in_rows, expected.in_rows),
            "{found:?} {expected:?}"
        );
        assert_eq!(found.places, expected.places);
    }
}

#[test]
fn distinct_rows_are_counted_as_the_specification_counts_them() {
    // |U| ≈ d (1 − e^{−n/d}): 559 at 768, 887 at 4096.
    for (side, expected) in [(768, 559.0), (4096, 887.0)] {
        let sandwich = random(side);
        let core = sandwich.core();
        for lines in [core.rows(), core.cols()] {
            assert!(
                (lines as f64 - expected).abs() < 0.03 * expected,
                "{side}: {lines}"
            );
        }
        let cost = estimate(Way::FactoredSparse, &(&sandwich).into(), 4096);
        let per_row = 4.0 * (core.rows() + core.cols()) as f64 * side as f64;
        assert_eq!(cost.product_flops, 4096.0 * per_row);
        assert_eq!(cost.saved_per_row, core.cols());
    }
}

#[test]
fn the_core_lists_every_coefficient_with_its_signs() {
    let support = Support::new(8, 6, vec![[3, 2], [0, 5], [4, 3]]).unwrap();
    let sandwich = Sandwich::new(Basis::Fourier, 8, 6, &support).unwrap();
    // Only (3, 2) has a sine part: the others have a self-conjugate frequency.
    assert_eq!(sandwich.out_rows(), [0, 3, 4, 11]);
    assert_eq!(sandwich.in_rows(), [2, 3, 5, 8]);
    let core = sandwich.core();
    assert_eq!((core.coefficients(), core.places()), (3, 4));
    assert_eq!(core.starts(), [0, 1, 2, 3, 4]);
    assert_eq!(core.row_of_places(), [0, 1, 2, 3]);
    assert_eq!(core.columns(), [2, 0, 1, 3]);
    assert_eq!(core.indices(), [1, 0, 2, 0]);
    assert_eq!(core.signs(), [1, 1, 1, -1]);
    assert_eq!(
        core.values(&[10.0, 20.0, 30.0], 0.5),
        [10.0, 5.0, 15.0, -5.0]
    );
    assert!(Sandwich::new(Basis::Fourier, 8, 7, &support).is_err());
}

#[test]
fn an_adapter_says_which_way_it_takes() {
    let adapter = |evaluation| {
        let parts = SpectralParts {
            basis: Basis::Dct,
            shape: [48, 40],
            support: support::random(48, 40, 60, 1).unwrap(),
            coefficients: TensorData::zeros::<f32, _>([60]),
            gamma: 1.0,
            rate: 1.0,
            evaluation,
        };
        Spectral::new(parts, FloatDType::F32, &Device::flex()).unwrap()
    };
    for rows in [1, 100, 100_000] {
        for asked in [Route::Factored, Route::Fast, Route::Merged] {
            assert_eq!(adapter(asked).evaluation(rows), asked);
        }
        assert_ne!(adapter(Route::Auto).evaluation(rows), Route::Auto);
    }
    // A row for itself is never worth a weight.
    assert_ne!(adapter(Route::Auto).evaluation(1), Route::Merged);
}
