//! The fast bodies of flex against the portable ones, and their independence of the thread count.
#![cfg(feature = "flex")]

mod common;

use burn::tensor::{DType, Device, Int, Tensor};
use common::*;
use peft_kernels::*;
use proptest::prelude::*;

/// Forward and backward: `f64` at 1e-12 and `f32` at 1e-5, both against the portable body in `f64`.
#[track_caller]
fn agree(name: &str, fast: Op<'_>, portable: Op<'_>, inputs: &[Vec<f64>]) {
    let (want, want_grads) = run(portable, inputs, DType::F64);
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let (got, grads) = run(fast, inputs, dtype);
        assert_close(&format!("{name}, {dtype:?}"), &got, &want, tolerance);
        for (i, (got, want)) in grads.iter().zip(&want_grads).enumerate() {
            assert_close(
                &format!("{name}, {dtype:?}, gradient {i}"),
                got,
                want,
                tolerance,
            );
        }
    }
}

#[test]
fn gelu_agrees() {
    for kind in [GeluKind::Erf, GeluKind::Tanh] {
        for n in [1, 15, 17, 20_011] {
            agree(
                "gelu",
                &move |mut x| gelu(x.remove(0), kind),
                &move |mut x| portable::gelu(x.remove(0), kind),
                &[numbers(n as u64, n)],
            );
        }
    }
}

#[test]
fn layer_norms_agree() {
    for (rows, d) in [(1, 9), (3, 16), (70, 33), (131, 128)] {
        let inputs = [(1, rows * d), (2, rows * d), (3, d), (4, d)].map(|(k, n)| numbers(k, n));
        let split = move |mut t: Vec<Tensor<1>>| {
            let (beta, gamma, r) = (t.remove(3), t.remove(2), t.remove(1));
            (
                t.remove(0).reshape([rows, d]),
                r.reshape([rows, d]),
                gamma,
                beta,
            )
        };
        agree(
            "add_layer_norm",
            &move |t| {
                let (x, r, gamma, beta) = split(t);
                add_layer_norm(x, r, gamma, beta, 1e-5).flatten(0, 1)
            },
            &move |t| {
                let (x, r, gamma, beta) = split(t);
                portable::add_layer_norm(x, r, gamma, beta, 1e-5).flatten(0, 1)
            },
            &inputs,
        );
    }
}

fn attention_agrees(case: &Case) {
    agree(
        &format!("{case:?}"),
        &|x| {
            let [q, k, v] = case.shaped(x);
            attention(q, k, v, &case.layout(&Device::flex()), &case.options()).flatten(0, 1)
        },
        &|x| {
            let [q, k, v] = case.shaped(x);
            portable::attention(q, k, v, &case.layout(&Device::flex()), &case.options())
                .flatten(0, 1)
        },
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
    ] {
        attention_agrees(&case);
    }
}

#[test]
fn dropout_masks_are_the_same_bits() {
    let x = tensor(&numbers(1, 40_003), DType::F32, &Device::flex());
    let rule = Dropout {
        probability: 0.3,
        key: 9,
    };
    let bits = |x: Tensor<1>| {
        x.into_data()
            .iter::<f32>()
            .map(f32::to_bits)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        bits(dropout(x.clone(), rule)),
        bits(portable::dropout(x, rule))
    );
}

#[test]
fn cross_entropy_agrees() {
    let (rows, classes) = (37, 1003);
    let targets = move || {
        let t: Vec<i32> = (0..rows).map(|i| (i * 97 % classes) as i32).collect();
        Tensor::<1, Int>::from_ints(t.as_slice(), &Device::flex())
    };
    agree(
        "cross_entropy",
        &move |mut x| cross_entropy(x.remove(0).reshape([rows, classes]), targets()),
        &move |mut x| portable::cross_entropy(x.remove(0).reshape([rows, classes]), targets()),
        &[numbers(1, rows * classes)],
    );
}

#[test]
fn only_wanted_gradients_appear() {
    let device = Device::flex().autodiff();
    let case = Case::new(&[4, 3], 2, 1, 8, true);
    for mask in 1..8 {
        let x: Vec<_> = case
            .inputs()
            .iter()
            .enumerate()
            .map(|(i, v)| tensor(v, DType::F64, &device).set_require_grad(mask >> i & 1 == 1))
            .collect();
        let (_, full) = run(
            &|x| {
                let [q, k, v] = case.shaped(x);
                attention(q, k, v, &case.layout(&Device::flex()), &case.options()).flatten(0, 1)
            },
            &case.inputs(),
            DType::F64,
        );
        let [q, k, v] = case.shaped(x.clone());
        let y = attention(q, k, v, &case.layout(&device), &case.options()).flatten(0, 1);
        let weights = tensor(&numbers(99, y.dims()[0]), DType::F64, &device);
        let grads = (y * weights).sum().backward();
        for (i, x) in x.iter().enumerate() {
            let got = x.grad(&grads).map(values);
            assert_eq!(got.is_some(), mask >> i & 1 == 1);
            if let Some(got) = got {
                assert_eq!(got, full[i]);
            }
        }
    }
}

