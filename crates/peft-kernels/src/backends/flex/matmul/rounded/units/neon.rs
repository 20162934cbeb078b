//! BFMMLA of 64-bit ARM: 2 × 4 numbers times 4 × 2, by assembly, for its intrinsics are not stable.

use core::arch::{aarch64::*, asm};

use super::super::super::{Four, plan::Job};
use super::{BLOCK, Groups, LINES, Product, TILE, Unit, Units};

/// BFMMLA.
pub const UNITS: Units = Units {
    name: "BFMMLA",
    native: true,
    job,
    spin,
};

/// Rows, and columns, whose sums fit into the registers with the factors of a step.
const SIDE: usize = 8;
/// Pairs of rows, and of columns: the outputs of an instruction are 2 × 2.
const PAIRS: usize = SIDE / 2;
/// Words of `k` in a step, two for each instruction.
const STEP: usize = 4;

/// Whether the processor has the instructions.
pub fn is_there() -> bool {
    std::arch::is_aarch64_feature_detected!("bf16")
}

struct Bfmmla;

impl Unit for Bfmmla {
    type V = Four<f32>;

    #[inline(always)]
    unsafe fn pairs(from: *const f32, to: *mut u32) {
        for at in (0..LINES).step_by(4) {
            // SAFETY: the caller's promise.
            unsafe {
                let (from, words) = (from.add(2 * at), to.add(at));
                let (first, second) = (vld1q_f32(from), vld1q_f32(from.add(4)));
                let rounded: uint32x4_t;
                asm!(
                    "bfcvtn {to:v}.4h, {first:v}.4s",
                    "bfcvtn2 {to:v}.8h, {second:v}.4s",
                    to = out(vreg) rounded,
                    first = in(vreg) first,
                    second = in(vreg) second,
                    options(pure, nomem, nostack, preserves_flags),
                );
                vst1q_u32(words, rounded);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile(left: Groups, right: Groups, blocks: usize, out: *mut f32) {
        for row in (0..TILE).step_by(SIDE) {
            for column in (0..TILE).step_by(SIDE) {
                // SAFETY: the caller's promise.
                unsafe {
                    let left = left[row / LINES].add(row % LINES * LINES);
                    let right = right[column / LINES].add(column % LINES);
                    square(left, right, blocks, out.add(row * TILE + column));
                }
            }
        }
    }
}

/// `sum + left · rightᵀ`, each factor two lines of four.
#[inline(always)]
unsafe fn multiply(sum: float32x4_t, left: uint32x4_t, right: uint32x4_t) -> float32x4_t {
    let mut sum = sum;
    // SAFETY: registers only; the caller promises the instruction.
    unsafe {
        asm!(
            "bfmmla {sum:v}.4s, {left:v}.8h, {right:v}.8h",
            sum = inout(vreg) sum,
            left = in(vreg) left,
            right = in(vreg) right,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// The sums of [`SIDE`] rows and as many columns.
#[inline(always)]
unsafe fn square(left: *const u32, right: *const u32, blocks: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); PAIRS]; PAIRS];
        for at in (0..blocks * LINES).step_by(STEP) {
            let (block, word) = (at / LINES * BLOCK, at % LINES);
            // Of two rows the first two words, and the next two.
            let mut rows = [[vdupq_n_u32(0); PAIRS]; 2];
            for pair in 0..PAIRS {
                let from = left.add(block + 2 * pair * LINES + word);
                let line = |from| vreinterpretq_u64_u32(vld1q_u32(from));
                let (first, second) = (line(from), line(from.add(LINES)));
                rows[0][pair] = vreinterpretq_u32_u64(vzip1q_u64(first, second));
                rows[1][pair] = vreinterpretq_u32_u64(vzip2q_u64(first, second));
            }
            for (half, rows) in rows.into_iter().enumerate() {
                let mut columns = [vdupq_n_u32(0); PAIRS];
                for four in 0..2 {
                    let from = right.add(block + (word + 2 * half) * LINES + 4 * four);
                    let (first, second) = (vld1q_u32(from), vld1q_u32(from.add(LINES)));
                    columns[2 * four] = vzip1q_u32(first, second);
                    columns[2 * four + 1] = vzip2q_u32(first, second);
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = multiply(*sum, row, column);
                    }
                }
            }
        }
        for (pair, sums) in sums.into_iter().enumerate() {
            for (column, sum) in sums.into_iter().enumerate() {
                let to = out.add(2 * pair * TILE + 2 * column);
                vst1_f32(to, vget_low_f32(sum));
                vst1_f32(to.add(TILE), vget_high_f32(sum));
            }
        }
    }
}

#[target_feature(enable = "neon,bf16")]
unsafe fn job(product: &Product<'_>, job: &Job) {
    // SAFETY: the caller detected the instructions.
    unsafe { super::super::run::<Bfmmla>(product, job) }
}

#[target_feature(enable = "neon,bf16")]
unsafe fn spin(rounds: usize) -> usize {
    const CHAINS: usize = 16;
    let factors = core::hint::black_box(vdupq_n_u32(0x3f00_3f00));
    let mut sums = [vdupq_n_f32(0.0); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: the caller detected the instructions.
            *sum = unsafe { multiply(*sum, factors, factors) };
        }
    }
    core::hint::black_box(sums);
    // 2 × 2 outputs of four products each.
    2 * 16 * CHAINS
}
