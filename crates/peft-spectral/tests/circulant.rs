//! Block-circulant products against their dense matrix, and their derivatives.

mod common;

use common::{error, noise, times_transposed, transposed};
use peft_spectral::{
    SpectralError,
    circulant::{BlockCirculant, merge_into},
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn products_are_those_of_the_matrix(
        out_blocks in 1_usize..5,
        in_blocks in 1_usize..5,
        block in 1_usize..13,
        rows in 1_usize..4,
        seed in 0_u64..1 << 40,
    ) {
        let (m, n) = (out_blocks * block, in_blocks * block);
        let kernels = noise(seed, m * n / block);
        let scale = 0.3;
        let mut delta = vec![0.0; m * n];
        merge_into(&kernels, m, n, block, scale, &mut delta).unwrap();
        let update = BlockCirculant::new(&kernels, m, n, block, scale).unwrap();
        let (x, g) = (noise(seed + 1, rows * n), noise(seed + 2, rows * m));

        let mut y = vec![0.0; rows * m];
        update.forward(&x, &mut y);
        prop_assert!(error(&y, &times_transposed(&x, &delta, n)) < 1e-12);
        let mut dx = vec![0.0; rows * n];
        update.input_gradient(&g, &mut dx);
        prop_assert!(error(&dx, &times_transposed(&g, &transposed(&delta, n), m)) < 1e-12);

        // The update is linear in its kernels: the gradient is the product with a unit kernel.
        let mut dw = vec![0.0; kernels.len()];
        update.kernel_gradient(&x, &g, &mut dw);
        let wanted: Vec<f64> = (0..kernels.len())
            .map(|i| {
                let mut unit = vec![0.0; kernels.len()];
                unit[i] = 1.0;
                let mut y = vec![0.0; rows * m];
                BlockCirculant::new(&unit, m, n, block, scale).unwrap().forward(&x, &mut y);
                y.iter().zip(&g).map(|(y, g)| y * g).sum()
            })
            .collect();
        prop_assert!(error(&dw, &wanted) < 1e-12);
    }
}

#[test]
fn the_first_row_is_the_kernel_and_rows_shift_right() {
    let mut delta = vec![0.0; 9];
    merge_into(&[1.0, 2.0, 3.0], 3, 3, 3, 1.0, &mut delta).unwrap();
    assert_eq!(delta, [1.0, 2.0, 3.0, 3.0, 1.0, 2.0, 2.0, 3.0, 1.0]);
}

#[test]
fn gradients_of_many_rows_have_the_same_bits_on_any_number_of_threads() {
    let (m, n, block, rows) = (24, 16, 8, 300);
    let kernels = noise(1, m * n / block);
    let (x, g) = (noise(2, rows * n), noise(3, rows * m));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let update = BlockCirculant::new(&kernels, m, n, block, 1.0).unwrap();
            let mut dw = vec![0.0; kernels.len()];
            update.kernel_gradient(&x, &g, &mut dw);
            dw
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_block_must_divide_both_widths() {
    for block in [0, 4] {
        let refused = BlockCirculant::new(&[0.0_f32; 0], 8, 6, block, 1.0);
        assert!(matches!(refused, Err(SpectralError::Block { .. })));
    }
}
