use burn::tensor::Tensor;
use peft_kernels::*;

use crate::common::*;
use crate::{agree, same_for_any_threads};

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

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let (rows, d) = (700, 65);
    let inputs = [(1, rows * d), (2, rows * d), (3, d), (4, d)].map(|(k, n)| numbers(k, n));
    same_for_any_threads(
        "layer_norm",
        &move |mut t| {
            let (beta, gamma, r) = (t.remove(3), t.remove(2), t.remove(1));
            let [x, r] = [t.remove(0), r].map(|x| x.reshape([rows, d]));
            add_layer_norm(x, r, gamma, beta, 1e-5).flatten(0, 1)
        },
        &inputs,
    );
}
