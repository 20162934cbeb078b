//! Times of the operations on flex at the sizes of one BERT-base layer, next to what the machine
//! can do.
//!
//! `cargo bench -p peft-kernels`. Each figure is the least of many repetitions, the one that other
//! users of the machine disturbed least, for both bodies alike; bytes count each tensor once, read
//! or written; "burn" is the portable body. `RAYON_NUM_THREADS` sets the threads.

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Int, Tensor};
use peft_kernels::*;

const ROWS: usize = 8 * 128;
const D: usize = 768;
const FFN: usize = 3072;

/// Least seconds of one call.
fn seconds(mut call: impl FnMut()) -> f64 {
    call();
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || (begin.elapsed() < Duration::from_millis(400) && times.len() < 200) {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_secs_f64());
    }
    times.into_iter().fold(f64::INFINITY, f64::min)
}

/// Prints a line: fast and portable times, and the rate of the fast body.
fn report(name: &str, fast: f64, portable: Option<f64>, work: f64, unit: &str) {
    let portable = portable.map_or("       –        –".into(), |p| {
        format!("{:8.3} {:8.1}×", p * 1e3, p / fast)
    });
    println!(
        "{name:34} {:8.3} {portable} {:9.1} {unit}",
        fast * 1e3,
        work / fast / 1e9
    );
}

fn random<const N: usize>(shape: [usize; N], device: &Device) -> Tensor<N> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

type Op<'a> = &'a dyn Fn(Vec<Tensor<2>>) -> Tensor<2>;

/// Forward without autodiff, and backward alone, less the backward pass of the loss.
fn both(
    name: &str,
    fast: Op<'_>,
    portable: Op<'_>,
    inputs: &[[usize; 2]],
    work: [f64; 2],
    unit: &str,
) {
    let device = Device::flex();
    let tensors: Vec<_> = inputs.iter().map(|&s| random(s, &device)).collect();
    let forward = |op: Op<'_>| seconds(|| drop(black_box(op(tensors.clone()))));
    report(
        &format!("{name} forward"),
        forward(fast),
        Some(forward(portable)),
        work[0],
        unit,
    );

    let tracked = device.clone().autodiff();
    let leaves: Vec<_> = inputs
        .iter()
        .map(|&s| random(s, &tracked).require_grad())
        .collect();
    let weights = random(fast(tensors.clone()).dims(), &tracked);
    let whole = |op: Op<'_>, leaves: &[Tensor<2>]| {
        let time = |_| {
            let loss = (op(leaves.to_vec()) * weights.clone()).sum();
            let start = Instant::now();
            drop(black_box(loss.backward()));
            start.elapsed().as_secs_f64()
        };
        (0..25).map(time).fold(f64::INFINITY, f64::min)
    };
    // The weighted sum that asks for the gradient takes time of its own.
    let output = random(weights.dims(), &tracked).require_grad();
    let sum = whole(&|mut x| x.remove(0), &[output]);
    let backward = |op: Op<'_>| (whole(op, &leaves) - sum).max(1e-6);
    report(
        &format!("{name} backward"),
        backward(fast),
        Some(backward(portable)),
        work[1],
        unit,
    );
}

