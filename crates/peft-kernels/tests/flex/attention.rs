use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

fn attention_agrees(case: &Case) {
    agree(
        &format!("{case:?}"),
        &|x| case.attend(x, &Device::flex()),
        &|x| case.attend_portably(x, &Device::flex()),
        &case.inputs(),
    );
}

#[test]
fn attentions_agree() {
    for case in [
        Case::new(&[128, 5, 1], 2, 2, 64, false),
        // One key: no gradient to queries and keys at all.
        Case::new(&[1], 2, 1, 3, false),
        Case::new(&[1, 1], 2, 2, 8, true).dropped(0.3),
        Case::new(&[65, 129], 4, 2, 32, true),
        Case::new(&[65, 12], 4, 1, 8, false).dropped(0.1),
        Case::new(&[65, 12], 2, 2, 64, true).dropped(0.5),
        Case::new(&[1], 2, 1, 3, false).with_prefix(1),
        Case::new(&[65, 129, 2], 4, 2, 32, true).with_prefix(17),
        // The gradient of the prefix is a sum that nearly cancels.
        (Case::new(&[42], 1, 1, 1, false).with_prefix(1)).dropped(0.4169768691467543),
        Case::new(&[300, 12], 4, 2, 32, true).windowed(50),
        (Case::new(&[300, 12], 4, 2, 8, true)
            .windowed(50)
            .with_prefix(9))
        .dropped(0.2),
        Case::new(&[65, 12], 2, 2, 64, true).capped(1.5),
        Case::new(&[65, 12], 2, 2, 64, false)
            .capped(5.0)
            .dropped(0.2),
        Case::new(&[1, 1, 1], 4, 2, 32, true).after(&[400, 0, 7]),
        Case::new(&[130, 5], 4, 2, 32, true)
            .after(&[200, 9])
            .windowed(64),
    ] {
        attention_agrees(&case);
    }
}

#[test]
fn only_wanted_gradients_appear() {
    let device = Device::flex().autodiff();
    let case = Case::new(&[4, 3], 2, 1, 8, true).with_prefix(2);
    let op: Op<'_> = &|x| case.attend(x, &Device::flex());
    let (_, full) = run(op, &case.inputs(), DType::F64);
    for mask in 1..32 {
        let wanted = |i: usize| mask >> i & 1 == 1;
        let leaf =
            |(i, v): (usize, &Vec<f64>)| tensor(v, DType::F64, &device).set_require_grad(wanted(i));
        let x: Vec<_> = case.inputs().iter().enumerate().map(leaf).collect();
        let y = op(x.clone());
        let weights = tensor(&numbers(99, y.dims()[0]), DType::F64, &device);
        let grads = (y * weights).sum().backward();
        for (i, x) in x.iter().enumerate() {
            let got = x.grad(&grads).map(values);
            assert_eq!(got.is_some(), wanted(i));
            if let Some(got) = got {
                assert_eq!(got, full[i]);
            }
        }
    }
}

#[test]
fn an_empty_prefix_is_none() {
    let device = Device::flex();
    let case = Case::new(&[4, 3], 2, 1, 8, true);
    let on_device = |v: &Vec<f64>| tensor(v, DType::F32, &device);
    let x: Vec<_> = case.inputs().iter().map(on_device).collect();
    let [q, k, v] = case.shaped(x.clone());
    let none = || Tensor::empty([0, 8], (&device, DType::F32));
    let prefix = AttentionPrefix {
        keys: none(),
        values: none(),
    };
    let y = prefix_attention(q, k, v, prefix, &case.layout(&device), &case.options());
    assert_eq!(values(y), values(case.attend(x, &device)));
}

#[test]
fn strided_views_are_read_in_place() {
    // q, k and v as column ranges of one product, as a fused projection gives them.
    let case = Case::new(&[33, 7], 2, 2, 8, false);
    let (t, w) = (case.rows(), 16);
    let fused = tensor(&numbers(4, t * 3 * w), DType::F64, &Device::flex()).reshape([t, 3 * w]);
    let part = |i: usize| fused.clone().slice([0..t, i * w..(i + 1) * w]);
    let inputs: Vec<_> = (0..3).map(|i| values(part(i))).collect();
    let got = attention(
        part(0),
        part(1),
        part(2),
        &case.layout(&Device::flex()),
        &case.options(),
    );
    assert_close("views", &values(got), &case.reference(&inputs), 1e-12);
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_attention_agrees(
        lengths in prop::collection::vec(1_usize..80, 1..4),
        group in 1_usize..3,
        kv_heads in 1_usize..3,
        d in prop::sample::select(vec![1_usize, 3, 8, 32]),
        causal: bool,
        prefix in prop::sample::select(vec![0_usize, 0, 1, 7, 30]),
        probability in prop::option::of(0.05_f64..0.5),
        window in prop::option::of(1_usize..100),
        cap in prop::option::of(0.5_f64..20.0),
        past in prop::option::of(0_usize..150),
    ) {
        let mut case = Case::new(&lengths, group * kv_heads, kv_heads, d, causal).with_prefix(prefix);
        case.window = window.filter(|_| causal);
        case.softcap = cap;
        if let Some(past) = past {
            let past: Vec<usize> = (0..lengths.len()).map(|i| past / (i + 1)).collect();
            case = case.after(&past);
        }
        if let Some(p) = probability {
            case = case.dropped(p);
        }
        attention_agrees(&case);
    }

}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    for case in [
        Case::new(&[128, 3, 77, 1, 128], 4, 2, 64, true),
        Case::new(&[128, 64, 32], 4, 4, 32, false).dropped(0.1),
        Case::new(&[128, 64, 32, 5], 4, 2, 32, true).with_prefix(20),
        (Case::new(&[300, 64, 5], 4, 2, 32, true)
            .windowed(40)
            .capped(4.0))
        .after(&[5, 90, 0]),
    ] {
        same_for_any_threads(
            "attention",
            &|x| case.attend(x, &Device::flex()),
            &case.inputs(),
        );
    }
}
