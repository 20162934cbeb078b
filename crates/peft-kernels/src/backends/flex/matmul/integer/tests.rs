use peft_blocks::BlockType;
use proptest::prelude::*;

use super::super::{Matrix, Output, Start, tests::blocks_of};
use super::*;
use crate::backends::flex::{
    decoded,
    view::{Target, elements},
};

fn values(seed: u64, count: usize) -> Vec<f32> {
    crate::normal(crate::key_of(seed, "values", 0), count)
}

/// A row as it is rounded, by the definition.
fn rounded(row: &[f32]) -> Vec<f64> {
    let runs = row.chunks(RUN).flat_map(|run| {
        let largest = run.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = largest / 127.0;
        // In single precision, as near to a half it decides.
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let whole = move |x: &f32| f64::from((x * inverse).round_ties_even());
        run.iter().map(move |x| whole(x) * f64::from(scale))
    });
    runs.collect()
}

/// Products by all units, on all threads or on one.
fn products(
    units: Units,
    a: &[f32],
    rows: usize,
    weight: Blocks,
    before: Option<&[f32]>,
    threads: Threads,
) -> Vec<f32> {
    let (k, cols) = (weight.rows, weight.cols);
    let mut out = before.map_or_else(|| vec![f32::NAN; rows * cols], <[f32]>::to_vec);
    let output = Output {
        to: Target(out.as_mut_ptr()),
        rows,
        cols,
        row_stride: cols as isize,
        col_stride: 1,
    };
    let a = Matrix {
        start: a.as_ptr(),
        rows,
        cols: k,
        row_stride: k as isize,
        col_stride: 1,
    };
    let term = Term {
        a,
        b: Operand::Blocks(weight),
        scale: 0.5,
    };
    let start = if before.is_some() {
        Start::Output
    } else {
        Start::Zero
    };
    // SAFETY: all of fitting shapes; the machine has the units.
    unsafe { multiply(units, &term, weight, output.sink(start), threads) };
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// All units give the product of the rounded rows with the decoded weight, and the same bits on all threads.
    #[test]
    fn products_are_those_of_rounded_rows(
        kind in prop::sample::select(&kinds::KNOWN[..]),
        rows in prop_oneof![1..=4usize, 5..15usize],
        blocks in 1..12usize,
        cols in prop_oneof![5..40usize, 200..400usize],
        adds: bool,
        seed: u64,
    ) {
        let k = blocks * kind.block_len();
        let tensor = blocks_of(kind, cols, k);
        let weight = Blocks::of(&tensor).unwrap().transposed();
        let numbers = decoded(weight.transposed());
        let numbers: &[f32] = elements(&numbers);
        let a = values(seed, rows * k);
        let before = values(seed ^ 2, rows * cols);
        let before = adds.then_some(&before[..]);
        for units in units::all() {
            let found = products(*units, &a, rows, weight, before, Threads::Pool);
            let alone = products(*units, &a, rows, weight, before, Threads::Caller);
            prop_assert_eq!(&found, &alone);
            for i in 0..rows {
                let row = rounded(&a[i * k..][..k]);
                for j in 0..cols {
                    let line = &numbers[j * k..][..k];
                    let (mut sum, mut size) = (0.0, 0.0);
                    for (x, w) in row.iter().zip(line) {
                        let product = x * f64::from(*w);
                        (sum, size) = (sum + product, size + product.abs());
                    }
                    let place = i * cols + j;
                    let expected = 0.5 * sum + before.map_or(0.0, |before| f64::from(before[place]));
                    let error = (f64::from(found[place]) - expected).abs();
                    prop_assert!(error <= 2e-6 * (size + 1.0),
                        "{} {kind:?} ({i}, {j}): {} is not {expected}", units.name, found[place]);
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_spoils_its_row_and_zeros_are_exact() {
    let (k, cols) = (128, 9);
    for kind in [BlockType::Q4_0, BlockType::Q4_1, BlockType::Q8_0] {
        let tensor = blocks_of(kind, cols, k);
        let weight = Blocks::of(&tensor).unwrap().transposed();
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut a = values(5, 3 * k);
            a[k + 70] = broken;
            a[2 * k..].fill(0.0);
            for units in units::all() {
                let found = products(*units, &a, 3, weight, None, Threads::Caller);
                assert!(
                    found[..cols].iter().all(|x| x.is_finite()),
                    "{}",
                    units.name
                );
                assert!(
                    found[cols..2 * cols].iter().all(|x| x.is_nan()),
                    "{}: {found:?}",
                    units.name
                );
                assert!(
                    found[2 * cols..].iter().all(|x| *x == 0.0),
                    "{}",
                    units.name
                );
            }
        }
    }
}

#[test]
fn the_least_numbers_are_taken_for_zero() {
    let tensor = blocks_of(BlockType::Q8_0, 5, 32);
    let weight = Blocks::of(&tensor).unwrap().transposed();
    let a = [f32::from_bits(3); 32];
    for units in units::all() {
        let found = products(*units, &a, 1, weight, None, Threads::Caller);
        assert!(found.iter().all(|x| *x == 0.0), "{}: {found:?}", units.name);
    }
}

#[test]
fn how_many_rows_there_are_changes_none() {
    let (k, cols) = (256, 70);
    let tensor = blocks_of(BlockType::Q4K, cols, k);
    let weight = Blocks::of(&tensor).unwrap().transposed();
    let a = values(9, 11 * k);
    for units in units::all() {
        let all = products(*units, &a, 11, weight, None, Threads::Pool);
        for i in 0..11 {
            let alone = products(*units, &a[i * k..], 1, weight, None, Threads::Pool);
            assert_eq!(alone, all[i * cols..][..cols]);
        }
    }
}
