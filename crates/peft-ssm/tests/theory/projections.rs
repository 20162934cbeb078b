//! T7: why low-rank updates of an input projection can stand for changes of `B`, `C` and the steps.

use burn::tensor::{Device, Tensor};
use peft_core::{AdapterContext, kernels::RowLayout, nn::Linear};
use peft_ssm::S6Layer;

use super::{
    farthest,
    layers::{s6, tensor, values},
    linear::{Matrix, basis, combined, matrix, product, solve, transpose},
    numbers,
};

const CHANNELS: usize = 20;
const STATES: usize = 3;
const RANK: usize = 2;
const WIDTH: usize = 6;
const LENGTH: usize = 25;

/// One channel of what a layer gives for inputs through a projection.
fn channel(layer: &S6Layer, projection: &Matrix, channel: usize, device: &Device) -> Vec<f64> {
    let x = matrix(&numbers(5, LENGTH * WIDTH), WIDTH);
    let u = product(&x, &transpose(projection)).concat();
    let rows = RowLayout::new(vec![0, LENGTH], device);
    let y = layer.space(
        tensor(u, [LENGTH, CHANNELS], device),
        &rows,
        &AdapterContext::inference(),
    );
    values(y.narrow(1, channel, 1))
}

/// With more channels than `2 N + R`, a change of the input projection of that rank makes one channel of the old layer what
/// it is in a layer with other `B`, `C` and steps. The others become something else.
#[test]
fn t7_a_low_rank_change_of_the_input_projection_does_one_channel() {
    let device = Device::flex();
    let old = s6(100, [CHANNELS, STATES, RANK], &device);
    let changed = numbers(200, CHANNELS * (RANK + 2 * STATES));
    let shape = [CHANNELS, RANK + 2 * STATES];
    let weight: Tensor<2> = tensor(changed, shape, &device).mul_scalar(0.5);
    let new = S6Layer {
        x_proj: Linear::new(weight, None),
        ..old.clone()
    };
    let projection = matrix(&numbers(6, CHANNELS * WIDTH), WIDTH);
    let chosen = 4;
    // The rows of B, C and the steps, and the channel itself, which stays.
    let constraints = |layer: &S6Layer| -> Matrix {
        let all = matrix(&values(layer.x_proj.weight.val()), RANK + 2 * STATES);
        let mut rows = transpose(&all);
        let own = |d: usize| f64::from(u8::from(d == chosen));
        rows.push((0..CHANNELS).map(own).collect());
        rows
    };
    let (before, after) = (constraints(&old), constraints(&new));
    let missing = product(&combined(&after, -1.0, &before), &projection);
    let gram = product(&before, &transpose(&before));
    let change = product(&transpose(&before), &solve(&gram, &missing));
    // No more than the width of the model lets it have.
    assert_eq!(basis(&change).len(), (2 * STATES + RANK).min(WIDTH));
    let moved = combined(&projection, 1.0, &change);
    let wanted = channel(&new, &projection, chosen, &device);
    let found = channel(&old, &moved, chosen, &device);
    assert!(farthest(&found, &wanted) < 1e-10);
    let plain = channel(&old, &projection, chosen, &device);
    assert!(farthest(&plain, &wanted) > 1e-2);
    let others = (0..CHANNELS).filter(|d| *d != chosen);
    let apart = others.map(|d| {
        let wanted = channel(&new, &projection, d, &device);
        farthest(&channel(&old, &moved, d, &device), &wanted)
    });
    assert!(apart.fold(f64::INFINITY, f64::min) > 1e-4);
}
