//! What every registered method must hold, on the backend that `PEFT_TEST_DEVICE` names.
//!
//! `flex` (default) and `ndarray` check many shapes and settings in f64 and f32; `wgpu` checks one of each in
//! f32, for a GPU without a GPU is slow.

mod files;
mod gradients;
mod kinds;
mod model;
mod sets;
mod values;
mod variants;

use peft_core::SiteKind;
use peft_methods::{Entry, METHODS};
use proptest::prelude::*;

use model::{Case, backend};
use variants::{adapts_weights, variants};

/// Methods whose update has a sparse core.
const SPARSE_CORES: [&str; 5] = ["sdctft", "ssh", "fourierft", "waveft", "loca"];

/// Whether a method adapts anything but weights of linear layers and tables: [`kinds`] is about it. LoRA's tables have goldens.
fn adapts_others(entry: &Entry) -> bool {
    let method = (entry.build)(&(entry.defaults)()).unwrap();
    let tested_here = |kind: &SiteKind| kind.is_linear() || *kind == SiteKind::Embedding;
    !method.site_kinds().iter().all(tested_here)
}

/// Run a property over methods, variants and shapes.
fn check(property: impl Fn(&Case)) {
    for entry in METHODS.iter().filter(|entry| adapts_weights(entry)) {
        if entry.name == "meprop" && backend() != "flex" {
            continue;
        }
        // How many there are does not depend on the widths.
        let variants_tested = match backend().as_str() {
            "wgpu" => 1,
            _ => variants(entry, [1, 1]).len(),
        };
        for variant in 0..variants_tested {
            let run = |inputs, outputs, rows, seed| {
                let settings = &variants(entry, [inputs, outputs])[variant];
                property(&Case::new(entry, settings, inputs, outputs, rows, seed));
            };
            if backend() == "wgpu" {
                run(9, 5, 3, 1);
                // Wide enough that eleven places hardly share a row: a core that has a kernel.
                if SPARSE_CORES.contains(&entry.name) {
                    run(40, 33, 3, 1);
                }
                continue;
            }
            // Edges first: one feature, one row, a rank above the width.
            for (inputs, outputs, rows) in
                [(1, 1, 1), (1, 7, 2), (7, 1, 1), (17, 17, 3), (31, 64, 5)]
            {
                run(inputs, outputs, rows, 1);
            }
            let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
                cases: 12,
                failure_persistence: None,
                rng_seed: proptest::test_runner::RngSeed::Fixed(7),
                ..ProptestConfig::default()
            });
            let shapes = (1..40usize, 1..40usize, 1..9usize, 0..1000u64);
            runner
                .run(&shapes, |(inputs, outputs, rows, seed)| {
                    run(inputs, outputs, rows, seed);
                    Ok(())
                })
                .unwrap();
        }
    }
}

#[test]
fn a_fresh_adapter_changes_no_bit() {
    check(values::fresh_is_identity);
}

#[test]
fn factored_equals_dense_equals_merged() {
    check(values::three_ways);
}

#[test]
fn the_dense_path_of_a_foreign_layer_agrees() {
    check(values::foreign_layer);
}

#[test]
fn half_precision_weights_are_rounded_once() {
    check(values::half_precision);
}

#[test]
fn initial_values_depend_on_seed_and_path_only() {
    check(values::initial_values);
}

#[test]
fn gradients_of_both_paths_agree() {
    check(gradients::factored_and_dense);
}

#[test]
fn gradients_match_finite_differences() {
    if backend() != "wgpu" {
        check(gradients::finite_differences);
    }
}

#[test]
fn only_adapters_are_trained() {
    check(gradients::only_adapters);
}

#[test]
fn files_keep_keys_and_bytes() {
    check(files::round_trip);
}

#[test]
fn broken_files_are_refused() {
    check(files::broken);
}

#[test]
fn settings_survive_their_file() {
    check(files::settings);
}

#[test]
fn rows_of_a_mixed_batch_are_what_they_are_alone() {
    check(sets::mixed_rows);
}

#[test]
fn adapters_are_switched_without_a_trace() {
    check(sets::switching);
}

#[test]
fn additive_adapters_can_be_summed() {
    check(sets::sums);
}

#[test]
fn a_mixed_batch_has_the_gradients_of_batches_apart() {
    check(sets::gradients);
}

#[test]
fn one_of_a_set_is_saved_as_it_is_alone() {
    check(sets::files);
}
