use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

fn scan_agrees(case: ScanCase) {
    agree(
        &format!("{case:?}"),
        &case.op(selective_scan, Device::flex()),
        &case.op(portable::selective_scan, Device::flex()),
        &case.inputs(),
    );
}

#[test]
fn scans_agree() {
    for case in [
        ScanCase::new(&[70, 33, 1, 32], 130, 16, true),
        ScanCase::new(&[64], 64, 16, false),
        ScanCase::new(&[1, 1, 1], 65, 8, true),
    ] {
        scan_agrees(case);
    }
}

const LENGTHS: [&[usize]; 4] = [&[1], &[31, 2], &[32, 33], &[5, 70, 1]];

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_scan_agrees(
        lengths in prop::sample::select(LENGTHS.to_vec()),
        d in 1_usize..90,
        n in 1_usize..6,
        gate: bool,
        bias: bool,
        initial: bool,
    ) {
        scan_agrees(ScanCase { lengths, d, n, gate, bias, initial });
    }
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let case = ScanCase::new(&[70, 33, 1, 32], 300, 4, true);
    let op = case.op(selective_scan, Device::flex());
    same_for_any_threads("selective_scan", &op, &case.inputs());
}

/// Leaves of which some want gradients.
fn leaves(case: ScanCase, wanted: impl Fn(usize) -> bool) -> Vec<Tensor<1>> {
    let device = Device::flex().autodiff();
    let inputs = case.inputs();
    let leaf =
        |(i, v): (usize, &Vec<f64>)| tensor(v, DType::F64, &device).set_require_grad(wanted(i));
    inputs.iter().enumerate().map(leaf).collect()
}

#[test]
fn only_wanted_gradients_appear() {
    let case = ScanCase::new(&[4, 33], 3, 2, true);
    let op = case.op(selective_scan, Device::flex());
    let (_, full) = run(&op, &case.inputs(), DType::F64);
    for one in 0..9 {
        let x = leaves(case, |i| i == one);
        let y = op(x.clone());
        let weights = tensor(&numbers(99, y.dims()[0]), DType::F64, &y.device());
        let grads = (y * weights).sum().backward();
        for (i, x) in x.iter().enumerate() {
            let got = x.grad(&grads).map(values);
            assert_eq!(got.is_some(), i == one);
            if let Some(got) = got {
                assert_eq!(got, full[i]);
            }
        }
    }
}

#[test]
fn either_result_may_be_used_alone() {
    let case = ScanCase::new(&[4, 33], 3, 2, true);
    let rows = RowLayout::new(case.starts(), &Device::flex());
    let grads_of = |part: &dyn Fn((Tensor<2>, Tensor<3>)) -> Tensor<1>| -> Vec<Vec<f64>> {
        let x = leaves(case, |_| true);
        let loss = part(selective_scan(case.shaped(x.clone()), &rows));
        let grads = loss.backward();
        let grad = |x: &Tensor<1>| values(x.grad(&grads).expect("of every input"));
        x.iter().map(grad).collect()
    };
    let y = grads_of(&|(y, _)| (y.clone() * y).sum());
    let last = grads_of(&|(_, last)| (last.clone() * last).sum());
    let both = grads_of(&|(y, last)| (y.clone() * y).sum() + (last.clone() * last).sum());
    for ((y, last), both) in y.iter().zip(&last).zip(&both) {
        let sum: Vec<f64> = y.iter().zip(last).map(|(a, b)| a + b).collect();
        assert_close("sum", &sum, both, 1e-12);
    }
    // The last states know nothing of C, the skip and the gate.
    for unused in [4, 5, 6] {
        assert!(last[unused].iter().all(|&g| g == 0.0));
    }
}

#[test]
fn columns_of_a_wider_matrix_are_read_in_place() {
    let device = Device::flex();
    let case = ScanCase::new(&[5, 4], 6, 3, false);
    let inputs: Vec<Tensor<1>> = case
        .inputs()
        .iter()
        .map(|v| tensor(v, DType::F64, &device))
        .collect();
    let x = case.shaped(inputs);
    let rows = RowLayout::new(case.starts(), &device);
    let (want, _) = selective_scan(x.clone(), &rows);
    let wide = |x: Tensor<2>| {
        let [t, w] = x.dims();
        let noise = Tensor::ones([t, 5], (&device, DType::F64));
        Tensor::cat(vec![noise.clone(), x, noise], 1).slice([0..t, 5..5 + w])
    };
    let (got, _) = selective_scan(
        SelectiveScan {
            u: wide(x.u.clone()),
            delta: wide(x.delta.clone()),
            b: wide(x.b.clone()),
            c: wide(x.c.clone()),
            ..x
        },
        &rows,
    );
    assert_eq!(values(got), values(want));
}
