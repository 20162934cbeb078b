//! The scan of Mamba-2: chunk by chunk in time, within a chunk as products of matrices.
//!
//! A task has a sequence and some heads of a group, which share the products of `B` and `C`. What it works in is of the size of
//! a chunk; the states between chunks are all that is kept for the backward pass.

mod backward;
mod forward;
mod room;

use core::ops::Range;

use burn::tensor::DType;
use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};

use super::matmul::{Output, Start, Term, Threads, multiply_unrounded};
use super::real::Real;
use super::view::{Matrix, Target, contiguous, elements, with_lines};
use super::{F, by_type};
use crate::backends::dual::{self, DualGrads, DualOps, DualPlan, Inputs};

/// Rows of a chunk.
pub const CHUNK: usize = 64;

/// A number for every row of a chunk.
type Lanes<T> = [T; CHUNK];

/// Where there is room for the products of the rows of a chunk with each other.
type Square<T> = Vec<Lanes<T>>;

impl DualOps for Flex {
    #[rustfmt::skip]
    fn dual_scan(
        x: F, dt: F, a_log: F, b: F, c: F, skip: F, bias: F, initial: F, plan: DualPlan,
    ) -> (F, F) {
        let inputs = [x, dt, a_log, b, c, skip, bias, initial];
        if !plan.fast {
            let (y, last, _) = dual::composed::<Self>(inputs, &plan);
            return (y, last);
        }
        let scanned = by_type!(inputs[0], forward(inputs.each_ref(), &plan, false));
        (scanned.y, scanned.last)
    }
}

impl DualGrads for Flex {
    fn dual_scan_saving(inputs: Inputs<Self>, plan: &DualPlan) -> (F, F, F) {
        if !plan.fast {
            return dual::composed::<Self>(inputs, plan);
        }
        let scanned = by_type!(inputs[0], forward(inputs.each_ref(), plan, true));
        (scanned.y, scanned.last, scanned.saved.expect("asked for"))
    }

    fn dual_scan_grads(
        inputs: Inputs<Self>,
        saved: F,
        grad: F,
        last: Option<F>,
        plan: &DualPlan,
        wanted: [bool; 8],
    ) -> [Option<F>; 8] {
        if !plan.fast {
            return dual::composed_grads::<Self>(inputs, saved, grad, last, plan, wanted);
        }
        let inputs = inputs.each_ref();
        by_type!(
            grad,
            backward(inputs, &saved, &grad, last.as_ref(), plan, wanted)
        )
    }
}

use backward::backward;
use forward::forward;

/// The inputs, made readable.
struct Held {
    rows: [FlexTensor; 4],
    a_log: FlexTensor,
    skip: FlexTensor,
    bias: FlexTensor,
    initial: FlexTensor,
}

impl Held {
    fn new<T: Real>(inputs: [&FlexTensor; 8]) -> Self {
        let [x, dt, a_log, b, c, skip, bias, initial] = inputs;
        Self {
            rows: [x, dt, b, c].map(with_lines::<T>),
            a_log: contiguous(a_log),
            skip: contiguous(skip),
            bias: contiguous(bias),
            initial: contiguous(initial),
        }
    }

    /// `A = −exp(A_log)`, `[H]`.
    fn rates<T: Real>(&self) -> Vec<T> {
        let rate = |v: &T| T::of(-v.wide().exp());
        elements::<T>(&self.a_log).iter().map(rate).collect()
    }

    /// What the tasks read.
    fn scan<'a, T: Real>(&'a self, rates: &'a [T], plan: &'a DualPlan) -> Scan<'a, T> {
        let [x, dt, b, c] = self.rows.each_ref().map(Matrix::of);
        Scan {
            x,
            dt,
            b,
            c,
            rates,
            skip: elements::<T>(&self.skip),
            bias: elements::<T>(&self.bias),
            initial: elements::<T>(&self.initial),
            starts: plan.rows.starts(),
            groups: plan.groups,
            limit: [T::of(plan.limit.0), T::of(plan.limit.1)],
        }
    }
}

