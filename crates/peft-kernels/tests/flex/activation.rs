use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

fn kinds() -> impl Strategy<Value = Activation> {
    prop::sample::select(vec![
        Activation::Gelu(GeluKind::Erf),
        Activation::Gelu(GeluKind::Tanh),
        Activation::Silu,
    ])
}

type Biased = fn(Tensor<2>, Tensor<1>, Activation) -> Tensor<2>;

fn biased(
    op: Biased,
    rows: usize,
    d: usize,
    kind: Activation,
) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
    move |mut t| {
        let bias = t.remove(1);
        op(t.remove(0).reshape([rows, d]), bias, kind).flatten(0, 1)
    }
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let (rows, d) = (700, 65);
    let [x, up, bias] = [(1, rows * d), (2, rows * d), (3, d)].map(|(k, n)| numbers(k, n));
    let kind = Activation::Silu;
    let op: &(dyn Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync) =
        &|mut x| gelu(x.remove(0), GeluKind::Erf);
    same_for_any_threads("gelu", op, std::slice::from_ref(&x));
    let op: &(dyn Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync) =
        &move |mut x| gated(x.remove(0), x.remove(0), kind);
    same_for_any_threads("gated", op, &[x.clone(), up]);
    let op = biased(bias_activation, rows, d, kind);
    same_for_any_threads("bias_activation", &op, &[x, bias]);
}

#[test]
fn strided_views_are_read() {
    let flipped = tensor(&numbers(4, 40 * 48), DType::F64, &Device::flex())
        .reshape([40, 48])
        .transpose();
    let got = gelu(flipped.clone(), GeluKind::Erf);
    assert_close(
        "transposed",
        &values(got),
        &values(portable::gelu(flipped, GeluKind::Erf)),
        1e-12,
    );
}

#[test]
fn no_rows_give_no_rows() {
    let device = Device::flex();
    let x = || Tensor::<2>::empty([0, 5], (&device, DType::F32));
    let bias = Tensor::ones([5], (&device, DType::F32));
    let kind = Activation::Silu;
    assert_eq!(silu(x()).dims(), [0, 5]);
    assert_eq!(gated(x(), x(), kind).dims(), [0, 5]);
    assert_eq!(bias_activation(x(), bias, kind).dims(), [0, 5]);
}

#[test]
fn one_wanted_gradient_of_two_appears_alone() {
    let device = Device::flex().autodiff();
    for trained in 0..2 {
        let x: Vec<_> = (0..2)
            .map(|i| tensor(&numbers(i, 9), DType::F64, &device))
            .enumerate()
            .map(|(i, x)| x.set_require_grad(i == trained))
            .collect();
        let y = gated(x[0].clone(), x[1].clone(), Activation::Silu);
        let grads = y.sum().backward();
        for (i, x) in x.iter().enumerate() {
            assert_eq!(x.grad(&grads).is_some(), i == trained);
        }
    }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_activation_agrees(n in 1_usize..40_000, kind in kinds()) {
        agree(
            "activation",
            &move |mut x| match kind {
                Activation::Gelu(kind) => gelu(x.remove(0), kind),
                Activation::Silu => silu(x.remove(0)),
            },
            &move |mut x| portable::activation(x.remove(0), kind),
            &[numbers(n as u64, n)],
        );
    }

    #[test]
    fn any_gated_activation_agrees(n in 1_usize..40_000, kind in kinds()) {
        agree(
            "gated",
            &move |mut x| gated(x.remove(0), x.remove(0), kind),
            &move |mut x| portable::gated(x.remove(0), x.remove(0), kind),
            &[numbers(1, n), numbers(2, n)],
        );
    }

    #[test]
    fn any_bias_and_activation_agree(
        rows in 1_usize..140,
        d in 1_usize..140,
        kind in kinds(),
    ) {
        agree(
            "bias_activation",
            &biased(bias_activation, rows, d, kind),
            &biased(portable::bias_activation, rows, d, kind),
            &[numbers(1, rows * d), numbers(2, d)],
        );
    }
}
