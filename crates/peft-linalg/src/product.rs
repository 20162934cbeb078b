use gemm::Parallelism;

use crate::{Dense, View};

/// Which threads compute a product. The values are the same either way, for no sum is ever split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling one.
    One,
    /// All of rayon's.
    All,
}

/// `left · right`.
///
/// # Panics
/// If the shapes disagree.
pub fn product(left: View<'_>, right: View<'_>, threads: Threads) -> Dense {
    let [rows, inner, left_row, left_column] = left.layout();
    let [depth, columns, right_row, right_column] = right.layout();
    assert_eq!(
        inner, depth,
        "a matrix of {inner} columns times one of {depth} rows"
    );
    let mut out = Dense::zeros(rows, columns);
    if rows * columns * inner == 0 {
        return out;
    }
    let step = |steps: usize| steps as isize;
    // SAFETY: by `layout`, every index below the three sizes times its steps lies inside the values of
    // the matrix that it belongs to; `out` is written alone.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.values_mut().as_mut_ptr(),
            1,
            step(columns),
            false,
            left.values().as_ptr(),
            step(left_column),
            step(left_row),
            right.values().as_ptr(),
            step(right_column),
            step(right_row),
            0.0,
            1.0,
            false,
            false,
            false,
            match threads {
                Threads::One => Parallelism::None,
                Threads::All => Parallelism::Rayon(0),
            },
        );
    }
    out
}

/// `Σ aᵢ bᵢ`, in eight sums side by side, which vectorise.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use peft_kernels::normal;

    use super::*;

    fn random(rows: usize, columns: usize, key: u64) -> Dense {
        let values = normal(key, rows * columns).into_iter().map(f64::from);
        Dense::new(rows, columns, values.collect())
    }

    #[test]
    fn products_of_all_orientations_agree_with_sums() {
        let (a, b) = (random(5, 7, 1), random(7, 9, 2));
        let mut wanted = Dense::zeros(5, 9);
        for r in 0..5 {
            for c in 0..9 {
                wanted.values_mut()[r * 9 + c] = (0..7).map(|k| a.row(r)[k] * b.row(k)[c]).sum();
            }
        }
        let (at, bt) = (a.transposed(), b.transposed());
        for (left, right) in [
            (a.view(), b.view()),
            (at.t(), b.view()),
            (a.view(), bt.t()),
            (at.t(), bt.t()),
        ] {
            let found = product(left, right, Threads::One);
            let worst = found.values().iter().zip(wanted.values());
            let worst = worst.fold(0.0f64, |m, (f, w)| m.max((f - w).abs()));
            assert!(worst < 1e-13, "{worst}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (a, b) = (random(203, 310, 3), random(310, 171, 4));
        let alone = product(a.view(), b.view(), Threads::One);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let found =
                (pool.build().unwrap()).install(|| product(a.view(), b.view(), Threads::All));
            assert_eq!(found, alone, "{threads} threads");
        }
    }

    #[test]
    fn dots_are_sums_of_products() {
        let (a, b) = (random(1, 29, 5), random(1, 29, 6));
        let wanted: f64 = a.values().iter().zip(b.values()).map(|(a, b)| a * b).sum();
        assert!((dot(a.values(), b.values()) - wanted).abs() < 1e-13);
    }
}
