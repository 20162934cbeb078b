//! Numbers one by one, for machines without units.

use super::super::super::{Four, plan::Job};
use super::{BLOCK, DEPTH, Groups, LINES, Product, TILE, Unit, Units};

/// Without units.
pub const UNITS: Units = Units {
    name: "no bfloat16 units",
    native: false,
    job,
    spin,
};

struct Plain;

impl Unit for Plain {
    type V = Four<f32>;

    #[inline(always)]
    unsafe fn tile(left: Groups, right: Groups, blocks: usize, out: *mut f32) {
        for row in 0..TILE {
            for (group, columns) in right.into_iter().enumerate() {
                let mut sums = [0f32; LINES];
                for at in 0..blocks * DEPTH / 2 {
                    let (block, pair) = (at / LINES, at % LINES);
                    // SAFETY: the caller's promise.
                    unsafe {
                        let line = block * BLOCK + row % LINES * LINES + pair;
                        let left = *left[row / LINES].add(line);
                        let columns = columns.add(block * BLOCK + pair * LINES);
                        let columns = &*columns.cast::<[u32; LINES]>();
                        for (sum, &right) in sums.iter_mut().zip(columns) {
                            *sum += low(left) * low(right) + high(left) * high(right);
                        }
                    }
                }
                // SAFETY: the caller's promise.
                unsafe {
                    let to = out.add(row * TILE + group * LINES);
                    to.cast::<[f32; LINES]>().write_unaligned(sums);
                }
            }
        }
    }
}

#[inline(always)]
fn low(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

#[inline(always)]
fn high(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

fn job(product: &Product<'_>, job: &Job) {
    // SAFETY: no instructions but those of every machine; the promises of `multiply` hold.
    unsafe { super::super::run::<Plain>(product, job) }
}

fn spin(rounds: usize) -> usize {
    const CHAINS: usize = 8;
    let mut sums = [[0f32; LINES]; CHAINS];
    let factors = core::hint::black_box([0.5f32; LINES]);
    for _ in 0..rounds {
        for sums in &mut sums {
            for (sum, factor) in sums.iter_mut().zip(factors) {
                *sum += factor * factor;
            }
        }
        core::hint::black_box(&mut sums);
    }
    2 * CHAINS * LINES
}
