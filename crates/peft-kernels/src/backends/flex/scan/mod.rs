//! The selective scan, forward.
//!
//! A task has [`LANES`] channels and all rows: it goes through time with the states of its channels in the first-level
//! cache, a vector of channels for each state. Nothing of the size rows × channels × states ever exists.

mod chunk;
pub mod grad;
mod totals;

use burn::tensor::{DType, Shape};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use self::grad::selective_scan_grads;
use super::gate::{Gate, Logistic};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Matrix, Target, contiguous, elements, with_lines, wrap};
use super::{F, I, by_type};
use crate::backends::selective::{Inputs, Saving, ScanGrads, ScanOps, ScanPlan};

/// Channels of a task.
pub const LANES: usize = 64;
/// Rows between states that are kept for the backward pass.
pub const CHUNK: usize = 32;

impl ScanOps for Flex {
    #[rustfmt::skip]
    fn selective_scan(
        u: F, delta: F, a_log: F, b: F, c: F, skip: F, gate: F, bias: F, initial: F, _: I, plan: ScanPlan,
    ) -> (F, F) {
        let inputs = [&u, &delta, &a_log, &b, &c, &skip, &gate, &bias, &initial];
        let scanned = by_type!(u, selective_scan(inputs, &plan, false));
        (scanned.y, scanned.last)
    }
}

impl ScanGrads for Flex {
    fn selective_scan_saving(inputs: Inputs<Self>, _: I, plan: &ScanPlan) -> Saving<Self> {
        let scanned = by_type!(inputs[0], selective_scan(inputs.each_ref(), plan, true));
        (scanned.y, scanned.last, scanned.saved.expect("asked for"))
    }

    fn selective_scan_grads(
        inputs: Inputs<Self>,
        saved: F,
        grad: F,
        last: Option<F>,
        _: I,
        plan: &ScanPlan,
        wanted: [bool; 9],
    ) -> [Option<F>; 9] {
        let inputs = inputs.each_ref();
        by_type!(
            grad,
            selective_scan_grads(inputs, &saved, &grad, last.as_ref(), plan, wanted)
        )
    }
}

/// The inputs, made readable: `u`, `Δ`, `A_log`, `B`, `C`, `D`, the gate, the bias of `Δ`, the initial states.
pub struct Held {
    rows: [FlexTensor; 4],
    gate: Option<FlexTensor>,
    a_log: FlexTensor,
    skip: FlexTensor,
    bias: FlexTensor,
    initial: FlexTensor,
}

impl Held {
    /// An empty gate, bias or initial state is none.
    pub fn new<T: Real>(inputs: [&FlexTensor; 9]) -> Self {
        let [u, delta, a_log, b, c, skip, gate, bias, initial] = inputs;
        Self {
            rows: [u, delta, b, c].map(with_lines::<T>),
            gate: (gate.layout().num_elements() > 0).then(|| with_lines::<T>(gate)),
            a_log: contiguous(a_log),
            skip: contiguous(skip),
            bias: contiguous(bias),
            initial: contiguous(initial),
        }
    }

    /// `A = −exp(A_log)`, turned: `[N, D]`.
    pub fn rates<T: Real>(&self) -> Vec<T> {
        let states = self.a_log.layout().shape()[1];
        let a_log = elements::<T>(&self.a_log);
        let rate = |v: &T| T::of(-v.wide().exp());
        let column = |n: usize| a_log.iter().skip(n).step_by(states).map(rate);
        (0..states).flat_map(column).collect()
    }

    /// What the tasks read.
    pub fn scan<'a, T: Real>(&'a self, rates: &'a [T], plan: &'a ScanPlan) -> Scan<'a, T> {
        let [u, delta, b, c] = self.rows.each_ref().map(Matrix::of);
        Scan {
            u,
            delta,
            b,
            c,
            gate: self.gate.as_ref().map(Matrix::of),
            rates,
            skip: elements::<T>(&self.skip),
            bias: elements::<T>(&self.bias),
            initial: elements::<T>(&self.initial),
            starts: plan.rows.starts(),
        }
    }
}

/// The inputs of a scan over `T` rows of `D` channels with `N` states each.
#[derive(Clone, Copy)]
pub struct Scan<'a, T> {
    /// `[T, D]`.
    pub u: Matrix<T>,
    /// `[T, D]`, before bias and softplus.
    pub delta: Matrix<T>,
    /// `[T, N]`.
    pub b: Matrix<T>,
    /// `[T, N]`.
    pub c: Matrix<T>,
    /// `[T, D]`.
    pub gate: Option<Matrix<T>>,
    /// `[N, D]`.
    pub rates: &'a [T],
    /// `[D]`.
    pub skip: &'a [T],
    /// `[D]`, or nothing.
    pub bias: &'a [T],
    /// `[sequences, D, N]`, or nothing.
    pub initial: &'a [T],
    /// First row of each sequence and, last, the number of rows.
    pub starts: &'a [usize],
}

