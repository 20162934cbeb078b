use burn_flex::FlexTensor;
use half::{bf16, f16};
use peft_blocks::BlockType;

use super::pack::Stored;
use super::*;
use crate::backends::flex::view::elements;
use crate::backends::flex::{block_matrix, decoded};

/// Every set of instructions that this machine has.
fn every_set<T: Real>() -> Vec<Instructions<T>> {
    #[allow(unused_mut)] // Where there is but one.
    let mut all = vec![sets::common::functions()];
    #[cfg(target_arch = "x86_64")]
    {
        use crate::backends::flex::simd::{Level, level};
        let level = level();
        if level != Level::Common {
            all.push(sets::avx2::functions());
        }
        if level == Level::Avx512 {
            all.push(sets::avx512::functions());
        }
    }
    all
}

fn numbers<T: Real>(key: u64, n: usize) -> Vec<T> {
    crate::uniform(key, n)
        .into_iter()
        .map(|x| T::of(f64::from(x) - 0.5))
        .collect()
}

fn matrix<T>(of: &[T], rows: usize, cols: usize, transposed: bool) -> Matrix<T> {
    assert_eq!(of.len(), rows * cols);
    let (row_stride, col_stride) = match transposed {
        true => (1, rows as isize),
        false => (cols as isize, 1),
    };
    Matrix {
        start: of.as_ptr(),
        rows,
        cols,
        row_stride,
        col_stride,
    }
}

fn at<T: Copy>(m: Matrix<T>, i: usize, j: usize) -> T {
    // SAFETY: inside a matrix of a live slice.
    unsafe { *m.part(i..i + 1, j..j + 1).start }
}

/// `scale · a · b`, number by number in `f64`.
fn reference<T: Real>(a: Matrix<T>, b: impl Fn(usize, usize) -> f64, i: usize, j: usize) -> f64 {
    (0..a.cols).map(|k| at(a, i, k).wide() * b(k, j)).sum()
}

/// Rows, products, columns.
const SHAPES: [[usize; 3]; 14] = [
    [1, 1, 1],
    [1, 5, 3],
    [2, 50, 90],
    [3, 17, 33],
    [5, 1, 40],
    [8, 700, 96],
    [13, 31, 15],
    [14, 64, 32],
    [29, 100, 31],
    [40, 1700, 5],
    [64, 64, 128],
    [70, 800, 70],
    [100, 40, 8],
    [130, 33, 500],
];

fn agrees<T: Real>(tolerance: f64) {
    for (set, [m, k, n], ta, tb, what) in every_set::<T>().into_iter().flat_map(|set| {
        SHAPES
            .into_iter()
            .flat_map(move |shape| (0..12).map(move |c| (set, shape, c & 1 > 0, c & 2 > 0, c / 4)))
    }) {
        let (a, b) = (numbers::<T>(1, m * k), numbers::<T>(2, k * n));
        let (h, l, bias) = (
            numbers::<T>(3, m * 7),
            numbers::<T>(4, 7 * n),
            numbers::<T>(5, n),
        );
        let before = numbers::<T>(6, m * n);
        let mut out = before.clone();
        let (a, b) = (matrix(&a, m, k, ta), matrix(&b, k, n, tb));
        let mut terms = vec![Term {
            scale: T::of(0.5),
            ..Term::new(a, b)
        }];
        let (h, l) = (matrix(&h, m, 7, false), matrix(&l, 7, n, false));
        let start = match what {
            0 => Start::Zero,
            1 => Start::Output,
            _ => {
                terms.push(Term::new(h, l));
                Start::Row(bias.as_ptr())
            }
        };
        let to = Output {
            to: Target(out.as_mut_ptr()),
            rows: m,
            cols: n,
            row_stride: n as isize,
            col_stride: 1,
        };
        // SAFETY: views of the slices above.
        unsafe { multiply_by(set, to, start, &terms, Threads::Pool) };
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let product = 0.5 * reference(a, |k, j| at(b, k, j).wide(), i, j);
            let want = match what {
                0 => product,
                1 => before[i * n + j].wide() + product,
                _ => bias[j].wide() + product + reference(h, |k, j| at(l, k, j).wide(), i, j),
            };
            let got = out[i * n + j].wide();
            assert!(
                (got - want).abs() <= tolerance * (k as f64).sqrt(),
                "{m}×{k}×{n}, width {}, transposed {ta} {tb}, start {what}: ({i}, {j}) is {got}, \
                 not {want}",
                set.width
            );
        }
    }
}

