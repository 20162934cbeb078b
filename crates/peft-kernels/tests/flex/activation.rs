use burn::tensor::{DType, Device};
use peft_kernels::*;

use crate::common::*;
use crate::{agree, same_for_any_threads};

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
fn bits_do_not_depend_on_the_thread_count() {
    let inputs = [numbers(1, 45_503)];
    same_for_any_threads("gelu", &|mut x| gelu(x.remove(0), GeluKind::Erf), &inputs);
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