#[test]
fn a_low_rank_product_computes_only_the_wanted_gradients() {
    let device = Device::flex().autodiff();
    let shapes = [[6, 5], [5, 7], [1, 7], [5, 2], [2, 7]];
    let product = |x: Vec<Tensor<2>>| {
        let [x, w, bias, a, b]: [Tensor<2>; 5] = x.try_into().expect("five");
        linear_low_rank(x, w, Some(bias.flatten(0, 1)), a, b, 0.5)
    };
    let gradients = |mask: u32| {
        let leaves: Vec<Tensor<2>> = shapes
            .iter()
            .enumerate()
            .map(|(i, &shape)| {
                let n = shape[0] * shape[1];
                tensor(&numbers(i as u64, n), DType::F64, &device)
                    .reshape(shape)
                    .detach()
                    .set_require_grad(mask >> i & 1 == 1)
            })
            .collect();
        let y = product(leaves.clone());
        let probe = tensor(&numbers(9, 42), DType::F64, &device).reshape([6, 7]);
        let grads = (y * probe).sum().backward();
        leaves
            .iter()
            .map(|x| x.grad(&grads).map(values))
            .collect::<Vec<_>>()
    };
    let all = gradients(31);
    for mask in 1..31_u32 {
        for (i, got) in gradients(mask).into_iter().enumerate() {
            assert_eq!(got.is_some(), mask >> i & 1 == 1, "mask {mask}, input {i}");
            assert!(got.is_none() || got == all[i], "mask {mask}, input {i}");
        }
    }
}

#[test]
fn gradient_checkpointing_gives_the_same() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    let run = |device: &Device| {
        let x = tensor(&numbers(1, 60), DType::F64, device).require_grad();
        let w = tensor(&numbers(2, 25), DType::F64, device).require_grad();
        let h = linear(
            x.clone().reshape([12, 5]) * 2.0,
            w.clone().reshape([5, 5]),
            None,
        );
        let h = gelu(h + 1.0, GeluKind::Erf);
        let h = dropout(
            h,
            Dropout {
                probability: 0.2,
                key: 1,
            },
        );
        let one = tensor(&[1.0; 5], DType::F64, device);
        let h = add_layer_norm(h.clone() * 3.0, h, one.clone(), one, 1e-5);
        let layout = RowLayout::new(vec![0, 4, 12], device);
        let opts = AttentionOptions {
            heads: 1,
            kv_heads: 1,
            scale: 0.4,
            causal: true,
            dropout: None,
        };
        let h = attention(h.clone() + 0.5, h.clone() * 0.5, h, &layout, &opts);
        let targets = Tensor::<1, Int>::from_ints([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1], device);
        let grads = cross_entropy(h, targets).backward();
        (
            values(x.grad(&grads).unwrap()),
            values(w.grad(&grads).unwrap()),
        )
    };
    assert_eq!(run(&device), run(&Device::flex().autodiff()));
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
    let flipped = part(0).transpose();
    let got = gelu(flipped.clone(), GeluKind::Erf);
    assert_close(
        "transposed",
        &values(got),
        &values(portable::gelu(flipped, GeluKind::Erf)),
        1e-12,
    );
}