#[test]
fn every_instruction_set_agrees_with_the_definition() {
    agrees::<f32>(1e-6);
    agrees::<f64>(1e-15);
}

#[test]
fn half_operands_are_widened_exactly() {
    for set in every_set::<f32>() {
        // More rows than dot products would take: those add up in another order.
        for ([m, k, n], transposed) in [[6, 17, 33], [29, 100, 64], [5, 9, 90]]
            .into_iter()
            .flat_map(|s| [(s, false), (s, true)])
        {
            let (a, b) = (numbers::<f32>(1, m * k), numbers::<f32>(2, k * n));
            let brain: Vec<bf16> = b.iter().map(|&x| bf16::from_f32(x)).collect();
            let half: Vec<f16> = b.iter().map(|&x| f16::from_f32(x)).collect();
            let run = |b: Operand<f32>| {
                let mut out = vec![0.0_f32; m * n];
                let to = Output {
                    to: Target(out.as_mut_ptr()),
                    rows: m,
                    cols: n,
                    row_stride: n as isize,
                    col_stride: 1,
                };
                let term = Term {
                    a: matrix(&a, m, k, false),
                    b,
                    scale: 1.0,
                };
                // SAFETY: views of the slices above.
                unsafe { multiply_by(set, to, Start::Zero, &[term], Threads::Caller) };
                out
            };
            let wide: Vec<f32> = brain.iter().map(|x| x.to_f32()).collect();
            assert_eq!(
                run(Operand::Bf16(matrix(&brain, k, n, transposed))),
                run(Operand::Same(matrix(&wide, k, n, transposed)))
            );
            let wide: Vec<f32> = half.iter().map(|x| x.to_f32()).collect();
            assert_eq!(
                run(Operand::F16(matrix(&half, k, n, transposed))),
                run(Operand::Same(matrix(&wide, k, n, transposed)))
            );
        }
    }
}

/// Blocks of every quantised type, of lines of a width; scales are small numbers and codes any.
pub fn blocks_of(kind: BlockType, lines: usize, width: usize) -> FlexTensor {
    let bytes = kind.byte_len(lines * width).expect("whole blocks");
    let mut blocks: Vec<u8> = (0..bytes).map(|i| (i * 37 + i / 7) as u8).collect();
    for block in blocks.chunks_exact_mut(kind.block_bytes()) {
        // Half floats wherever a scale may be, which are finite and not large.
        let places: &[usize] = match kind {
            BlockType::Q2K => &[80, 82],
            BlockType::Q3K => &[108],
            BlockType::Q6K => &[208],
            BlockType::Nf4 => &[],
            _ => &[0, 2],
        };
        for &at in places {
            block[at + 1] = 0x20 | block[at + 1] & 0x83;
        }
        if kind == BlockType::Nf4 {
            block[..4].copy_from_slice(&0.3f32.to_le_bytes());
        }
    }
    block_matrix(kind, [lines, width], &blocks).expect("whole lines")
}

