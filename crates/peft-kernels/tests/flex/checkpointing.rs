use burn::tensor::{DType, Device, Int, Tensor};
use peft_kernels::*;

use crate::common::*;

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
            causal: true,
            ..AttentionOptions::new(1, 1, 0.4)
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
