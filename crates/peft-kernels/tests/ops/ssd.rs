use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

const CASES: [DualCase; 5] = [
    DualCase(&[1], 1, 1, 1, 1, false),
    DualCase(&[1, 1], 2, 2, 3, 1, true),
    DualCase(&[5, 1, 3], 4, 2, 3, 2, true),
    DualCase(&[4, 4], 2, 3, 2, 2, false),
    // More rows than a chunk.
    DualCase(&[70, 3, 130], 2, 3, 2, 1, true),
];

#[test]
fn scans_are_their_formula() {
    for case in CASES {
        let inputs = case.inputs();
        let want = case.reference(&inputs);
        matches(
            &format!("{case:?}"),
            &case.op(ssd, device()),
            &inputs,
            &want,
        );
    }
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    let longer = DualCase(&[66, 2], 1, 1, 2, 1, true);
    // Several sequences of several chunks, with heads that share groups.
    let several = DualCase(&[66, 65], 4, 1, 1, 2, true);
    let without = DualCase(&[65, 64], 2, 2, 1, 1, false);
    let longer = [longer, several, without];
    for case in CASES[..4].iter().copied().chain(longer) {
        check_gradients(
            &format!("{case:?}"),
            &case.op(ssd, device()),
            &case.inputs(),
        );
    }
}

#[test]
fn a_part_and_then_single_rows_give_the_whole() {
    let device = device();
    let case = DualCase(&[9], 2, 3, 4, 1, true);
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let whole = case.shaped(case.inputs().iter().map(on_device).collect());
    let rows = |n: usize| RowLayout::new(vec![0, n], &device);
    let (want, want_last) = ssd(whole.clone(), &rows(9));
    let (mut states, mut parts) = (whole.initial.clone(), Vec::new());
    for span in [0..5, 5..6, 6..7, 7..9] {
        let part = |x: &Tensor<2>| x.clone().slice(span.clone());
        let inputs = StateSpaceDual {
            x: part(&whole.x),
            dt: part(&whole.dt),
            b: part(&whole.b),
            c: part(&whole.c),
            initial: states,
            ..whole.clone()
        };
        let (y, last) = ssd(inputs, &rows(span.len()));
        states = Some(last);
        parts.push(y);
    }
    let got = Tensor::cat(parts, 0);
    assert_close("output", &values(got), &values(want), 1e-5);
    let got = values(states.unwrap());
    assert_close("states", &got, &values(want_last), 1e-5);
}

#[test]
#[should_panic(expected = "ssd: 3 groups must divide 4 heads")]
fn groups_divide_the_heads() {
    let device = device();
    let case = DualCase(&[2], 4, 1, 3, 1, false);
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let mut x = case.shaped(case.inputs().iter().map(on_device).collect());
    x.groups = 3;
    ssd(x, &RowLayout::new(case.starts(), &device));
}
