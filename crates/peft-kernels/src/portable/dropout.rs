use burn::tensor::{Tensor, TensorData};

use crate::{Dropout, Keep};

/// [`dropout`](crate::dropout) by Burn's operations, its mask built on the host.
pub fn dropout<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    let rule = Keep::new(dropout.key, dropout.probability);
    let scale = dropout.scale();
    let shape = x.dims();
    let n = shape.iter().product::<usize>() as u64;
    let mask = (0..n)
        .map(|i| if rule.at(i) { scale } else { 0.0 })
        .collect();
    let mask = mask_tensor(mask, shape, &x);
    x * mask
}

/// A constant mask on the device and in the float type of `like`.
pub(super) fn mask_tensor<const D: usize, const E: usize>(
    mask: Vec<f64>,
    shape: [usize; D],
    like: &Tensor<E>,
) -> Tensor<D> {
    let data = TensorData::new(mask, shape).convert_dtype(like.dtype());
    Tensor::from_data(data, (&like.device(), like.dtype()))
}
