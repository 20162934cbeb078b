//! How much of a gradient that the basis has not seen its strongest hundredth of entries holds.

use burn::{
    Tensor,
    tensor::{DType, Device, TensorData},
};
use peft_core::{GradientMoments, kernels::normal};
use peft_sparse::{basis::leading, support::largest};

const INPUTS: usize = 96;
const OUTPUTS: usize = 64;

fn matrix(key: u64, shape: [usize; 2]) -> Tensor<2> {
    let values: Vec<f64> = normal(key, shape[0] * shape[1])
        .into_iter()
        .map(f64::from)
        .collect();
    Tensor::from_data(
        TensorData::new(values, shape),
        (&Device::default(), DType::F64),
    )
}

fn values(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Orthonormal columns, drawn from `key`.
fn orthonormal_columns(key: u64, side: usize) -> Tensor<2> {
    let random = matrix(key, [side, side]);
    leading(&random.clone().transpose().matmul(random), side, 0)
        .unwrap()
        .transpose()
}

/// Columns scaled by a power law.
fn falling(side: usize) -> Tensor<2> {
    let values: Vec<f64> = (1..=side).map(|i| (i as f64).powf(-1.2)).collect();
    let data = TensorData::new(values, [1, side]);
    Tensor::from_data(data, (&Device::default(), DType::F64))
}

/// A gradient `[in, out]` of a layer whose inputs and whose outputs' gradients have spectra that fall, in
/// directions of their own.
fn gradient(batch: u64) -> Tensor<2> {
    let inputs = orthonormal_columns(1, INPUTS) * falling(INPUTS);
    let outputs = orthonormal_columns(2, OUTPUTS) * falling(OUTPUTS);
    inputs
        .matmul(matrix(100 + batch, [INPUTS, OUTPUTS]))
        .matmul(outputs.transpose())
}

fn share(values: &[f64], places: &[usize]) -> f64 {
    let energy = |value: &f64| value * value;
    let inside: f64 = places.iter().map(|&place| energy(&values[place])).sum();
    inside / values.iter().map(energy).sum::<f64>()
}

#[test]
fn gradients_are_concentrated_in_their_basis() {
    let moments = GradientMoments::new(&gradient(0));
    for batch in 0..20 {
        moments.add(&gradient(batch));
    }
    let input = leading(&moments.input(), INPUTS, 0).unwrap().transpose();
    let output = leading(&moments.output(), OUTPUTS, 0).unwrap().transpose();
    let unseen = gradient(50).transpose();
    let count = INPUTS * OUTPUTS / 100;
    let strongest = |core: &[f64]| share(core, &largest(core, count));

    let plain = strongest(&values(unseen.clone()));
    // Row by row an output's direction, column by column an input's.
    let rotate = |input: Tensor<2>| {
        values(
            output
                .clone()
                .transpose()
                .matmul(unseen.clone())
                .matmul(input),
        )
    };
    let core = rotate(input.clone());
    let hosvd = strongest(&core);
    // The released code rotates the inputs by the transpose of their basis.
    let legacy = strongest(&rotate(input.transpose()));
    let side = count.isqrt();
    let window: Vec<usize> = (0..side)
        .flat_map(|row| (0..side).map(move |col| row * INPUTS + col))
        .collect();
    let window = share(&core, &window);
    println!("plain {plain:.3}, legacy {legacy:.3}, window {window:.3}, hosvd {hosvd:.3}");
    assert!(plain < legacy && legacy < window && window < hosvd);
    assert!(hosvd > 0.9 && plain < 0.5, "{plain} {hosvd}");
}
