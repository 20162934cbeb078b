use burn::tensor::{DType, Int, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

const D: usize = 19;
const EPS: f64 = 1e-3;
const ENTRIES: [usize; 3] = [11, 7, 2];
const IDS: [&[i32]; 3] = [
    &[3, 10, 0, 3, 3, 7],
    &[0, 1, 2, 0, 1, 6],
    &[0, 0, 1, 1, 0, 1],
];

/// The ids of a table; `shared` has one id of the last table for all rows.
fn ids(table: usize, shared: bool) -> &'static [i32] {
    match (table, shared) {
        (2, true) => &[1],
        _ => IDS[table],
    }
}

/// Inputs: the tables, gamma, beta.
fn inputs(tables: usize) -> Vec<Vec<f64>> {
    let table = |i: usize| numbers(i as u64 + 1, ENTRIES[i] * D);
    let mut inputs: Vec<Vec<f64>> = (0..tables).map(table).collect();
    inputs.extend([numbers(8, D), numbers(9, D)]);
    inputs
}

fn op(tables: usize, shared: bool) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let (beta, gamma) = (t.pop().unwrap(), t.pop().unwrap());
        let mut lookups = t.into_iter().enumerate().map(|(i, table)| Lookup {
            table: table.reshape([ENTRIES[i], D]),
            ids: Tensor::<1, Int>::from_ints(ids(i, shared), &device()),
        });
        let word = lookups.next().unwrap();
        let (position, segment) = (lookups.next(), lookups.next());
        assert_eq!(
            tables,
            1 + usize::from(position.is_some()) + usize::from(segment.is_some())
        );
        let norm = NormParameters {
            gamma,
            beta,
            eps: EPS,
        };
        embedding_layer_norm(word, position, segment, norm).flatten(0, 1)
    }
}

fn by_hand(inputs: &[Vec<f64>], shared: bool) -> Vec<f64> {
    let (tables, norm) = inputs.split_at(inputs.len() - 2);
    let row = |row: usize| -> Vec<f64> {
        let at = |i: usize| {
            let ids = ids(i, shared);
            ids[if ids.len() == 1 { 0 } else { row }] as usize * D
        };
        let sum = |column: usize| -> f64 {
            let entry = |(i, table): (usize, &Vec<f64>)| table[at(i) + column];
            tables.iter().enumerate().map(entry).sum()
        };
        let x: Vec<f64> = (0..D).map(sum).collect();
        let mean = x.iter().sum::<f64>() / D as f64;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / D as f64;
        let normal = |i: usize| (x[i] - mean) / (var + EPS).sqrt() * norm[0][i] + norm[1][i];
        (0..D).map(normal).collect()
    };
    (0..IDS[0].len()).flat_map(row).collect()
}

const FORMS: [(usize, bool); 4] = [(1, false), (2, false), (3, false), (3, true)];

#[test]
fn the_sum_of_rows_is_normalised() {
    for (tables, shared) in FORMS {
        let inputs = inputs(tables);
        let want = by_hand(&inputs, shared);
        matches("embedding", &op(tables, shared), &inputs, &want);
    }
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    for (tables, shared) in FORMS {
        check_gradients("embedding", &op(tables, shared), &inputs(tables));
    }
}

#[test]
fn a_nan_stays_in_the_rows_that_read_it() {
    let mut inputs = inputs(2);
    inputs[1][2 * D] = f64::NAN;
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device());
    let y = op(2, false)(inputs.iter().map(on_device).collect());
    for (i, is_nan) in nans(y).into_iter().enumerate() {
        assert_eq!(is_nan, i / D == 2, "row {}", i / D);
    }
}

#[test]
fn tables_may_be_of_half_precision() {
    let device = device();
    for dtype in [DType::F16, DType::BF16] {
        if !device.supports_dtype(dtype)
            || std::env::var("PEFT_TEST_DEVICE").is_ok_and(|d| d == "ndarray")
        {
            continue;
        }
        let inputs = inputs(3);
        let round = |wide: bool| {
            let number = |(i, v): (usize, &Vec<f64>)| {
                let x = tensor(v, DType::F32, &device);
                match i {
                    0..3 if wide => x.cast(dtype).cast(DType::F32),
                    0..3 => x.cast(dtype),
                    _ => x,
                }
            };
            values(op(3, false)(
                inputs.iter().enumerate().map(number).collect(),
            ))
        };
        assert_close("half tables", &round(false), &round(true), 1e-6);
    }
}

#[test]
#[should_panic(expected = "ids into a table of 19 columns do not fit 6 rows")]
fn every_row_needs_its_ids() {
    let device = device();
    let lookup = |n: usize| Lookup {
        table: Tensor::zeros([4, D], &device),
        ids: Tensor::zeros([n], &device),
    };
    let norm = NormParameters {
        gamma: Tensor::ones([D], &device),
        beta: Tensor::zeros([D], &device),
        eps: EPS,
    };
    embedding_layer_norm(lookup(6), Some(lookup(5)), None, norm);
}

fn plain(mut t: Vec<Tensor<1>>) -> Tensor<1> {
    let table = t.remove(0).reshape([ENTRIES[0], D]);
    let ids = Tensor::<1, Int>::from_ints(IDS[0], &device());
    embedding(table, ids).flatten(0, 1)
}

#[test]
fn rows_of_a_table_are_taken() {
    let table = numbers(1, ENTRIES[0] * D);
    let row = |&id: &i32| table[id as usize * D..][..D].to_vec();
    let want: Vec<f64> = IDS[0].iter().flat_map(row).collect();
    matches("embedding", &plain, std::slice::from_ref(&table), &want);
    if has_f64() {
        check_gradients("embedding", &plain, &[table]);
    }
}

#[test]
fn rows_keep_the_type_of_the_table() {
    let device = device();
    for dtype in [DType::F16, DType::BF16] {
        if !device.supports_dtype(dtype)
            || std::env::var("PEFT_TEST_DEVICE").is_ok_and(|d| d == "ndarray")
        {
            continue;
        }
        let table = tensor(&numbers(1, ENTRIES[0] * D), dtype, &device);
        let got = plain(vec![table.clone()]);
        assert_eq!(got.dtype(), dtype);
        assert_eq!(values(got), values(plain(vec![table.cast(DType::F32)])));
    }
}