/// Numbers of a row for `W` channels; zeros behind the last channel.
pub struct Row<T, const W: usize> {
    /// Input.
    pub u: [T; W],
    /// Step, `softplus` applied.
    pub delta: [T; W],
    /// Slope of the softplus.
    pub slope: [T; W],
    /// `delta ∘ u`.
    pub drive: [T; W],
}

/// `W` channels of a line from one on; zeros behind the last.
#[inline(always)]
pub fn lanes<T: Real, const W: usize>(line: &[T], from: usize) -> [T; W] {
    match line[from..].first_chunk::<W>() {
        Some(all) => *all,
        None => {
            let mut some = [T::ZERO; W];
            some[..line.len() - from].copy_from_slice(&line[from..]);
            some
        }
    }
}

/// Writes the first of some channels.
///
/// # Safety
/// The places must be inside of the target and the task's own.
#[inline(always)]
pub unsafe fn put<T: Copy, const W: usize>(to: Target<T>, at: usize, from: &[T; W], width: usize) {
    debug_assert!(width <= W, "{width} of {W}");
    // SAFETY: the caller's promise.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.at(at), width) };
}

impl<T: Real> Scan<'_, T> {
    /// Channels.
    pub fn channels(&self) -> usize {
        self.u.cols
    }

    /// States of a channel.
    pub fn states(&self) -> usize {
        self.b.cols
    }

    /// Tasks that share out the channels.
    pub fn tasks(&self) -> usize {
        self.channels().div_ceil(LANES)
    }

    /// How many of `W` channels there are.
    pub fn width<const W: usize>(&self, from: usize) -> usize {
        W.min(self.channels() - from)
    }

    /// `A` for `W` channels, a vector for each state.
    pub fn rates_of<const W: usize>(&self, from: usize) -> Vec<[T; W]> {
        let lines = self.rates.chunks_exact(self.channels());
        lines.map(|line| lanes(line, from)).collect()
    }

    /// The bias of the step for `W` channels.
    pub fn bias_of<const W: usize>(&self, from: usize) -> [T; W] {
        match self.bias {
            [] => [T::ZERO; W],
            bias => lanes(bias, from),
        }
    }

    /// Numbers of a row.
    #[inline(always)]
    pub fn row<const FMA: bool, const W: usize>(
        &self,
        row: usize,
        from: usize,
        bias: &[T; W],
    ) -> Row<T, W> {
        // SAFETY: the matrices are made with lines, and have that row.
        let (u, raw) = unsafe { (self.u.line(row), self.delta.line(row)) };
        let (u, raw): ([T; W], [T; W]) = (lanes(u, from), lanes(raw, from));
        let zero = [T::ZERO; W];
        let (mut delta, mut slope, mut drive) = (zero, zero, zero);
        for l in 0..W {
            (delta[l], slope[l]) = (raw[l] + bias[l]).soft_plus::<FMA>();
            drive[l] = delta[l] * u[l];
        }
        Row {
            u,
            delta,
            slope,
            drive,
        }
    }

    /// Reads states `[sequences, D, N]` of `W` channels; nothing is zeros.
    pub fn load<const W: usize>(
        &self,
        all: &[T],
        sequence: usize,
        from: usize,
        states: &mut [[T; W]],
    ) {
        let (width, n) = (self.width::<W>(from), self.states());
        for (i, lanes) in states.iter_mut().enumerate() {
            *lanes = [T::ZERO; W];
            if all.is_empty() {
                continue;
            }
            for (l, lane) in lanes[..width].iter_mut().enumerate() {
                *lane = all[(sequence * self.channels() + from + l) * n + i];
            }
        }
    }

    /// Writes states `[sequences, D, N]` of `W` channels.
    ///
    /// # Safety
    /// The target must be of that size, and the task the only one of these channels.
    pub unsafe fn store<const W: usize>(
        &self,
        to: Target<T>,
        sequence: usize,
        from: usize,
        states: &[[T; W]],
    ) {
        let (width, n) = (self.width::<W>(from), self.states());
        for (i, lanes) in states.iter().enumerate() {
            for (l, &lane) in lanes[..width].iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *to.at((sequence * self.channels() + from + l) * n + i) = lane };
            }
        }
    }

    /// Chunks of the sequences, in order: the first of each and, last, their number.
    pub fn chunks(&self) -> Vec<usize> {
        let mut first = vec![0];
        for span in self.starts.windows(2) {
            first.push(first[first.len() - 1] + (span[1] - span[0]).div_ceil(CHUNK));
        }
        first
    }
}

