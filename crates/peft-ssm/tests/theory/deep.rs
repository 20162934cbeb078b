//! T6: two frozen layers become one other layer by tuning half of their channels; their state spaces are those of S4.

use super::{
    Space, farthest,
    layers::outputs,
    linear::{Matrix, basis, blocks, combined, identity, matrix, product, solve, transpose},
    numbers,
};

/// A layer with linear activations: a state space for each channel, a residual factor for each, and a mixing layer.
struct Layer {
    spaces: Vec<Space>,
    residual: Vec<f64>,
    weight: Matrix,
    bias: Vec<f64>,
}

const WIDTH: usize = 4;

impl Layer {
    fn random(key: u64, states: usize) -> Self {
        let space = |channel: u64| Space {
            a: numbers(key + 10 * channel, states),
            b: numbers(key + 10 * channel + 1, states),
            c: numbers(key + 10 * channel + 2, states),
        };
        Self {
            spaces: (0..WIDTH as u64).map(space).collect(),
            residual: numbers(key + 90, WIDTH),
            weight: matrix(&numbers(key + 91, WIDTH * WIDTH), WIDTH),
            bias: numbers(key + 92, WIDTH),
        }
    }

    /// Of channels in time, to the same.
    fn run(&self, u: &Matrix) -> Matrix {
        let y: Matrix = (0..WIDTH)
            .map(|d| {
                let y = outputs(&self.spaces[d], &u[d]);
                let rows = y.iter().zip(&u[d]);
                rows.map(|(y, u)| y + self.residual[d] * u).collect()
            })
            .collect();
        let mut mixed = product(&self.weight, &y);
        for (row, bias) in mixed.iter_mut().zip(&self.bias) {
            row.iter_mut().for_each(|value| *value += bias);
        }
        mixed
    }

    /// Let a channel's states be the target's, by as many states as the target has: `b` stays.
    fn tune(&mut self, channel: usize, target: &Layer) -> usize {
        let (space, wanted) = (&mut self.spaces[channel], &target.spaces[channel]);
        for n in 0..space.a.len() {
            if n < wanted.a.len() {
                space.a[n] = wanted.a[n];
                space.c[n] = wanted.b[n] * wanted.c[n] / space.b[n];
            } else {
                space.c[n] = 0.0;
            }
        }
        self.residual[channel] = target.residual[channel];
        wanted.a.len()
    }

    /// Let a channel through as it is.
    fn pass(&mut self, channel: usize) {
        self.spaces[channel].c.fill(0.0);
        self.residual[channel] = 1.0;
    }
}

#[test]
fn t6_half_of_the_channels_and_a_rank_of_two_are_enough() {
    let (mut first, mut second) = (Layer::random(1000, 4), Layer::random(2000, 4));
    let target = Layer::random(3000, 2);
    let original = first.weight.clone();
    // The first half of the channels is done by the first layer, the second by the second.
    let half = WIDTH / 2;
    for channel in 0..WIDTH {
        let (does, passes) = match channel < half {
            true => (&mut first, &mut second),
            false => (&mut second, &mut first),
        };
        assert_eq!(does.tune(channel, &target), 2);
        passes.pass(channel);
    }
    let part = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| -> Matrix {
        let rows = original[rows].iter();
        rows.map(|row| row[columns.clone()].to_vec()).collect()
    };
    let (p, q) = (part(0..half, 0..half), part(0..half, half..WIDTH));
    let (u, v) = (part(half..WIDTH, 0..half), part(half..WIDTH, half..WIDTH));
    let rest = combined(&identity(half), -1.0, &v);
    // Q (I − V)⁻¹
    let through = transpose(&solve(&transpose(&rest), &transpose(&q)));
    let left = [
        combined(&vec![vec![0.0; half]; half], -1.0, &through),
        identity(half),
    ]
    .concat();
    let minus_u = combined(&vec![vec![0.0; half]; half], -1.0, &u);
    let right: Matrix = minus_u
        .iter()
        .zip(&rest)
        .map(|(u, rest)| [u.clone(), rest.clone()].concat())
        .collect();
    let update = product(&left, &right);
    assert_eq!(basis(&update).len(), half, "rank");
    first.weight = combined(&original, 1.0, &update);
    first.bias.fill(0.0);
    let turned = combined(&p, 1.0, &product(&through, &u));
    let zeros = vec![vec![0.0; half]; half];
    let back = blocks(
        &solve(&turned, &identity(half)),
        &zeros,
        &zeros,
        &identity(half),
    );
    second.weight = product(&target.weight, &back);
    second.bias = target.bias.clone();
    let input = matrix(&numbers(7, WIDTH * 30), 30);
    let wanted = target.run(&input);
    let found = second.run(&first.run(&input));
    for (wanted, found) in wanted.iter().zip(&found) {
        assert!(farthest(wanted, found) < 1e-11);
    }
}
