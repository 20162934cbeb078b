use burn::tensor::Tensor;

use super::silu;
use crate::{RowLayout, SelectiveScan};

/// [`selective_scan`](crate::selective_scan) by Burn's operations: rows are padded to the longest sequence and back, and
/// gone through one after the other.
pub fn selective_scan(inputs: SelectiveScan, rows: &RowLayout) -> (Tensor<2>, Tensor<3>) {
    let ([_, d], [_, states]) = (inputs.u.dims(), inputs.a_log.dims());
    let (n, len) = (rows.len(), rows.max_len());
    let pad = |x: Tensor<2>| -> Tensor<3> {
        let width = x.dims()[1];
        let x = if rows.is_uniform() {
            x
        } else {
            x.select(0, rows.padding().gather.clone())
        };
        x.reshape([n, len, width])
    };
    let raw = match inputs.delta_bias {
        Some(bias) => inputs.delta + bias.unsqueeze::<2>(),
        None => inputs.delta,
    };
    let mut delta = pad(softplus(raw));
    if !rows.is_uniform() {
        // A step of length 0 leaves the states as they are.
        let hidden = rows.padding().hidden.clone().reshape([n, len, 1]);
        delta = delta.mask_fill(hidden.expand([n, len, d]), 0.0);
    }
    let drive = delta.clone() * pad(inputs.u.clone());
    let rates = inputs.a_log.exp().neg().reshape([1, d, states]);
    let (b, c) = (pad(inputs.b), pad(inputs.c));
    let mut state = match inputs.initial {
        Some(initial) => initial,
        None => Tensor::zeros([n, d, states], (&inputs.u.device(), inputs.u.dtype())),
    };
    let mut outputs = Vec::with_capacity(len);
    for t in 0..len {
        let at = |x: &Tensor<3>, shape: [usize; 3]| {
            let width = x.dims()[2];
            x.clone().slice([0..n, t..t + 1, 0..width]).reshape(shape)
        };
        let decay = (at(&delta, [n, d, 1]) * rates.clone()).exp();
        state = decay * state + at(&drive, [n, d, 1]) * at(&b, [n, 1, states]);
        let y = (state.clone() * at(&c, [n, 1, states])).sum_dim(2);
        outputs.push(y.reshape([n, 1, d]));
    }
    let y = Tensor::cat(outputs, 1).reshape([n * len, d]);
    let y = if rows.is_uniform() {
        y
    } else {
        y.select(0, rows.padding().scatter.clone())
    };
    let y = y + inputs.u * inputs.skip.unsqueeze::<2>();
    let y = match inputs.gate {
        Some(gate) => y * silu(gate),
        None => y,
    };
    (y, state)
}

/// `ln(1 + exp x)`, in a form that overflows for no `x` and whose gradient is right at 0 too.
pub(super) fn softplus(x: Tensor<2>) -> Tensor<2> {
    let size = x.clone().abs();
    (x + size.clone()).mul_scalar(0.5) + size.neg().exp().log1p()
}