struct Forward<'a, T> {
    scan: Scan<'a, T>,
    from: usize,
    y: Target<T>,
    last: Target<T>,
    /// `[chunks, N, D]`: the states before each chunk.
    saved: Option<Target<T>>,
}

impl<T: Real> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (scan, from) = (self.scan, self.from);
        let (d, width) = (scan.channels(), scan.width::<LANES>(from));
        let (rates, bias, skip): (Vec<[T; LANES]>, [T; LANES], [T; LANES]) = (
            scan.rates_of(from),
            scan.bias_of(from),
            lanes(scan.skip, from),
        );
        let n = rates.len();
        let mut states = vec![[T::ZERO; LANES]; n];
        let mut chunk = 0;
        for (sequence, span) in scan.starts.windows(2).enumerate() {
            scan.load(scan.initial, sequence, from, &mut states);
            for row in span[0]..span[1] {
                if (row - span[0]).is_multiple_of(CHUNK) {
                    if let Some(saved) = self.saved {
                        for (i, state) in states.iter().enumerate() {
                            // SAFETY: these channels of all chunks are of this task alone.
                            unsafe { put(saved, (chunk * n + i) * d + from, state, width) };
                        }
                    }
                    chunk += 1;
                }
                let x = scan.row::<FMA, LANES>(row, from, &bias);
                // SAFETY: the matrices are made with lines, and have that row.
                let (b, c) = unsafe { (scan.b.line(row), scan.c.line(row)) };
                let mut y = [T::ZERO; LANES];
                for l in 0..LANES {
                    y[l] = skip[l] * x.u[l];
                }
                for (((h, rate), &b), &c) in states.iter_mut().zip(&rates).zip(b).zip(c) {
                    for l in 0..LANES {
                        let decay = (x.delta[l] * rate[l]).exponential::<FMA>();
                        h[l] = decay.fma::<FMA>(h[l], x.drive[l] * b);
                        y[l] = c.fma::<FMA>(h[l], y[l]);
                    }
                }
                if let Some(gate) = scan.gate {
                    // SAFETY: as above.
                    let z: [T; LANES] = lanes(unsafe { gate.line(row) }, from);
                    for l in 0..LANES {
                        y[l] = y[l] * z[l] * Logistic::gate::<T, FMA>(z[l]).0;
                    }
                }
                // SAFETY: these channels of all rows are of this task alone.
                unsafe { put(self.y, row * d + from, &y, width) };
            }
            // SAFETY: these channels of all sequences are of this task alone.
            unsafe { scan.store(self.last, sequence, from, &states) };
        }
    }
}

/// What the scan gives.
pub struct Scanned {
    /// `[T, D]`.
    pub y: FlexTensor,
    /// The states behind the last row of each sequence, `[sequences, D, N]`.
    pub last: FlexTensor,
    /// The states before every chunk, `[chunks, N, D]`, if they were asked for.
    pub saved: Option<FlexTensor>,
}

/// See [`selective_scan`](crate::selective_scan).
pub fn selective_scan<T: Real>(inputs: [&FlexTensor; 9], plan: &ScanPlan, saving: bool) -> Scanned {
    let held = Held::new::<T>(inputs);
    let rates = held.rates::<T>();
    let scan = held.scan(&rates, plan);
    let (rows, d, n) = (scan.u.rows, scan.channels(), scan.states());
    let sequences = scan.starts.len() - 1;
    let chunks = scan.chunks()[sequences];
    let mut y = Vec::<T>::with_capacity(rows * d);
    let mut last = Vec::<T>::with_capacity(sequences * d * n);
    let mut saved = saving.then(|| Vec::<T>::with_capacity(chunks * n * d));
    let to = (Target(y.as_mut_ptr()), Target(last.as_mut_ptr()));
    let to_saved = saved.as_mut().map(|s| Target(s.as_mut_ptr()));
    (0..scan.tasks()).into_par_iter().for_each(|task| {
        dispatch(Forward {
            scan,
            from: task * LANES,
            y: to.0,
            last: to.1,
            saved: to_saved,
        });
    });
    // SAFETY: the tasks cover all channels, and write every row, sequence and chunk.
    unsafe {
        y.set_len(rows * d);
        last.set_len(sequences * d * n);
        if let Some(saved) = &mut saved {
            saved.set_len(chunks * n * d);
        }
    }
    Scanned {
        y: wrap(y, Shape::new([rows, d])),
        last: wrap(last, Shape::new([sequences, d, n])),
        saved: saved.map(|saved| wrap(saved, Shape::new([chunks, n, d]))),
    }
}