/// The inputs of a scan over `T` rows of `H` heads with `P` channels each, and `N` states for each channel.
#[derive(Clone, Copy)]
struct Scan<'a, T> {
    /// `[T, H·P]`.
    x: Matrix<T>,
    /// `[T, H]`, before bias and softplus.
    dt: Matrix<T>,
    /// `[T, G·N]`.
    b: Matrix<T>,
    /// `[T, G·N]`.
    c: Matrix<T>,
    /// `[H]`.
    rates: &'a [T],
    /// `[H]`.
    skip: &'a [T],
    /// `[H]`, or nothing.
    bias: &'a [T],
    /// `[sequences, H, P, N]`, or nothing.
    initial: &'a [T],
    /// First row of each sequence and, last, the number of rows.
    starts: &'a [usize],
    /// Groups of `B` and `C`.
    groups: usize,
    /// Bounds of the step.
    limit: [T; 2],
}

/// A sequence and some heads of a group.
struct Task {
    sequence: usize,
    group: usize,
    /// Which of the tasks of a group.
    part: usize,
    heads: Range<usize>,
}

impl<T: Real> Scan<'_, T> {
    fn heads(&self) -> usize {
        self.rates.len()
    }

    /// Channels of a head.
    fn channels(&self) -> usize {
        self.x.cols / self.heads()
    }

    /// States of a channel.
    fn states(&self) -> usize {
        self.b.cols / self.groups
    }

    fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// Heads of a task: several, for they share products, where there are enough for the threads of any machine. What it is
    /// depends on the sizes alone, as the order of the sums over heads does.
    fn share(&self) -> usize {
        let most = match self.sequences() * self.heads() {
            0..48 => 1,
            48..96 => 2,
            _ => 4,
        };
        most.min(self.heads() / self.groups)
    }

    /// Tasks of a group.
    fn parts(&self) -> usize {
        (self.heads() / self.groups).div_ceil(self.share())
    }

    fn tasks(&self) -> usize {
        self.sequences() * self.groups * self.parts()
    }

    fn task(&self, index: usize) -> Task {
        let (parts, of_group) = (self.parts(), self.heads() / self.groups);
        let (group, part) = (index / parts % self.groups, index % parts);
        let from = part * self.share();
        let to = of_group.min(from + self.share());
        Task {
            sequence: index / parts / self.groups,
            group,
            part,
            heads: group * of_group + from..group * of_group + to,
        }
    }

    /// Chunks of the sequences, in order: the first of each and, last, their number.
    fn chunks(&self) -> Vec<usize> {
        let mut first = vec![0];
        for span in self.starts.windows(2) {
            first.push(first[first.len() - 1] + (span[1] - span[0]).div_ceil(CHUNK));
        }
        first
    }

    /// The rows of a chunk of a sequence.
    fn rows(&self, sequence: usize, chunk: usize) -> Range<usize> {
        let from = self.starts[sequence] + chunk * CHUNK;
        from..self.starts[sequence + 1].min(from + CHUNK)
    }

    /// The inputs of a head, `[q, P]`.
    fn inputs(&self, rows: Range<usize>, head: usize) -> Matrix<T> {
        let p = self.channels();
        self.x.part(rows, head * p..(head + 1) * p)
    }

    /// `B` and `C` of a group, `[q, N]`.
    fn projections(&self, rows: Range<usize>, group: usize) -> [Matrix<T>; 2] {
        let n = self.states();
        [self.b, self.c].map(|m| m.part(rows.clone(), group * n..(group + 1) * n))
    }

    /// The step of a row and a head, and its slope.
    #[inline(always)]
    fn step<const FMA: bool>(&self, raw: T) -> (T, T) {
        let (mut delta, mut slope) = raw.soft_plus::<FMA>();
        let [least, most] = self.limit;
        if delta < least {
            (delta, slope) = (least, T::ZERO);
        }
        if delta > most {
            (delta, slope) = (most, T::ZERO);
        }
        (delta, slope)
    }

    /// The step of a row and a head before the softplus.
    #[inline(always)]
    fn raw(&self, row: usize, head: usize) -> T {
        // SAFETY: the matrix is made with lines, and has that row.
        let raw = unsafe { self.dt.line(row) }[head];
        match self.bias {
            [] => raw,
            bias => raw + bias[head],
        }
    }

    /// The steps of the rows of a chunk.
    #[inline(always)]
    fn steps<const FMA: bool>(&self, rows: Range<usize>, head: usize) -> Steps<T> {
        let count = rows.len();
        let mut raw = [T::ZERO; CHUNK];
        for (raw, row) in raw.iter_mut().zip(rows) {
            *raw = self.raw(row, head);
        }
        let zero = [T::ZERO; CHUNK];
        let (mut delta, mut slope, mut log, mut from_start) = (zero, zero, zero, zero);
        for i in 0..CHUNK {
            (delta[i], slope[i]) = self.step::<FMA>(raw[i]);
            log[i] = delta[i] * self.rates[head];
        }
        let mut sum = T::ZERO;
        for (from_start, &log) in from_start.iter_mut().zip(&log) {
            sum += log;
            *from_start = sum;
        }
        for decay in &mut from_start {
            *decay = decay.exponential::<FMA>();
        }
        Steps {
            count,
            delta,
            slope,
            log,
            from_start,
        }
    }
}

