//! The conformance suite where all products are of factors in bfloat16: the ways to compute an adapted layer agree as far as such
//! factors allow. In a binary of its own, for the setting is the process's.

#[allow(dead_code)]
#[path = "conformance/gradients.rs"]
mod gradients;
#[allow(dead_code)]
#[path = "conformance/model.rs"]
mod model;
#[path = "conformance/variants.rs"]
mod variants;

use peft_core::kernels::{Compute, set_compute};
use peft_methods::METHODS;

use model::{Case, assert_close, backend, device, values};
use variants::{adapts_weights, variants};

/// Widths and rows, no more outputs than the gradients that are cut keep: some that leave parts of every register unused, and some that units take as they are.
const SHAPES: [(usize, usize, usize); 3] = [(17, 33, 6), (31, 64, 9), (96, 64, 40)];

/// Run a property over methods, variants and shapes, on the backend whose products can be rounded.
fn check(property: impl Fn(&Case)) {
    if backend() != "flex" {
        return;
    }
    set_compute(Compute::Bf16);
    for entry in METHODS.iter().filter(|entry| adapts_weights(entry)) {
        for (inputs, outputs, rows) in SHAPES {
            for settings in variants(entry, [inputs, outputs]) {
                // Shown where it fails.
                println!("{} {settings:?}", entry.name);
                property(&Case::new(entry, &settings, inputs, outputs, rows, 1));
            }
        }
    }
}

/// Against the adapted weight, multiplied in f64.
#[test]
fn outputs_are_those_of_the_adapted_weight() {
    check(|case| {
        let device = device();
        let model = case.trained(case.dtype(), &device);
        let weight = model.adapter().effective(model.layer.weight.base());
        let wide = |x: burn::Tensor<2>| x.cast(burn::tensor::FloatDType::F64);
        let bias = model.layer.bias.as_ref().unwrap().val().unsqueeze::<2>();
        let x = case.input(&device);
        let expected = wide(x.clone()).matmul(wide(weight)) + wide(bias);
        let what = format!("{} {:?}", case.entry.name, case.settings);
        let (found, expected) = (values(model.forward(x)), values(expected));
        assert_close(&what, &found, &expected, case.tolerance());
    });
}

#[test]
fn gradients_of_both_paths_agree() {
    check(gradients::factored_and_dense);
}
