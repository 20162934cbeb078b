use burn::tensor::{DType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

const CASES: [ScanCase; 6] = [
    ScanCase::new(&[1], 1, 1, false),
    ScanCase::new(&[5, 1, 3], 2, 3, true),
    ScanCase::new(&[4, 4], 3, 2, false),
    ScanCase {
        gate: false,
        ..ScanCase::new(&[3, 2], 2, 4, true)
    },
    ScanCase {
        initial: false,
        ..ScanCase::new(&[2, 3], 3, 2, true)
    },
    // More rows than a chunk, more channels than a task.
    ScanCase::new(&[70, 33, 1, 32], 67, 4, true),
];

#[test]
fn scans_are_their_formula() {
    for case in CASES {
        let inputs = case.inputs();
        let want = case.reference(&inputs);
        let op = case.op(selective_scan, device());
        matches(&format!("{case:?}"), &op, &inputs, &want);
    }
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    let longer = ScanCase::new(&[35, 2], 2, 2, true);
    for case in CASES.into_iter().filter(|c| c.d < 10).chain([longer]) {
        let op = case.op(selective_scan, device());
        check_gradients(&format!("{case:?}"), &op, &case.inputs());
    }
}

#[test]
fn a_part_and_then_single_rows_give_the_whole() {
    let device = device();
    let case = ScanCase::new(&[9], 5, 3, true);
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let whole = case.shaped(case.inputs().iter().map(on_device).collect());
    let rows = |n: usize| RowLayout::new(vec![0, n], &device);
    let (want, want_last) = selective_scan(whole.clone(), &rows(9));
    let (mut states, mut parts) = (whole.initial.clone(), Vec::new());
    for span in [0..5, 5..6, 6..7, 7..8, 8..9] {
        let part = |x: &Tensor<2>| x.clone().slice(span.clone());
        let inputs = SelectiveScan {
            u: part(&whole.u),
            delta: part(&whole.delta),
            b: part(&whole.b),
            c: part(&whole.c),
            gate: whole.gate.as_ref().map(part),
            initial: states,
            ..whole.clone()
        };
        let (y, last) = selective_scan(inputs, &rows(span.len()));
        states = Some(last);
        parts.push(y);
    }
    let got = Tensor::cat(parts, 0);
    assert_close("output", &values(got), &values(want), 1e-6);
    let got = values(states.unwrap());
    assert_close("states", &got, &values(want_last), 1e-6);
}

#[test]
fn a_step_of_many_sequences_is_a_step_of_each() {
    let device = device();
    let case = ScanCase::new(&[1, 1, 1, 1], 4, 3, true);
    let inputs = case.inputs();
    let got = case.op(selective_scan, device)(
        inputs
            .iter()
            .map(|v| tensor(v, DType::F32, &crate::common::device()))
            .collect(),
    );
    assert_close("steps", &values(got), &case.reference(&inputs), 1e-5);
}

#[test]
fn nan_stays_within_its_sequence_and_channel() {
    let device = device();
    let case = ScanCase::new(&[3, 4], 3, 2, true);
    let mut inputs = case.inputs();
    inputs[0][3 + 1] = f64::NAN; // row 1, channel 1
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let x = case.shaped(inputs.iter().map(on_device).collect());
    let rows = RowLayout::new(case.starts(), &device);
    let (y, last) = selective_scan(x, &rows);
    for (i, is_nan) in nans(y).into_iter().enumerate() {
        assert_eq!(is_nan, i % 3 == 1 && (1..3).contains(&(i / 3)), "{i}");
    }
    for (i, is_nan) in nans(last).into_iter().enumerate() {
        assert_eq!(is_nan, i / 2 == 1, "{i}");
    }
}

#[test]
fn large_rates_and_steps_forget_and_do_not_overflow() {
    let device = device();
    let case = ScanCase::new(&[40], 2, 2, false);
    let mut inputs = case.inputs();
    inputs[1].iter_mut().for_each(|v| *v *= 50.0);
    inputs[2].iter_mut().for_each(|v| *v = 10.0);
    let op = case.op(selective_scan, device.clone());
    let want = case.reference(&inputs);
    match has_f64() {
        true => matches("large", &op, &inputs, &want),
        // Without double precision it is wgpu; Mesa's lavapipe was seen 4.7e-5 off here.
        false => {
            let inputs = inputs.iter().map(|v| tensor(v, DType::F32, &device));
            assert_close("large", &values(op(inputs.collect())), &want, 1e-4);
        }
    }
}

#[test]
#[should_panic(expected = "selective_scan: initial must be [2, 3, 2]")]
fn initial_states_are_of_every_sequence() {
    let device = device();
    let case = ScanCase::new(&[3, 4], 3, 2, true);
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let mut x = case.shaped(case.inputs().iter().map(on_device).collect());
    x.initial = Some(Tensor::zeros([1, 3, 2], &device));
    selective_scan(x, &RowLayout::new(case.starts(), &device));
}

/// In the precision that GPUs compute in.
#[test]
fn gradients_in_single_precision_are_those_of_the_composition() {
    let cases = [
        CASES[1],
        CASES[2],
        CASES[3],
        CASES[4],
        CASES[5],
        // More states than a GPU's units hold.
        ScanCase::new(&[20, 3], 3, 49, true),
        ScanCase::new(&[40], 33, 16, false),
    ];
    for case in cases {
        let inputs = case.inputs();
        let fast = case.op(selective_scan, device());
        let composed = case.op(portable::selective_scan, device());
        let (got, grads) = run(&fast, &inputs, DType::F32);
        let (want, wanted) = run(&composed, &inputs, DType::F32);
        assert_close(&format!("{case:?}: output"), &got, &want, 1e-5);
        for (at, (grad, want)) in grads.iter().zip(&wanted).enumerate() {
            assert_close(&format!("{case:?}: gradient {at}"), grad, want, 1e-5);
        }
        // Where the last states are not used, they have no gradient.
        let rows = RowLayout::new(case.starts(), &device());
        let alone = |x: Vec<Tensor<1>>| selective_scan(case.shaped(x), &rows).0.flatten(0, 1);
        let portably = |x: Vec<Tensor<1>>| {
            let (y, _) = portable::selective_scan(case.shaped(x), &rows);
            y.flatten(0, 1)
        };
        let (_, of_output) = run(&alone, &inputs, DType::F32);
        let (_, wanted) = run(&portably, &inputs, DType::F32);
        for (at, (grad, want)) in of_output.iter().zip(&wanted).enumerate() {
            assert_close(
                &format!("{case:?}: gradient {at}, output alone"),
                grad,
                want,
                1e-5,
            );
        }
        let (again, grads_again) = run(&fast, &inputs, DType::F32);
        assert!(got == again && grads == grads_again, "{case:?}: other bits");
    }
}
