//! Selections: budgets, bands, determinism, refusals.

mod common;

use common::noise;
use peft_spectral::{
    SpectralError, Support,
    support::{
        Bands, Hierarchical, Metric, Reach, hierarchical, low_block, product, random, strongest,
    },
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn bands_partition_the_grid(
        m in 1_usize..40,
        n in 1_usize..40,
        count in 1_u32..6,
        metric in 0..3,
        paper in any::<bool>(),
    ) {
        let metric = [Metric::Corner, Metric::Normalized, Metric::Centre][metric as usize];
        let reach = if paper { Reach::Paper } else { Reach::Grid };
        let bands = Bands::new(m, n, count, metric, reach).unwrap();
        let populations = bands.populations();
        prop_assert_eq!(populations.len(), count as usize);
        prop_assert_eq!(populations.iter().sum::<u64>(), (m * n) as u64);
    }

    #[test]
    fn selections_have_their_size_and_are_sorted(
        m in 1_usize..30,
        n in 1_usize..30,
        part in 0.0..1.0_f64,
        bands in 1_u32..5,
        share in 0.0..=1.0_f64,
        key in any::<u64>(),
    ) {
        let count = 1 + (part * (m * n - 1) as f64) as usize;
        let scores = noise(key, m * n);
        let settings = Hierarchical { bands, energy_share: share, ..Hierarchical::default() };
        let found = [
            hierarchical(&scores, m, n, count, &settings, key).unwrap(),
            strongest(&scores, m, n, count).unwrap(),
            random(m, n, count, key).unwrap(),
            low_block(m, n, count).unwrap(),
        ];
        for support in found {
            prop_assert_eq!(support.len(), count);
            prop_assert!(support.entries().is_sorted());
        }
    }

    #[test]
    fn products_stay_inside_their_rows_and_columns(
        m in 3_usize..30,
        n in 3_usize..30,
        rows in 1_usize..12,
        cols in 1_usize..12,
        key in any::<u64>(),
    ) {
        let (rows, cols) = (rows.min(m), cols.min(n));
        let scores = noise(key, m * n);
        let settings = Hierarchical::default();
        let all = product(&scores, m, n, [rows, cols], rows * cols, &settings, key).unwrap();
        let distinct = |axis: usize| {
            let mut lines: Vec<u32> = all.entries().iter().map(|entry| entry[axis]).collect();
            lines.sort_unstable();
            lines.dedup();
            lines.len()
        };
        prop_assert_eq!((distinct(0), distinct(1)), (rows, cols));
        let too_many = product(&scores, m, n, [rows, cols], rows * cols + 1, &settings, key);
        prop_assert!(too_many.is_err());
    }
}

#[test]
fn band_areas_are_those_of_the_specification() {
    let share = |metric, reach| {
        Bands::new(768, 768, 3, metric, reach)
            .unwrap()
            .populations()
            .iter()
            .map(|&count| (count as f64 / (768.0 * 768.0) * 1000.0).round() / 10.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(share(Metric::Corner, Reach::Grid), [17.5, 52.3, 30.2]);
    assert_eq!(share(Metric::Corner, Reach::Paper), [4.4, 13.1, 82.5]);
    assert_eq!(share(Metric::Centre, Reach::Grid), [17.4, 52.4, 30.2]);
}

#[test]
fn equal_keys_draw_equal_entries_and_smaller_draws_are_subsets() {
    let large = random(100, 70, 500, 9).unwrap();
    assert_eq!(large, random(100, 70, 500, 9).unwrap());
    assert_ne!(large, random(100, 70, 500, 10).unwrap());
    let small = random(100, 70, 60, 9).unwrap();
    assert!(
        small
            .entries()
            .iter()
            .all(|entry| large.entries().contains(entry))
    );
}

#[test]
fn random_entries_are_uniform() {
    let (m, n, count, draws) = (6, 5, 9, 4000);
    let mut hits = vec![0_u32; m * n];
    for key in 0..draws {
        for [u, v] in random(m, n, count, key).unwrap().entries() {
            hits[*u as usize * n + *v as usize] += 1;
        }
    }
    // Binomial(4000, 0.3): mean 1200, standard deviation 29.
    assert!(
        hits.iter()
            .all(|&hits| (1200 - 150..1200 + 150).contains(&hits)),
        "{hits:?}"
    );
}

#[test]
fn equal_magnitudes_go_by_place_and_signs_do_not_matter() {
    let scores = [1.0_f32, -2.0, 2.0, -1.0, 2.0, 0.5];
    let support = strongest(&scores, 2, 3, 2).unwrap();
    assert_eq!(support.entries(), [[0, 1], [0, 2]]);
}

#[test]
fn an_exact_share_is_not_lost_to_rounding() {
    // 0.7 * 90 is 62.99999999999999 in doubles; 63 strongest entries are meant.
    let scores: Vec<f64> = (0..200).map(|i| 200.0 - f64::from(i)).collect();
    let settings = Hierarchical {
        bands: 1,
        ..Hierarchical::default()
    };
    let support = hierarchical(&scores, 1, 200, 90, &settings, 3).unwrap();
    assert!(
        support.entries()[..63]
            .iter()
            .enumerate()
            .all(|(i, entry)| entry[1] == i as u32)
    );
}

#[test]
fn low_blocks_are_low() {
    assert_eq!(
        low_block(4, 4, 4).unwrap().entries(),
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    );
    assert_eq!(
        low_block(1, 9, 3).unwrap().entries(),
        [[0, 0], [0, 1], [0, 2]]
    );
    assert_eq!(low_block(9, 1, 9).unwrap().len(), 9);
}

#[test]
fn bad_requests_are_refused_with_their_reason() {
    let scores = vec![1.0; 12];
    let settings = Hierarchical::default();
    let refused = |result: Result<Support, SpectralError>| result.unwrap_err();
    assert!(matches!(
        refused(random(3, 4, 0, 0)),
        SpectralError::Count { .. }
    ));
    assert!(matches!(
        refused(random(3, 4, 13, 0)),
        SpectralError::Count { .. }
    ));
    assert!(matches!(
        refused(strongest(&scores, 3, 5, 1)),
        SpectralError::Scores { .. }
    ));
    assert!(matches!(
        refused(random(0, 4, 1, 0)),
        SpectralError::Grid { .. }
    ));
    let share = Hierarchical {
        energy_share: 1.5,
        ..settings
    };
    assert_eq!(
        refused(hierarchical(&scores, 3, 4, 2, &share, 0)),
        SpectralError::Share(1.5)
    );
    let bands = Hierarchical {
        bands: 0,
        ..settings
    };
    assert_eq!(
        refused(hierarchical(&scores, 3, 4, 2, &bands, 0)),
        SpectralError::Bands(0)
    );
    let mut broken = scores.clone();
    broken[7] = f64::NAN;
    let not_finite = SpectralError::NotFinite { row: 1, col: 3 };
    assert_eq!(refused(strongest(&broken, 3, 4, 2)), not_finite);
    assert_eq!(
        refused(hierarchical(&broken, 3, 4, 2, &settings, 0)),
        not_finite
    );
    assert_eq!(
        refused(Support::new(2, 2, vec![[0, 1], [0, 1]])),
        SpectralError::Duplicate { row: 0, col: 1 }
    );
    assert!(matches!(
        refused(Support::new(2, 2, vec![[0, 2]])),
        SpectralError::OutsideGrid { index: 0, .. }
    ));
}
