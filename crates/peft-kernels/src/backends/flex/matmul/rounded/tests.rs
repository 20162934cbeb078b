use half::{bf16, f16};
use peft_blocks::BlockType;
use proptest::prelude::*;

use super::super::{Output, Start, Term, Threads, tests::blocks_of};
use super::*;
use crate::backends::flex::{
    blocks::Blocks,
    decoded,
    view::{Target, elements},
};

fn values(seed: u64, count: usize) -> Vec<f32> {
    let key = crate::key_of(seed, "values", 0);
    crate::normal(key, count)
}

fn view<S>(values: &[S], rows: usize, cols: usize, turned: bool) -> Matrix<S> {
    let (lines, width) = if turned { (cols, rows) } else { (rows, cols) };
    let m = Matrix {
        start: values.as_ptr(),
        rows: lines,
        cols: width,
        row_stride: width as isize,
        col_stride: 1,
    };
    if turned { m.transposed() } else { m }
}

fn output(
    to: &mut [f32],
    [rows, cols]: [usize; 2],
    [row_stride, col_stride]: [isize; 2],
) -> Output<f32> {
    Output {
        to: Target(to.as_mut_ptr()),
        rows,
        cols,
        row_stride,
        col_stride,
    }
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
                let output = output(&mut out, [rows, cols], [row_stride, col_stride]);
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
            let output = output(&mut out, [32, 32], [32, 1]);
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
        let output = output(&mut out, [40, 60], [60, 1]);
        let term = Term::new(view(&a, 40, 50, false), view(&b, 50, 60, false));
        // SAFETY: all of fitting shapes; the machine has the units.
        unsafe { multiply(*units, &term, output.sink(Start::Zero), Threads::Caller) };
        for (place, value) in out.iter().enumerate() {
            assert_eq!(value.is_nan(), place / 60 == 7, "{} {place}", units.name);
        }
    }
}

/// Weights of other types are rounded as their numbers are, whichever way they lie, at every edge and across passes.
#[test]
fn stored_weights_give_the_bits_of_their_numbers() {
    fn same(what: &str, stored: Operand<f32>, plain: Matrix<f32>) {
        let (m, k, n) = (37, plain.rows, plain.cols);
        let a = values(3, m * k);
        for units in units::all() {
            let run = |b: Operand<f32>| {
                let mut out = vec![0.0; m * n];
                let output = output(&mut out, [m, n], [n as isize, 1]);
                let term = Term {
                    a: view(&a, m, k, false),
                    b,
                    scale: 1.0,
                };
                // SAFETY: all of fitting shapes; the machine has the units.
                unsafe { multiply(*units, &term, output.sink(Start::Zero), Threads::Pool) };
                out
            };
            let equal = run(stored) == run(Operand::Same(plain));
            assert!(equal, "{}: {what}, {k}×{n}", units.name);
        }
    }
    for (lines, width) in [(70, 256), (9, 512), (40, 1792), (1792, 256)] {
        for kind in [
            BlockType::Q4_1,
            BlockType::Q8_0,
            BlockType::Q4K,
            BlockType::Nf4,
        ] {
            let tensor = blocks_of(kind, lines, width);
            let blocks = Blocks::of(&tensor).expect("made of blocks");
            let plain = decoded(blocks);
            let plain = elements::<f32>(&plain);
            same(
                kind.name(),
                Operand::Blocks(blocks),
                view(plain, lines, width, false),
            );
            let turned = view(plain, lines, width, false).transposed();
            same(kind.name(), Operand::Blocks(blocks.transposed()), turned);
        }
        let wide = values(4, lines * width);
        let brain: Vec<bf16> = wide.iter().map(|&x| bf16::from_f32(x)).collect();
        let half: Vec<f16> = wide.iter().map(|&x| f16::from_f32(x)).collect();
        let of_brain: Vec<f32> = brain.iter().map(|x| x.to_f32()).collect();
        let of_half: Vec<f32> = half.iter().map(|x| x.to_f32()).collect();
        for turned in [false, true] {
            let [rows, cols] = if turned {
                [width, lines]
            } else {
                [lines, width]
            };
            let stored = Operand::Bf16(view(&brain, rows, cols, turned));
            same("bf16", stored, view(&of_brain, rows, cols, turned));
            let stored = Operand::F16(view(&half, rows, cols, turned));
            same("f16", stored, view(&of_half, rows, cols, turned));
        }
    }
}
