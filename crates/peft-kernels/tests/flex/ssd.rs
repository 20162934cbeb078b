use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

fn dual_agrees(case: DualCase) {
    agree(
        &format!("{case:?}"),
        &case.op(ssd, Device::flex()),
        &case.op(portable::ssd, Device::flex()),
        &case.inputs(),
    );
}

#[test]
fn scans_agree() {
    for case in [
        DualCase(&[70, 33, 1, 64], 4, 16, 8, 2, true),
        // Heads that tasks share, the last task with fewer of them.
        DualCase(&[65, 2], 48, 3, 5, 8, true),
        DualCase(&[130], 6, 17, 33, 1, false),
        DualCase(&[1, 1, 1], 4, 8, 16, 2, true),
        DualCase(&[64, 128], 2, 4, 3, 2, true),
    ] {
        dual_agrees(case);
    }
}

const LENGTHS: [&[usize]; 4] = [&[1], &[63, 2], &[64, 65], &[5, 70, 1]];

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_scan_agrees(
        lengths in prop::sample::select(LENGTHS.to_vec()),
        share in 1_usize..5,
        groups in 1_usize..4,
        p in 1_usize..20,
        n in 1_usize..20,
        all: bool,
    ) {
        dual_agrees(DualCase(lengths, share * groups, p, n, groups, all));
    }
}

/// The portable body's gradients are its own, not Burn's.
#[test]
fn portable_gradients_are_difference_quotients() {
    for case in [
        DualCase(&[5, 1, 3], 4, 2, 3, 2, true),
        DualCase(&[4, 4], 2, 3, 2, 2, false),
        DualCase(&[66, 2], 2, 1, 2, 1, true),
        DualCase(&[64, 64], 2, 1, 2, 1, true),
    ] {
        let op = case.op(portable::ssd, Device::flex());
        check_gradients(&format!("{case:?}"), &op, &case.inputs());
    }
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let case = DualCase(&[70, 33, 1, 64], 12, 8, 4, 2, true);
    let op = case.op(ssd, Device::flex());
    same_for_any_threads("ssd", &op, &case.inputs());
}

/// Leaves of which some want gradients.
fn leaves(case: DualCase, wanted: impl Fn(usize) -> bool) -> Vec<Tensor<1>> {
    let device = Device::flex().autodiff();
    let inputs = case.inputs();
    let leaf =
        |(i, v): (usize, &Vec<f64>)| tensor(v, DType::F64, &device).set_require_grad(wanted(i));
    inputs.iter().enumerate().map(leaf).collect()
}

#[test]
fn only_wanted_gradients_appear() {
    let case = DualCase(&[4, 66], 4, 3, 2, 2, true);
    for by in [ssd, portable::ssd] {
        let op = case.op(by, Device::flex());
        let (_, full) = run(&op, &case.inputs(), DType::F64);
        for one in 0..8 {
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
}

#[test]
fn either_result_may_be_used_alone() {
    let case = DualCase(&[4, 66], 4, 3, 2, 2, true);
    let rows = RowLayout::new(case.starts(), &Device::flex());
    for by in [ssd, portable::ssd] {
        let grads_of = |part: &dyn Fn((Tensor<2>, Tensor<4>)) -> Tensor<1>| -> Vec<Vec<f64>> {
            let x = leaves(case, |_| true);
            let loss = part(by(case.shaped(x.clone()), &rows));
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
        // The last states know nothing of C and the skip.
        for unused in [4, 5] {
            assert!(last[unused].iter().all(|&g| g == 0.0));
        }
    }
}

#[test]
fn columns_of_a_wider_matrix_are_read_in_place() {
    let device = Device::flex();
    let case = DualCase(&[5, 70], 4, 3, 5, 2, false);
    let inputs: Vec<Tensor<1>> = case
        .inputs()
        .iter()
        .map(|v| tensor(v, DType::F64, &device))
        .collect();
    let x = case.shaped(inputs);
    let rows = RowLayout::new(case.starts(), &device);
    let (want, _) = ssd(x.clone(), &rows);
    let wide = |x: Tensor<2>| {
        let [t, w] = x.dims();
        let noise = Tensor::ones([t, 5], (&device, DType::F64));
        Tensor::cat(vec![noise.clone(), x, noise], 1).slice([0..t, 5..5 + w])
    };
    let (got, _) = ssd(
        StateSpaceDual {
            x: wide(x.x.clone()),
            dt: wide(x.dt.clone()),
            b: wide(x.b.clone()),
            c: wide(x.c.clone()),
            ..x
        },
        &rows,
    );
    assert_eq!(values(got), values(want));
}

#[test]
fn nan_stays_within_its_sequence_and_head() {
    let case = DualCase(&[70, 3, 66], 2, 3, 2, 1, true);
    let mut inputs = case.inputs();
    inputs[0][71 * 6 + 1] = f64::NAN; // a row of the second sequence, a channel of the first head
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &Device::flex());
    let x = case.shaped(inputs.iter().map(on_device).collect());
    let (y, last) = ssd(x, &RowLayout::new(case.starts(), &Device::flex()));
    for (i, is_nan) in nans(y).into_iter().enumerate() {
        let (row, channel) = (i / 6, i % 6);
        assert!(!is_nan || ((70..73).contains(&row) && channel == 1), "{i}");
    }
    for (i, is_nan) in nans(last).into_iter().enumerate() {
        assert_eq!(is_nan, i / 2 == 6 + 1, "{i}");
    }
}

#[test]
fn large_rates_and_steps_forget_and_do_not_overflow() {
    let case = DualCase(&[80], 2, 2, 2, 1, false);
    let mut inputs = case.inputs();
    inputs[1].iter_mut().for_each(|v| *v *= 50.0);
    inputs[2].iter_mut().for_each(|v| *v = 10.0);
    dual_agrees_on(case, &inputs);
    inputs[2].iter_mut().for_each(|v| *v = -10.0);
    dual_agrees_on(case, &inputs);
}

fn dual_agrees_on(case: DualCase, inputs: &[Vec<f64>]) {
    let want = case.reference(inputs);
    let op = case.op(ssd, Device::flex());
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let (got, grads) = run(&op, inputs, dtype);
        assert_close(&format!("{dtype:?}"), &got, &want, tolerance);
        assert!(grads.iter().flatten().all(|g| g.is_finite()));
    }
}

#[test]
fn steps_without_bounds_agree() {
    let case = DualCase(&[66, 5], 2, 3, 2, 1, true);
    let op = |by: fn(StateSpaceDual, &RowLayout) -> (Tensor<2>, Tensor<4>)| {
        move |x: Vec<Tensor<1>>| {
            let rows = RowLayout::new(case.starts(), &Device::flex());
            let inputs = StateSpaceDual {
                dt_limit: (0.0, f64::INFINITY),
                ..case.shaped(x)
            };
            let (y, last) = by(inputs, &rows);
            Tensor::cat(vec![y.flatten(0, 1), last.flatten(0, 3)], 0)
        }
    };
    let inputs = case.inputs();
    agree("without bounds", &op(ssd), &op(portable::ssd), &inputs);
    check_gradients("without bounds", &op(ssd), &inputs);
}