/// Every product with blocks has the bits of the product with their numbers: packed or as dot products, either way
/// round, with every set of instructions, whatever part of a block a run or a job begins in.
#[test]
fn products_with_blocks_have_the_bits_of_products_with_their_numbers() {
    fn same<T: Real>(kind: BlockType, m: usize, lines: usize, width: usize, upright: bool) {
        let tensor = blocks_of(kind, lines, width);
        let mut blocks = Blocks::of(&tensor).expect("made of blocks");
        let numbers_of = decoded(blocks);
        let wide: Vec<T> = elements::<f32>(&numbers_of)
            .iter()
            .map(|&v| T::of_single(v))
            .collect();
        assert!(wide.iter().all(|v| v.wide().is_finite()), "{kind}");
        if upright {
            blocks = blocks.transposed();
        }
        let (k, n) = (blocks.rows, blocks.cols);
        let a = numbers::<T>(1, m * k);
        for set in every_set::<T>() {
            let run = |b: Operand<T>| {
                let mut out = vec![T::ZERO; m * n];
                let to = Output {
                    to: Target(out.as_mut_ptr()),
                    rows: m,
                    cols: n,
                    row_stride: n as isize,
                    col_stride: 1,
                };
                let term = Term {
                    a: matrix(&a, m, k, false),
                    b,
                    scale: T::of(0.5),
                };
                // SAFETY: views of the slices above.
                unsafe { multiply_by(set, to, Start::Zero, &[term], Threads::Pool) };
                out
            };
            let dense = matrix(&wide, k, n, upright);
            assert!(
                run(Operand::Blocks(blocks)) == run(Operand::Same(dense)),
                "{kind}, {m}×{k}×{n}, upright {upright}, width {}",
                set.width
            );
        }
    }
    for kind in BlockType::ALL.into_iter().filter(|kind| !kind.is_float()) {
        let len = kind.block_len();
        for upright in [false, true] {
            for (m, lines, width) in [(1, 70, 3 * len), (4, 9, 256), (6, 17, 256), (37, 95, 512)] {
                same::<f32>(kind, m, lines, width, upright);
            }
            same::<f64>(kind, 5, 40, 2 * len, upright);
        }
        // Runs that begin within a block of 256, and jobs of columns that do.
        same::<f32>(kind, 20, 30, 1024, true);
        same::<f32>(kind, 20, 30, 1024, false);
    }
}

#[test]
fn half_columns_are_summed_as_their_numbers() {
    let (k, n) = (300, 70);
    let (a, b) = (numbers::<f32>(1, 3 * k), numbers::<f32>(2, k * n));
    let brain: Vec<bf16> = b.iter().map(|&x| bf16::from_f32(x)).collect();
    let wide: Vec<f32> = brain.iter().map(|x| x.to_f32()).collect();
    let run = |b: Operand<f32>| {
        let mut out = vec![0.0_f32; 3 * n];
        let to = Output {
            to: Target(out.as_mut_ptr()),
            rows: 3,
            cols: n,
            row_stride: n as isize,
            col_stride: 1,
        };
        let term = Term {
            a: matrix(&a, 3, k, false),
            b,
            scale: 1.0,
        };
        assert!(dots::suits(&term));
        // SAFETY: views of the slices above.
        unsafe { multiply(to, Start::Zero, &[term], Threads::Pool) };
        out
    };
    assert_eq!(
        run(Operand::Bf16(matrix(&brain, k, n, true))),
        run(Operand::Same(matrix(&wide, k, n, true)))
    );
}

#[test]
fn every_half_number_widens_to_itself() {
    for bits in 0..=u16::MAX {
        let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
        let (wide, wide_brain): (f32, f32) = (half.widen(), brain.widen());
        assert!(wide.to_bits() == half.to_f32().to_bits() || half.is_nan() && wide.is_nan());
        assert!(
            wide_brain.to_bits() == brain.to_f32().to_bits()
                || brain.is_nan() && wide_brain.is_nan()
        );
    }
}

#[test]
fn narrow_terms_share_the_pass_of_the_wide_one() {
    let a = vec![0.0_f32; 4 * 800];
    let b = vec![0.0_f32; 800 * 4];
    let term = |k: usize| {
        Term::new(
            matrix(&a[..4 * k], 4, k, false),
            matrix(&b[..k * 4], k, 4, false),
        )
    };
    let all = segments(&[term(800), term(8)]);
    let passes: Vec<_> = all
        .iter()
        .map(|s| (s.pass, s.term, s.from, s.depth))
        .collect();
    assert_eq!(passes, [(0, 0, 0, 400), (1, 0, 400, 400), (1, 1, 0, 8)]);
    // Too wide a term begins a pass of its own.
    let all = segments(&[term(768), term(200)]);
    assert_eq!(all.iter().map(|s| s.pass).collect::<Vec<_>>(), [0, 1]);
}