/// Everything, forward and backward, as bits.
fn everything() -> Vec<u64> {
    let mut bits = Vec::new();
    let mut add = |op: Op<'_>, inputs: &[Vec<f64>]| {
        let (out, grads) = run(op, inputs, DType::F32);
        bits.extend(
            out.iter()
                .chain(grads.iter().flatten())
                .map(|v| v.to_bits()),
        );
    };
    for (rows, inner, out) in [
        (300, 200, 500),
        (1024, 64, 33),
        (17, 768, 768),
        (2, 3000, 400),
    ] {
        let inputs = [
            numbers(1, rows * inner),
            numbers(2, inner * out),
            numbers(3, out),
        ];
        add(
            &move |mut t| {
                let (b, w) = (t.remove(2), t.remove(1).reshape([inner, out]));
                linear(t.remove(0).reshape([rows, inner]), w, Some(b)).flatten(0, 1)
            },
            &inputs,
        );
    }
    let (rows, inner, out, rank) = (300, 800, 96, 8);
    let inputs = [
        (1, rows * inner),
        (2, inner * out),
        (3, out),
        (4, inner * rank),
        (5, rank * out),
    ]
    .map(|(key, n)| numbers(key, n));
    add(
        &move |mut t| {
            let (b, a) = (
                t.remove(4).reshape([rank, out]),
                t.remove(3).reshape([inner, rank]),
            );
            let (bias, w) = (t.remove(2), t.remove(1).reshape([inner, out]));
            let x = t.remove(0).reshape([rows, inner]);
            linear_low_rank(x, w, Some(bias), a, b, 2.0).flatten(0, 1)
        },
        &inputs,
    );
    let (rows, d) = (700, 65);
    let inputs = [(1, rows * d), (2, rows * d), (3, d), (4, d)].map(|(k, n)| numbers(k, n));
    add(
        &move |mut t| {
            let (beta, gamma, r) = (t.remove(3), t.remove(2), t.remove(1));
            let [x, r] = [t.remove(0), r].map(|x| gelu(x, GeluKind::Erf).reshape([rows, d]));
            let x = dropout(
                x,
                Dropout {
                    probability: 0.1,
                    key: 6,
                },
            );
            add_layer_norm(x, r, gamma, beta, 1e-5).flatten(0, 1)
        },
        &inputs,
    );
    for case in [
        Case::new(&[128, 3, 77, 1, 128], 4, 2, 64, true),
        Case::new(&[128, 64, 32], 4, 4, 32, false).dropped(0.1),
    ] {
        add(
            &|x| {
                let [q, k, v] = case.shaped(x);
                attention(q, k, v, &case.layout(&Device::flex()), &case.options()).flatten(0, 1)
            },
            &case.inputs(),
        );
    }
    add(
        &|mut x| {
            let targets = Tensor::<1, Int>::from_ints([3; 100], &Device::flex());
            cross_entropy(x.remove(0).reshape([100, 501]), targets)
        },
        &[numbers(1, 50_100)],
    );
    bits
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(everything)
    };
    let one = with(1);
    for threads in [2, 4] {
        assert!(
            one == with(threads),
            "{threads} threads gave other bits than 1"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_attention_agrees(
        lengths in prop::collection::vec(1_usize..80, 1..4),
        group in 1_usize..3,
        kv_heads in 1_usize..3,
        d in prop::sample::select(vec![1_usize, 3, 8, 32]),
        causal: bool,
        probability in prop::option::of(0.05_f64..0.5),
    ) {
        let mut case = Case::new(&lengths, group * kv_heads, kv_heads, d, causal);
        if let Some(p) = probability {
            case = case.dropped(p);
        }
        attention_agrees(&case);
    }

    #[test]
    fn any_linear_agrees(
        rows in 1_usize..70,
        inner in 1_usize..70,
        out in 1_usize..70,
        stored: bool,
    ) {
        let split = move |mut t: Vec<Tensor<1>>| {
            let (b, w) = (t.remove(2), t.remove(1));
            let w = match stored {
                true => w.reshape([out, inner]).transpose(),
                false => w.reshape([inner, out]),
            };
            (t.remove(0).reshape([rows, inner]), w, Some(b))
        };
        agree(
            "linear",
            &move |t| { let (x, w, b) = split(t); linear(x, w, b).flatten(0, 1) },
            &move |t| { let (x, w, b) = split(t); portable::linear(x, w, b).flatten(0, 1) },
            &[numbers(1, rows * inner), numbers(2, inner * out), numbers(3, out)],
        );
    }

    #[test]
    fn any_low_rank_product_agrees(
        rows in 1_usize..70,
        inner in 1_usize..70,
        out in 1_usize..70,
        rank in 1_usize..20,
        biased: bool,
        fused: bool,
    ) {
        let split = move |mut t: Vec<Tensor<1>>| {
            let b = t.remove(4).reshape([rank, out]);
            let a = t.remove(3).reshape([inner, rank]);
            let (bias, w) = (t.remove(2), t.remove(1).reshape([out, inner]).transpose());
            let x = t.remove(0).reshape([rows, inner]);
            // Without a bias in the product, it is added afterwards: every input wants a gradient.
            (x, w, biased.then(|| bias.clone()), bias, a, b)
        };
        let finish = move |y: Tensor<2>, bias: Tensor<1>| match biased {
            true => y.flatten::<1>(0, 1),
            false => (y + bias.unsqueeze::<2>()).flatten(0, 1),
        };
        agree(
            "low rank",
            &move |t| {
                let (x, w, inside, bias, a, b) = split(t);
                let y = match fused {
                    true => linear_low_rank(x, w, inside, a, b, 0.5),
                    false => {
                        let low = linear(x.clone(), a, None) * 0.5;
                        linear_plus(x, w, inside, low, b)
                    }
                };
                finish(y, bias)
            },
            &move |t| {
                let (x, w, inside, bias, a, b) = split(t);
                finish(portable::linear_low_rank(x, w, inside, a, b, 0.5), bias)
            },
            &[
                numbers(1, rows * inner),
                numbers(2, inner * out),
                numbers(3, out),
                numbers(4, inner * rank),
                numbers(5, rank * out),
            ],
        );
    }
}
