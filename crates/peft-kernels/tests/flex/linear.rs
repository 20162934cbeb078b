use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

/// Gradients of a product of `leaves` are the same whichever others are asked for, and no others come.
fn only_the_wanted_gradients(
    shapes: &[[usize; 2]],
    [rows, out]: [usize; 2],
    product: impl Fn(Vec<Tensor<2>>) -> Tensor<2>,
) {
    let device = Device::flex().autodiff();
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
        let probe = tensor(&numbers(9, rows * out), DType::F64, &device).reshape([rows, out]);
        let grads = (y * probe).sum().backward();
        leaves
            .iter()
            .map(|x| x.grad(&grads).map(values))
            .collect::<Vec<_>>()
    };
    let every = (1_u32 << shapes.len()) - 1;
    let all = gradients(every);
    for mask in 1..every {
        for (i, got) in gradients(mask).into_iter().enumerate() {
            assert_eq!(got.is_some(), mask >> i & 1 == 1, "mask {mask}, input {i}");
            assert!(got.is_none() || got == all[i], "mask {mask}, input {i}");
        }
    }
}

#[test]
fn a_low_rank_product_computes_only_the_wanted_gradients() {
    let shapes = [[6, 5], [5, 7], [1, 7], [5, 2], [2, 7]];
    only_the_wanted_gradients(&shapes, [6, 7], |x| {
        let [x, w, bias, a, b]: [Tensor<2>; 5] = x.try_into().expect("five");
        linear_low_rank(x, w, Some(bias.flatten(0, 1)), a, b, 0.5)
    });
}

#[test]
fn a_product_around_a_core_computes_only_the_wanted_gradients() {
    let shapes = [[6, 5], [5, 7], [1, 7], [5, 3], [3, 2], [2, 7]];
    only_the_wanted_gradients(&shapes, [6, 7], |x| {
        let [x, w, bias, a, core, b]: [Tensor<2>; 6] = x.try_into().expect("six");
        linear_core(x, w, Some(bias.flatten(0, 1)), a, core, b)
    });
}

proptest! {
    #![proptest_config(few_cases())]

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

    #[test]
    fn any_product_around_a_core_agrees(
        rows in 1_usize..70,
        inner in 1_usize..70,
        out in 1_usize..70,
        q in 1_usize..20,
        p in 1_usize..20,
    ) {
        let product = move |mut t: Vec<Tensor<1>>, fused: bool| {
            let b = t.remove(5).reshape([p, out]);
            let core = t.remove(4).reshape([q, p]);
            let a = t.remove(3).reshape([q, inner]).transpose();
            let (bias, w) = (t.remove(2), t.remove(1).reshape([out, inner]).transpose());
            let x = t.remove(0).reshape([rows, inner]);
            let y = match fused {
                true => linear_core(x, w, Some(bias), a, core, b),
                false => portable::linear_core(x, w, Some(bias), a, core, b),
            };
            y.flatten(0, 1)
        };
        agree(
            "around a core",
            &move |t| product(t, true),
            &move |t| product(t, false),
            &[
                numbers(1, rows * inner),
                numbers(2, inner * out),
                numbers(3, out),
                numbers(4, inner * q),
                numbers(5, q * p),
                numbers(6, p * out),
            ],
        );
    }
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
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
        same_for_any_threads(
            "linear",
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
    same_for_any_threads(
        "linear",
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
}