fn machine() {
    let n = ROWS * FFN * 4;
    let from = vec![1_u8; n];
    let mut to = vec![0_u8; n];
    let threads = rayon::current_num_threads();
    let copy = seconds(|| {
        use rayon::prelude::*;
        to.par_chunks_mut(n.div_ceil(threads))
            .zip(from.par_chunks(n.div_ceil(threads)))
            .for_each(|(a, b)| a.copy_from_slice(b));
        black_box(&to);
    });
    println!("{threads} threads; times in ms");
    println!("{:34} {:>8} {:>8} {:>9}", "", "ours", "burn", "ratio");
    report("copy, 12 MiB", copy, None, 2.0 * n as f64, "GB/s");
    let (a, b, mut c) = (
        vec![1_f32; 1024 * 1024],
        vec![1_f32; 1024 * 1024],
        vec![0_f32; 1024 * 1024],
    );
    let rate = seconds(|| {
        // SAFETY: three square matrices of 1024.
        unsafe {
            gemm::gemm(
                1024,
                1024,
                1024,
                c.as_mut_ptr(),
                1,
                1024,
                false,
                a.as_ptr(),
                1,
                1024,
                b.as_ptr(),
                1,
                1024,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
    });
    report("gemm 1024³", rate, None, 2.0 * 1024_f64.powi(3), "GFLOP/s");
}

fn main() {
    machine();
    let wide = (ROWS * FFN * 4) as f64;
    let row = (ROWS * D * 4) as f64;
    for kind in [GeluKind::Erf, GeluKind::Tanh] {
        both(
            &format!("gelu {kind:?} 1024×3072"),
            &|mut x| gelu(x.remove(0), kind),
            &|mut x| portable::gelu(x.remove(0), kind),
            &[[ROWS, FFN]],
            [2.0 * wide, 3.0 * wide],
            "GB/s",
        );
    }
    let device = Device::flex();
    let (gamma, beta) = (random([D], &device), random([D], &device));
    let frozen = |x: &Tensor<2>| {
        let device = x.device();
        [&gamma, &beta].map(|p| Tensor::<1>::from_data(p.to_data(), &device))
    };
    both(
        "layer_norm 1024×768",
        &|mut x| {
            let [g, b] = frozen(&x[0]);
            layer_norm(x.remove(0), g, b, 1e-12)
        },
        &|mut x| {
            let [g, b] = frozen(&x[0]);
            portable::layer_norm(x.remove(0), g, b, 1e-12)
        },
        &[[ROWS, D]],
        [2.0 * row, 3.0 * row],
        "GB/s",
    );
    both(
        "add_layer_norm 1024×768",
        &|mut x| {
            let [g, b] = frozen(&x[0]);
            add_layer_norm(x.remove(0), x.remove(0), g, b, 1e-12)
        },
        &|mut x| {
            let [g, b] = frozen(&x[0]);
            portable::add_layer_norm(x.remove(0), x.remove(0), g, b, 1e-12)
        },
        &[[ROWS, D], [ROWS, D]],
        [3.0 * row, 3.0 * row],
        "GB/s",
    );
    let rule = Dropout {
        probability: 0.1,
        key: 1,
    };
    both(
        "dropout 1024×768",
        &|mut x| dropout(x.remove(0), rule),
        &|mut x| portable::dropout(x.remove(0), rule),
        &[[ROWS, D]],
        [2.0 * row, 2.0 * row],
        "GB/s",
    );
    let layout = RowLayout::new((0..=8).map(|i| i * 128).collect(), &device);
    for dropout in [None, Some(rule)] {
        let opts = AttentionOptions {
            heads: 12,
            kv_heads: 12,
            scale: 0.125,
            causal: false,
            dropout,
        };
        let product = 2.0 * (8 * 12 * 128 * 128 * 64) as f64;
        both(
            if dropout.is_some() {
                "attention 8×128, dropout"
            } else {
                "attention 8×128, 12×64"
            },
            &|x| attention(x[0].clone(), x[1].clone(), x[2].clone(), &layout, &opts),
            &|x| portable::attention(x[0].clone(), x[1].clone(), x[2].clone(), &layout, &opts),
            &[[ROWS, D]; 3],
            [2.0 * product, 5.0 * product],
            "GFLOP/s",
        );
    }
    for (inner, out) in [(D, D), (D, FFN), (FFN, D)] {
        let product = 2.0 * (ROWS * inner * out) as f64;
        let bias = random([out], &device);
        let bias = |x: &Tensor<2>| Tensor::<1>::from_data(bias.to_data(), &x.device());
        // As a Hugging Face weight lies in its file: [out, in], read transposed.
        both(
            &format!("linear 1024×{inner}×{out}"),
            &|mut x| {
                let b = bias(&x[0]);
                linear(x.remove(0), x.remove(0).transpose(), Some(b))
            },
            &|mut x| {
                let b = bias(&x[0]);
                portable::linear(x.remove(0), x.remove(0).transpose(), Some(b))
            },
            &[[ROWS, inner], [out, inner]],
            [product, 2.0 * product],
            "GFLOP/s",
        );
    }
    let targets = Tensor::<1, Int>::from_ints([7; 256], &device);
    let logits = (256 * 32_000 * 4) as f64;
    both(
        "cross_entropy 256×32000",
        &|mut x| cross_entropy(x.remove(0), targets.clone()).unsqueeze(),
        &|mut x| portable::cross_entropy(x.remove(0), targets.clone()).unsqueeze(),
        &[[256, 32_000]],
        [logits, 2.0 * logits],
        "GB/s",
    );
}
