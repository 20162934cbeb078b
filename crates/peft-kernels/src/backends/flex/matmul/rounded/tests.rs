use half::bf16;
use proptest::prelude::*;

use super::super::{Output, Start, Term, Threads};
use super::*;
use crate::backends::flex::view::Target;

fn values(seed: u64, count: usize) -> Vec<f32> {
    let key = crate::key_of(seed, "values", 0);
    crate::normal(key, count)
}

fn view(values: &[f32], rows: usize, cols: usize, turned: bool) -> Matrix<f32> {
    let m = Matrix {
        start: values.as_ptr(),
        rows: if turned { cols } else { rows },
        cols: if turned { rows } else { cols },
        row_stride: if turned { rows } else { cols } as isize,
        col_stride: 1,
    };
    if turned { m.transposed() } else { m }
}

fn at(m: Matrix<f32>, i: usize, j: usize) -> f64 {
    let place = i as isize * m.row_stride + j as isize * m.col_stride;
    // SAFETY: inside of the matrix.
    f64::from(bf16::from_f32(unsafe { *m.start.offset(place) }).to_f32())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// All units give the sum of the rounded products, in every layout, at every edge, and the same bits on all threads.
    #[test]
    fn products_are_those_of_rounded_factors(
        (rows, k, cols) in prop_oneof![
            (5..80usize, 1..90usize, 1..80usize),
            (5..40usize, 1500..1640usize, 1..40usize),
            (500..600usize, 60..70usize, 500..600usize),
        ],
        a_turned: bool,
        b_turned: bool,
        out_turned: bool,
        scale in prop_oneof![Just(1f32), Just(-0.5)],
        start in 0..3usize,
        seed: u64,
    ) {
        let (a, b) = (values(seed, rows * k), values(seed ^ 1, k * cols));
        let (a, b) = (view(&a, rows, k, a_turned), view(&b, k, cols, b_turned));
        let before = values(seed ^ 2, rows * cols);
        let row = values(seed ^ 3, cols);
        let (row_stride, col_stride) = if out_turned { (1, rows as isize) } else { (cols as isize, 1) };
        for units in units::all() {
            let compute = |threads| {
                let mut out = before.clone();
                let output = Output {
                    to: Target(out.as_mut_ptr()),
                    rows,
                    cols,
                    row_stride,
                    col_stride,
                };
                let start = match start {
                    0 => Start::Zero,
                    1 => Start::Output,
                    _ => Start::Row(row.as_ptr()),
                };
                let term = Term { scale, ..Term::new(a, b) };
                // SAFETY: all of fitting shapes; the machine has the units.
                unsafe { multiply(*units, &term, output.sink(start), threads) };
                out
            };
            let (found, alone) = (compute(Threads::Pool), compute(Threads::Caller));
            prop_assert_eq!(&found, &alone);
            for i in 0..rows {
                for (j, &addend) in row.iter().enumerate() {
                    let place = i * row_stride as usize + j * col_stride as usize;
                    let (mut sum, mut size) = (0.0, 0.0);
                    for l in 0..k {
                        let product = at(a, i, l) * at(b, l, j);
                        (sum, size) = (sum + product, size + product.abs());
                    }
                    let expected = f64::from(scale) * sum + match start {
                        0 => 0.0,
                        1 => f64::from(before[place]),
                        _ => f64::from(addend),
                    };
                    let error = (f64::from(found[place]) - expected).abs();
                    // A sum of so many roundings of f32.
                    prop_assert!(error <= 1e-6 * (size + 1.0) * (k as f64).sqrt().max(4.0),
                        "{} ({i}, {j}): {} is not {expected}", units.name, found[place]);
                }
            }
        }
    }
}

#[test]
fn numbers_are_rounded_as_they_should_be() {
    let key = crate::key_of(5, "bits", 0);
    let one: Vec<f32> = (0..32 * 32)
        .map(|i| if i % 33 == 0 { 1.0 } else { 0.0 })
        .collect();
    for round in 0..400u64 {
        let bits = |i| crate::word(key, 1024 * round + i) as u32;
        let any = |i| {
            Some(f32::from_bits(bits(i)))
                .filter(|x| x.abs() < 1e38)
                .unwrap_or(0.0)
        };
        let from: Vec<f32> = (0..1024).map(any).collect();
        for (units, turned) in units::all()
            .iter()
            .flat_map(|units| [(units, false), (units, true)])
        {
            let mut out = vec![0.0; 1024];
            let output = Output {
                to: Target(out.as_mut_ptr()),
                rows: 32,
                cols: 32,
                row_stride: 32,
                col_stride: 1,
            };
            let (from_view, one) = (view(&from, 32, 32, false), view(&one, 32, 32, false));
            let term = match turned {
                true => Term::new(one, from_view),
                false => Term::new(from_view, one),
            };
            // SAFETY: all of fitting shapes; the machine has the units.
            unsafe { multiply(*units, &term, output.sink(Start::Zero), Threads::Caller) };
            for (&x, &found) in from.iter().zip(&out) {
                let expected = bf16::from_f32(x).to_f32();
                // Below the least normal number units see zero.
                let small = expected.abs() <= f32::MIN_POSITIVE && found == 0.0;
                assert!(
                    found == expected || small,
                    "{}: {x:e} is {found:e}",
                    units.name
                );
            }
        }
    }
}

#[test]
fn a_nan_spoils_its_row_and_column_only() {
    for units in units::all() {
        let (mut a, b) = (values(1, 40 * 50), values(2, 50 * 60));
        a[7 * 50 + 13] = f32::from_bits(0x7f80_0001);
        let mut out = vec![0.0; 40 * 60];
        let output = Output {
            to: Target(out.as_mut_ptr()),
            rows: 40,
            cols: 60,
            row_stride: 60,
            col_stride: 1,
        };
        let term = Term::new(view(&a, 40, 50, false), view(&b, 50, 60, false));
        // SAFETY: all of fitting shapes; the machine has the units.
        unsafe { multiply(*units, &term, output.sink(Start::Zero), Threads::Caller) };
        for (place, value) in out.iter().enumerate() {
            assert_eq!(value.is_nan(), place / 60 == 7, "{} {place}", units.name);
        }
    }
}
