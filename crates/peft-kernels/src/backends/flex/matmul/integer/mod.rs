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

use self::kinds::{Kind, Layout, Q4K, Q40, Q41, Q80};
use self::round::Rounded;
use self::units::{Spread, Unit};
pub use self::units::{Units, best};
use super::super::blocks::Blocks;
use super::dots::in_columns;
use super::tile::Sink;
use super::{Operand, Term, Threads};

/// Numbers of a run.
const RUN: usize = 32;
/// Runs that are multiplied together.
const GROUP: usize = 4;
/// Numbers of them.
const NUMBERS: usize = GROUP * RUN;
/// Rows that share what is read of the weight.
const ROWS: usize = 4;

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
    let rows = unsafe { (units.round)(term.a, kinds::layout(weight.kind())) };
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

    /// The products of a line of the weight with `N` rows from one on.
    ///
    /// Lanes are added in pairs, what the minima give comes last.
    #[inline(always)]
    unsafe fn column<U: Unit, K: Kind, const N: usize>(&self, line: &[u8], row: usize) -> [f32; N] {
        let rows = self.rows;
        let (mut first, mut second) = ([U::ZERO; N], [U::ZERO; N]);
        let mut minima = [U::NO_PAIRS; N];
        // SAFETY: a line has as many runs as the rows, which are whole blocks, and the rows whole groups.
        unsafe {
            // A count that is known, but for the last.
            for group in 0..rows.runs / GROUP {
                let read = K::read::<U>(line.as_ptr(), group, GROUP);
                add::<U, K, N>(rows, row, group, read, &mut first, &mut second, &mut minima);
            }
            let rest = rows.runs % GROUP;
            if rest > 0 {
                let group = rows.runs / GROUP;
                let read = K::read::<U>(line.as_ptr(), group, rest);
                add::<U, K, N>(rows, row, group, read, &mut first, &mut second, &mut minima);
            }
        }
        let mut sums = [0.0; N];
        for i in 0..N {
            let [_, a, _, b, _, c, _, d] = U::pairs(minima[i]);
            sums[i] = U::total(U::plus(first[i], second[i])) + ((a + b) + (c + d));
        }
        sums
    }
}

/// Adds what a group of runs gives with `N` rows.
///
/// # Safety
/// The instructions of `U` must be there, and the rows have the group.
#[inline(always)]
unsafe fn add<U: Unit, K: Kind, const N: usize>(
    rows: &Rounded,
    row: usize,
    group: usize,
    (pairs, codes): (U::Pairs, [U::Codes; 2]),
    first: &mut [U::Floats; N],
    second: &mut [U::Floats; N],
    minima: &mut [U::Pairs; N],
) {
    for i in 0..N {
        let at = (row + i) * rows.groups + group;
        // SAFETY: the caller's promise.
        unsafe {
            let own = U::load(rows.pairs.as_ptr().add(at * 2 * GROUP));
            let pairs = U::times(pairs, own);
            minima[i] = U::add(minima[i], pairs);
            let with = rows.codes.as_ptr().add(at * NUMBERS);
            match K::LAYOUT {
                Layout::Together => {
                    let products = U::dot_both(codes, with);
                    let factors = U::spread::<{ Spread::FOURS }>(pairs);
                    first[i] = U::add_product(products, factors, first[i]);
                }
                Layout::InTurn => {
                    let products = U::dot(codes[0], with);
                    let factors = U::spread::<{ Spread::FIRST }>(pairs);
                    first[i] = U::add_product(products, factors, first[i]);
                    let products = U::dot(codes[1], with.add(NUMBERS / 2));
                    let factors = U::spread::<{ Spread::SECOND }>(pairs);
                    second[i] = U::add_product(products, factors, second[i]);
                }
                Layout::Crossed => {
                    let products = U::dot(codes[0], with);
                    let factors = U::spread::<{ Spread::EVEN }>(pairs);
                    first[i] = U::add_product(products, factors, first[i]);
                    let products = U::dot(codes[1], with.add(NUMBERS / 2));
                    let factors = U::spread::<{ Spread::ODD }>(pairs);
                    second[i] = U::add_product(products, factors, second[i]);
                }
            }
        }
    }
}
