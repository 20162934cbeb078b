use burn::tensor::DType;
use peft_kernels::*;

use crate::common::*;
use crate::matches;

#[test]
fn dropout_keeps_what_the_rule_keeps() {
    let x = numbers(5, 1001);
    for probability in [0.0, 0.1, 0.5, 0.9, 1.0] {
        let rule = Dropout {
            probability,
            key: 42,
        };
        let factor = |i| {
            if keep(42, i, probability) {
                rule.scale()
            } else {
                0.0
            }
        };
        let want: Vec<f64> = x
            .iter()
            .enumerate()
            .map(|(i, x)| x * factor(i as u64))
            .collect();
        let op: Op<'_> = &move |mut x| dropout(x.remove(0).reshape([7, 143]), rule).flatten(0, 1);
        matches("dropout", op, std::slice::from_ref(&x), &want);
    }
}

#[test]
fn nan_stays() {
    let device = device();
    let x = tensor(&[1.0, f64::NAN, 3.0, 4.0], DType::F32, &device);
    let rule = Dropout {
        probability: 0.5,
        key: 3,
    };
    assert!(nans(dropout(x, rule))[1]);
}

#[test]
fn gradients_are_difference_quotients() {
    if !has_f64() {
        return;
    }
    check_gradients(
        "dropout",
        &|mut x| {
            dropout(
                x.remove(0),
                Dropout {
                    probability: 0.3,
                    key: 5,
                },
            )
        },
        &[numbers(1, 50)],
    );
}
