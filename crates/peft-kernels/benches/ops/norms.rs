use burn::tensor::{Device, Int, Tensor};
use peft_kernels::*;

use crate::Bench;
use crate::bench::{Work::Bytes, random};

/// Frozen vectors, as in a model with adapters, on the device of an input.
pub fn frozen<const N: usize>(vectors: [&Tensor<1>; N], x: &Tensor<2>) -> [Tensor<1>; N] {
    vectors.map(|v| Tensor::from_data(v.to_data(), &x.device()))
}

pub fn run(bench: &mut Bench) {
    let (rows, d) = (bench.sizes.rows(), bench.sizes.d());
    let row = rows * d * 4;
    let device = Device::flex();
    let (gamma, beta) = (random([d], &device), random([d], &device));
    bench.both(
        &format!("layer_norm {rows}×{d}"),
        &|mut x| {
            let [g, b] = frozen([&gamma, &beta], &x[0]);
            layer_norm(x.remove(0), g, b, 1e-12)
        },
        &|mut x| {
            let [g, b] = frozen([&gamma, &beta], &x[0]);
            portable::layer_norm(x.remove(0), g, b, 1e-12)
        },
        &[[rows, d]],
        [Bytes(2 * row), Bytes(3 * row)],
    );
    bench.both(
        &format!("add_layer_norm {rows}×{d}"),
        &|mut x| {
            let [g, b] = frozen([&gamma, &beta], &x[0]);
            add_layer_norm(x.remove(0), x.remove(0), g, b, 1e-12)
        },
        &|mut x| {
            let [g, b] = frozen([&gamma, &beta], &x[0]);
            portable::add_layer_norm(x.remove(0), x.remove(0), g, b, 1e-12)
        },
        &[[rows, d]; 2],
        [Bytes(3 * row), Bytes(3 * row)],
    );
    bench.both(
        &format!("rms_norm {rows}×{d}"),
        &|mut x| {
            let [g] = frozen([&gamma], &x[0]);
            rms_norm(x.remove(0), g, 1e-6)
        },
        &|mut x| {
            let [g] = frozen([&gamma], &x[0]);
            portable::rms_norm(x.remove(0), g, 1e-6)
        },
        &[[rows, d]],
        [Bytes(2 * row), Bytes(3 * row)],
    );
    bench.both(
        &format!("add_rms_norm {rows}×{d}"),
        &|mut x| {
            let [g] = frozen([&gamma], &x[0]);
            add_rms_norm(x.remove(0), x.remove(0), g, 1e-6).0
        },
        &|mut x| {
            let [g] = frozen([&gamma], &x[0]);
            portable::add_rms_norm(x.remove(0), x.remove(0), g, 1e-6).0
        },
        &[[rows, d]; 2],
        [Bytes(4 * row), Bytes(3 * row)],
    );
    embedding(bench, &gamma, &beta);
}

fn embedding(bench: &mut Bench, gamma: &Tensor<1>, beta: &Tensor<1>) {
    let (rows, d, words) = (bench.sizes.rows(), bench.sizes.d(), bench.sizes.words);
    let row = rows * d * 4;
    let length = bench.sizes.length;
    type Embed = fn(Lookup, Option<Lookup>, Option<Lookup>, NormParameters) -> Tensor<2>;
    let embed = |embed: Embed, mut tables: Vec<Tensor<2>>| {
        let device = tables[0].device();
        let ids = |id: &dyn Fn(usize) -> usize| {
            let ids: Vec<i64> = (0..rows).map(|i| id(i) as i64).collect();
            Tensor::<1, Int>::from_data(ids.as_slice(), &device)
        };
        let mut next = |ids| Lookup {
            table: tables.remove(0),
            ids,
        };
        let word = next(ids(&|i| i * 7919 % words));
        let position = next(ids(&|i| i % length));
        let segment = next(Tensor::zeros([1], &device));
        let [gamma, beta] = frozen([gamma, beta], &word.table);
        let norm = NormParameters {
            gamma,
            beta,
            eps: 1e-12,
        };
        embed(word, Some(position), Some(segment), norm)
    };
    bench.both(
        &format!("embedding_layer_norm {rows}×{d}"),
        &|tables| embed(embedding_layer_norm, tables),
        &|tables| embed(portable::embedding_layer_norm, tables),
        &[[words, d], [length, d], [2, d]],
        // Backward, the gradient of the words' table is written as a whole.
        [Bytes(2 * row), Bytes(5 * row + words * d * 4)],
    );
}