/// The steps of the rows of a chunk for a head; what is behind the last row means nothing.
struct Steps<T> {
    /// Rows.
    count: usize,
    delta: Lanes<T>,
    /// Slopes of the steps.
    slope: Lanes<T>,
    /// Logarithms of the decays of the single rows.
    log: Lanes<T>,
    /// Decays from the start of the chunk to each row.
    from_start: Lanes<T>,
}

impl<T: Real> Steps<T> {
    /// The decay over all rows.
    fn over(&self) -> T {
        self.from_start[self.count - 1]
    }

    /// The decays from row `s` to row `t`, `[t][s]`, 0 for `s > t`: exponentials of sums of the numbers between, not of
    /// differences of sums, which would lose the small ones.
    #[inline(always)]
    fn decays<const FMA: bool>(&self, to: &mut Square<T>) {
        let mut sums = [T::ZERO; CHUNK];
        for (t, row) in to.iter_mut().take(self.count).enumerate() {
            for sum in &mut sums {
                *sum += self.log[t];
            }
            sums[t..].fill(T::ZERO);
            for (decay, &sum) in row.iter_mut().zip(&sums) {
                *decay = sum.exponential::<FMA>();
            }
            row[t + 1..].fill(T::ZERO);
        }
    }
}

fn square<T: Real>() -> Square<T> {
    vec![[T::ZERO; CHUNK]; CHUNK]
}

/// The products of `q` rows with each other as a matrix.
fn square_of<T: Real>(square: &Square<T>, q: usize) -> Matrix<T> {
    matrix(square.as_flattened(), q, q, CHUNK)
}

/// Numbers in rows that are `stride` apart as a matrix.
fn matrix<T: Real>(numbers: &[T], rows: usize, cols: usize, stride: usize) -> Matrix<T> {
    assert!(rows == 0 || (rows - 1) * stride + cols <= numbers.len());
    Matrix {
        start: numbers.as_ptr(),
        rows,
        cols,
        row_stride: stride as isize,
        col_stride: 1,
    }
}

/// `to (+)= a · b` on the thread of the task, in the type of the numbers: states are too sensitive to be rounded.
///
/// # Safety
/// The operands must be readable, and `to` writable in rows that are `stride` apart, and no one else use it; initialised where
/// the product is added to it.
unsafe fn product<T: Real>(to: *mut T, stride: usize, start: Start<T>, a: Matrix<T>, b: Matrix<T>) {
    let out = Output {
        to: Target(to),
        rows: a.rows,
        cols: b.cols,
        row_stride: stride as isize,
        col_stride: 1,
    };
    // SAFETY: the caller's promise.
    unsafe { multiply_unrounded(out, start, &[Term::new(a, b)], Threads::Caller) }
}

/// `to = from · factor`, row by row.
#[inline(always)]
fn scaled<T: Real>(to: &mut [T], width: usize, from: Matrix<T>, factors: &Lanes<T>) {
    let lines = to.chunks_exact_mut(width).take(from.rows).zip(factors);
    for (row, (to, &factor)) in lines.enumerate() {
        // SAFETY: the columns are neighbours.
        let from = unsafe { from.line(row) };
        for (to, &v) in to.iter_mut().zip(from) {
            *to = factor * v;
        }
    }
}

/// The shape of states.
fn states_shape<T: Real>(scan: &Scan<'_, T>, count: usize) -> Shape {
    Shape::new([count, scan.heads(), scan.channels(), scan.states()])
}
