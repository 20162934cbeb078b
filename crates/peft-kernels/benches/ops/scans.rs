use burn::tensor::{Device, Tensor};
use peft_kernels::*;

use crate::Bench;
use crate::bench::{Work::Bytes, random};
use crate::norms::frozen;

/// One sequence of the width of a Mamba of 130 million values.
struct Sizes {
    length: usize,
    channels: usize,
    /// Of a channel, in Mamba.
    states: usize,
    /// Of a head of 64 channels, in Mamba-2.
    head_states: usize,
}

pub fn run(bench: &mut Bench) {
    let sizes = match bench.quick() {
        true => Sizes {
            length: 16,
            channels: 128,
            states: 4,
            head_states: 8,
        },
        false => Sizes {
            length: 512,
            channels: 1536,
            states: 16,
            head_states: 128,
        },
    };
    selective(bench, &sizes);
    dual(bench, &sizes);
    convolution(bench, &sizes);
}

fn selective(bench: &mut Bench, sizes: &Sizes) {
    let &Sizes {
        length,
        channels,
        states,
        ..
    } = sizes;
    let rows = RowLayout::new(vec![0, length], &Device::flex());
    let skip = random([channels], &Device::flex());
    let inputs = |mut x: Vec<Tensor<2>>| {
        let mut next = || x.remove(0);
        let (u, delta, a_log, b, c, gate) = (next(), next(), next(), next(), next(), next());
        let [skip] = frozen([&skip], &u);
        SelectiveScan {
            skip,
            u,
            delta,
            a_log,
            b,
            c,
            gate: Some(gate),
            delta_bias: None,
            initial: None,
        }
    };
    let wide = [length, channels];
    let row = 4 * length * channels;
    bench.both(
        &format!("selective_scan {length}×{channels}, {states} states"),
        &|x| selective_scan(inputs(x), &rows).0,
        &|x| portable::selective_scan(inputs(x), &rows).0,
        &[
            wide,
            wide,
            [channels, states],
            [length, states],
            [length, states],
            wide,
        ],
        [Bytes(4 * row), Bytes(7 * row)],
    );
}

fn dual(bench: &mut Bench, sizes: &Sizes) {
    let &Sizes {
        length,
        channels,
        head_states,
        ..
    } = sizes;
    let heads = channels / 64;
    let rows = RowLayout::new(vec![0, length], &Device::flex());
    let vectors = [
        random([heads], &Device::flex()),
        random([heads], &Device::flex()),
    ];
    let inputs = |mut x: Vec<Tensor<2>>| {
        let mut next = || x.remove(0);
        let (x, dt, b, c) = (next(), next(), next(), next());
        let [a_log, skip] = frozen([&vectors[0], &vectors[1]], &x);
        StateSpaceDual {
            x,
            dt,
            a_log,
            b,
            c,
            skip,
            dt_bias: None,
            dt_limit: (0.0, f64::INFINITY),
            initial: None,
            groups: 1,
        }
    };
    let row = 4 * length * channels;
    bench.both(
        &format!("ssd {length}×{channels}, {heads} heads, {head_states} states"),
        &|x| ssd(inputs(x), &rows).0,
        &|x| portable::ssd(inputs(x), &rows).0,
        &[
            [length, channels],
            [length, heads],
            [length, head_states],
            [length, head_states],
        ],
        [Bytes(2 * row), Bytes(3 * row)],
    );
}

fn convolution(bench: &mut Bench, sizes: &Sizes) {
    let &Sizes {
        length, channels, ..
    } = sizes;
    let rows = RowLayout::new(vec![0, length], &Device::flex());
    let row = 4 * length * channels;
    bench.both(
        &format!("causal_conv1d {length}×{channels}, 4 taps"),
        &|mut x| causal_conv1d(x.remove(0), x.remove(0), None, None, &rows),
        &|mut x| portable::causal_conv1d(x.remove(0), x.remove(0), None, None, &rows),
        &[[length, channels], [channels, 4]],
        [Bytes(2 * row), Bytes(3 * row)],
    );
}
