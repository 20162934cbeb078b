//! What the machine can do: a copy, a product, and products in bfloat16 of what is in registers, on all threads.

use std::hint::black_box;

use peft_kernels::bf16_spin;
use rayon::prelude::*;

use crate::Bench;

/// Sets the limits.
pub fn measure(bench: &mut Bench) {
    // As large as the largest activation that the kernels are timed on.
    let n = bench.sizes.rows() * bench.sizes.ffn * 4;
    let (from, mut to) = (vec![1_u8; n], vec![0_u8; n]);
    let piece = n.div_ceil(rayon::current_num_threads());
    let copy = bench.seconds(|| {
        to.par_chunks_mut(piece)
            .zip(from.par_chunks(piece))
            .for_each(|(a, b)| a.copy_from_slice(b));
        black_box(&to);
    });
    let size = 1024;
    let (a, b) = (vec![1_f32; size * size], vec![1_f32; size * size]);
    let mut c = vec![0_f32; size * size];
    let product = bench.seconds(|| {
        // SAFETY: three square matrices of `size`.
        unsafe {
            gemm::gemm(
                size,
                size,
                size,
                c.as_mut_ptr(),
                1,
                size as isize,
                false,
                a.as_ptr(),
                1,
                size as isize,
                b.as_ptr(),
                1,
                size as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
    });
    let rounds = if bench.quick() { 100 } else { 10_000 };
    let mut of_round = 0;
    let spin = bench.seconds(|| {
        of_round = rayon::broadcast(|_| bf16_spin(black_box(rounds)))
            .iter()
            .sum();
    });
    let units = (of_round * rounds) as f64 / spin;
    bench.limits = [
        2.0 * n as f64 / copy,
        2.0 * (size as f64).powi(3) / product,
        units,
    ];
}
