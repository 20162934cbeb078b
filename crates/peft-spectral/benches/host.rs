//! What one core takes for the work at the start and the end of a run, of a weight of 4096 × 4096: its
//! spectrum, the choice of coefficients, and merging; and for fast transforms of activations alone.
//!
//! `cargo bench -p peft-spectral --bench host`. Prints a line each, the least of three times. Whole training
//! steps are timed by `routes`.

use std::{hint::black_box, time::Instant};

use peft_core::{kernels::normal, randperm::randperm_prefix};
use peft_spectral::{
    Basis, Sandwich,
    merge::merge_into,
    sandwich::Fast,
    support::{Hierarchical, hierarchical, random},
    transform::{Transform, Wavelet, spectrum},
};

fn seconds(name: &str, mut work: impl FnMut()) {
    let best = (0..3)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{name}: {best:.3} s");
}

fn main() {
    let side = 4096;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a pool of one thread");
    let weight = normal(1, side * side);
    pool.install(|| {
        let mut line_spectra = vec![0.0_f32; side * side];
        let along = Transform::new(Basis::Dct, side);
        seconds("DCT of the weight's rows, f32", || {
            along.analyse(&weight, &mut line_spectra);
        });
        drop(line_spectra);
        seconds("DCT2 of the weight, f32", || {
            black_box(spectrum(Basis::Dct, &weight, side, side));
        });
        seconds("hierarchical selection of 1000", || {
            black_box(
                hierarchical(&weight, side, side, 1000, &Hierarchical::default(), 1).unwrap(),
            );
        });
        seconds("random selection of 1000", || {
            black_box(random(side, side, 1000, 1).unwrap());
        });
        seconds("torch.randperm(4096²)[:1000]", || {
            black_box(randperm_prefix((side * side) as u64, 1000, 777));
        });
        seconds("torch.randperm(16384·14336)[:1000]", || {
            black_box(randperm_prefix(16384 * 14336, 1000, 777));
        });
        let rows = 512;
        let mut y = vec![0.0_f32; rows * side];
        let x: Vec<f32> = weight[..rows * side].to_vec();
        for basis in [
            Basis::Dct,
            Basis::Hartley,
            Basis::Fourier,
            Basis::Wavelet(Wavelet::named("db1").unwrap()),
        ] {
            let support = random(side, side, 1000, 1).unwrap();
            let sandwich = Sandwich::new(basis, side, side, &support).unwrap();
            let a: Vec<f32> = weight[..1000].to_vec();
            seconds(
                &format!("{basis:?}: merge of 1000 into f32, computed in f64"),
                || {
                    let mut merged = weight.clone();
                    let start = Instant::now();
                    merge_into(&sandwich, &a, 1.0, &mut merged);
                    println!("  {:.3} s without the copy", start.elapsed().as_secs_f64());
                    black_box(merged);
                },
            );
            let fast = Fast::new(&sandwich);
            let mut q = vec![0.0; rows * sandwich.core().cols()];
            fast.forward(&x, &a, 1.0, &mut y, &mut q);
            seconds(
                &format!("{basis:?}: fast forward of {rows} rows, f32"),
                || {
                    fast.forward(&x, &a, 1.0, &mut y, &mut q);
                },
            );
            seconds(
                &format!("{basis:?}: fast backward of {rows} rows, f32"),
                || {
                    fast.backward(&q, &x, &a, 1.0, Some(&mut y), &mut vec![0.0; 1000]);
                },
            );
        }
    });
}
