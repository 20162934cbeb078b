//! Rows times a weight in blocks, in whole numbers of 8 bits: the rows are rounded to them, and multiplied with the codes as they are
//! stored. It is made for the few rows of generation; more of them are done alike, so that how many there are changes no result.
//!
//! In a run of 32 numbers of `k` a row is `x ≈ a q`, with `a` the largest magnitude over 127, and a weight `w = s c + m`, so that
//! `Σ w x ≈ s a Σ c q + m a Σ q`. The sums are of whole numbers and exact, what they are multiplied by and their own sum is of `f32`. So the
//! rounding of the rows is all that is lost: of each number at most `a / 2`.

mod kinds;
mod round;
mod units;

#[cfg(test)]
mod tests;

use peft_blocks::BlockType;

use self::kinds::{Kind, Q4K, Q40, Q41, Q80};
use self::round::Rounded;
use self::units::Unit;
pub use self::units::{Units, best};
use super::super::blocks::Blocks;
use super::dots::in_columns;
use super::tile::Sink;
use super::{Operand, Term, Threads};

/// Numbers of a run.
const RUN: usize = 32;
/// Runs whose scales are read together.
const SPAN: usize = 16;
/// Rows that share what is read of the weight.
const ROWS: usize = 4;
/// Sums of pairs of runs that do not wait for each other.
const CHAINS: usize = 4;

/// The weight of a product whose type has codes that are multiplied as they are, and whose blocks lie along `k`, as the rows do.
pub fn weight<T>(term: &Term<T>) -> Option<Blocks> {
    let Operand::Blocks(blocks) = term.b else {
        return None;
    };
    let suits = blocks.upright && term.a.col_stride == 1;
    (suits && kinds::KNOWN.contains(&blocks.kind())).then_some(blocks)
}

/// Columns of the output that one task computes.
pub struct Task<'a> {
    weight: Blocks,
    rows: &'a Rounded,
    scale: f32,
    first: usize,
    sink: Sink<f32>,
}

/// `sink = start + scale · a · b` with the rows of `a` rounded.
///
/// # Safety
/// As for [`multiply`](super::multiply), for a term with this [`weight`], and units that the machine has.
pub unsafe fn multiply(
    units: Units,
    term: &Term<f32>,
    weight: Blocks,
    sink: Sink<f32>,
    threads: Threads,
) {
    // SAFETY: the caller's promise.
    let rows = unsafe { (units.round)(term.a) };
    in_columns(term, sink.cols, threads, |first, cols| {
        let task = Task {
            weight,
            rows: &rows,
            scale: term.scale,
            first,
            sink: sink.part(0, first, term.a.rows, cols, false),
        };
        // SAFETY: the caller's promise.
        unsafe { (units.task)(&task) }
    });
}

/// Does a task with the units `U`.
///
/// # Safety
/// The instructions of `U` must be there, and the promises of [`multiply`] hold.
#[inline(always)]
unsafe fn run<U: Unit>(task: &Task<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match task.weight.kind() {
            BlockType::Q4_0 => task.all::<U, Q40>(),
            BlockType::Q4_1 => task.all::<U, Q41>(),
            BlockType::Q8_0 => task.all::<U, Q80>(),
            BlockType::Q4K => task.all::<U, Q4K>(),
            _ => unreachable!("a type without such codes"),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn all<U: Unit, K: Kind>(&self) {
        for j in 0..self.sink.cols {
            // SAFETY: the caller's promise; the column is one of the weight's lines.
            unsafe {
                let line = self.weight.line(self.first + j);
                for row in (0..self.sink.rows).step_by(ROWS) {
                    match self.sink.rows - row {
                        1 => self.some::<U, K, 1>(line, row, j),
                        2 => self.some::<U, K, 2>(line, row, j),
                        3 => self.some::<U, K, 3>(line, row, j),
                        _ => self.some::<U, K, ROWS>(line, row, j),
                    }
                }
            }
        }
    }

    /// `N` elements of a column of the output.
    #[inline(always)]
    unsafe fn some<U: Unit, K: Kind, const N: usize>(&self, line: &[u8], row: usize, j: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let sums = self.column::<U, K, N>(line, row);
            for (i, sum) in sums.into_iter().enumerate() {
                self.sink.put(row + i, j, self.scale * sum);
            }
        }
    }

    /// The products of a line of the weight with `N` rows from one on. Pair `p` of the runs of a whole span belongs to chain
    /// `p mod CHAINS`, those of a shorter one to the first; chains and lanes are added in pairs, what the minima give comes last.
    #[inline(always)]
    unsafe fn column<U: Unit, K: Kind, const N: usize>(&self, line: &[u8], row: usize) -> [f32; N] {
        let rows = self.rows;
        let mut chains = [[U::splat(0.0); N]; CHAINS];
        let mut minima = [U::splat(0.0); N];
        // SAFETY: a line has as many runs as the rows, which are whole blocks, and the rows whole spans.
        unsafe {
            for from in (0..rows.runs).step_by(SPAN) {
                let count = SPAN.min(rows.runs - from);
                let span = line.as_ptr().add(from / K::RUNS * K::BYTES);
                let (scales, least) = K::scales::<U>(span, count);
                // No closures: they are functions that may not use the instructions, until all is one function.
                let (mut at, mut factors) = ([0; N], [scales; N]);
                for i in 0..N {
                    at[i] = (row + i) * rows.stride + from;
                    let own = U::load(rows.scales.as_ptr().add(at[i]));
                    factors[i] = U::times(scales, own);
                    let sums = U::load(rows.sums.as_ptr().add(at[i]));
                    minima[i] = U::add_product(least, sums, minima[i]);
                }
                let mut with = [rows.codes.as_ptr(); N];
                for (with, at) in with.iter_mut().zip(at) {
                    *with = with.add(at * RUN);
                }
                // Counts that are known, so that the sums stay in registers.
                if count == SPAN {
                    for first in (0..SPAN / 2).step_by(CHAINS) {
                        for (chain, sums) in chains.iter_mut().enumerate() {
                            let pair = first + chain;
                            let codes = K::pair::<U>(span, pair, true);
                            add::<U, N>(codes, &with, pair, &factors, sums);
                        }
                    }
                } else {
                    for pair in 0..count.div_ceil(2) {
                        let codes = K::pair::<U>(span, pair, 2 * pair + 1 < count);
                        add::<U, N>(codes, &with, pair, &factors, &mut chains[0]);
                    }
                }
            }
        }
        let [first, second, third, fourth] = chains;
        let mut sums = [0.0; N];
        for i in 0..N {
            let pairs = (U::plus(first[i], second[i]), U::plus(third[i], fourth[i]));
            sums[i] = U::total(U::plus(pairs.0, pairs.1)) + U::total(minima[i]);
        }
        sums
    }
}

/// Adds what the codes of a pair of runs give with `N` rows.
///
/// # Safety
/// Its instructions must be there, and the rows have the pair.
#[inline(always)]
unsafe fn add<U: Unit, const N: usize>(
    codes: U::Codes,
    with: &[*const i8; N],
    pair: usize,
    factors: &[U::Floats; N],
    sums: &mut [U::Floats; N],
) {
    for i in 0..N {
        // SAFETY: the caller's promise.
        let products = unsafe { U::dot(codes, with[i].add(2 * pair * RUN)) };
        sums[i] = U::add_product(products, U::spread(factors[i], pair), sums[i]);
    }
}
