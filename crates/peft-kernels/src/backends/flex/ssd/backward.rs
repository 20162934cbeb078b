//! Backward: chunk by chunk from the last, the products of a chunk computed anew, the states before it from the forward pass.
//!
//! Within a chunk, with `E_t` and `W_s` the decays from its start to row `t` and from row `s` to its end, `D_ts` those between
//! rows, `x̃ = δ x`, `G_ts = C_t · B_s`, `M = G ∘ D`, the states `h` before it, the gradients `Λ` of those behind it and `g` of
//! its rows: `dx̃_s = Σ_t M_ts g_t + W_s Λ B_s`, `dG_ts = (g_t · x̃_s) D_ts`, `dC_t = Σ_s dG_ts B_s + E_t hᵀ g_t`,
//! `dB_s = Σ_t dG_ts C_t + W_s Λᵀ x̃_s`, `dh = E_q Λ + Σ_t E_t g_t C_tᵀ`. The logarithm `δ_r A` of a decay gets the sum of
//! `dG_ts G_ts` over all pairs `s < r ≤ t` that it lies between, where the states before the chunk and behind it count as a row
//! each.

use core::ops::Range;

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::room::{Room, Wanted};
use super::{CHUNK, Held, Lanes, Scan, Square, Steps, Task, matrix, product, scaled, square_of};
use crate::backends::dual::DualPlan;
use crate::backends::flex::lanes::sum2;
use crate::backends::flex::matmul::Start;
use crate::backends::flex::real::Real;
use crate::backends::flex::scan::grad::summed;
use crate::backends::flex::simd::{Kernel, dispatch};
use crate::backends::flex::view::{Matrix, Target, contiguous, elements, wrap};

/// Where the gradients go, those that are wanted, in the order of the inputs. Those of `B` and `C` are sums over heads: every
/// task of a group has its own, `[parts, T, G·N]`; those of rates, skip and bias are sums over rows, `[sequences, H]`.
struct Sinks<T>([Option<Target<T>>; 8]);

struct Backward<'a, T> {
    scan: Scan<'a, T>,
    task: Task,
    /// Of all chunks, the first one of the sequence.
    chunk: usize,
    /// States before every chunk, `[chunks, H, P, N]`.
    saved: &'a [T],
    /// `[T, H·P]`.
    grad: Matrix<T>,
    /// To the last states; nothing for zeros.
    grad_last: &'a [T],
    wanted: Wanted,
    to: &'a Sinks<T>,
    room: &'a mut Room<T>,
}

/// A chunk of a head.
struct Piece<'a, T> {
    rows: Range<usize>,
    head: usize,
    steps: Steps<T>,
    /// Inputs, `[q, P]`.
    x: Matrix<T>,
    /// Gradients to the outputs, `[q, P]`.
    grad: Matrix<T>,
    /// `[q, N]`.
    b: Matrix<T>,
    /// `[q, N]`.
    c: Matrix<T>,
    /// States before the chunk, `[P, N]`, if any is not 0.
    before: Option<&'a [T]>,
    /// Whether any gradient of the states behind it may not be 0.
    followed: bool,
}

impl<T: Real> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let (sequence, heads) = (self.task.sequence, self.task.heads.clone());
        let (p, n) = (self.scan.channels(), self.scan.states());
        let first_state = (sequence * self.scan.heads() + heads.start) * p * n;
        let size = heads.len() * p * n;
        match self.grad_last {
            [] => self.room.carry[..size].fill(T::ZERO),
            all => self.room.carry[..size].copy_from_slice(&all[first_state..first_state + size]),
        }
        self.room.heads.fill([T::ZERO; 3]);
        let starts = &self.scan.starts[sequence..sequence + 2];
        let chunks = (starts[1] - starts[0]).div_ceil(CHUNK);
        for index in (0..chunks).rev() {
            let rows = self.scan.rows(sequence, index);
            let [b, c] = self.scan.projections(rows.clone(), self.task.group);
            let q = rows.len();
            if self.wanted.driven() || self.wanted.scores() {
                // SAFETY: the room holds a square.
                unsafe {
                    let to = self.room.scores.as_mut_ptr().cast();
                    product(to, CHUNK, Start::Zero, c, b.transposed());
                }
            }
            self.room.sums.as_flattened_mut().fill(T::ZERO);
            self.room.to_b[..q * n].fill(T::ZERO);
            self.room.to_c[..q * n].fill(T::ZERO);
            for head in heads.clone() {
                let at = ((self.chunk + index) * self.scan.heads() + head) * p * n;
                let fresh = index == 0 && self.scan.initial.is_empty();
                let piece = Piece {
                    steps: self.scan.steps::<FMA>(rows.clone(), head),
                    x: self.scan.inputs(rows.clone(), head),
                    grad: self.grad.part(rows.clone(), head * p..(head + 1) * p),
                    before: (!fresh).then(|| &self.saved[at..at + p * n]),
                    followed: index + 1 < chunks || !self.grad_last.is_empty(),
                    rows: rows.clone(),
                    head,
                    b,
                    c,
                };
                self.head::<FMA>(&piece);
            }
            self.put_projections(&rows, b, c);
        }
        let place = sequence * self.scan.heads();
        for (head, sums) in heads.clone().zip(&self.room.heads) {
            for (input, sum) in [2, 5, 6].into_iter().zip(sums) {
                if let Some(to) = self.to.0[input] {
                    // SAFETY: this head of the sequence is of this task alone.
                    unsafe { *to.at(place + head) = *sum };
                }
            }
        }
        if let Some(to) = self.to.0[7] {
            // SAFETY: the states of these heads of the sequence are of this task alone.
            unsafe {
                let carry = self.room.carry.as_ptr();
                core::ptr::copy_nonoverlapping(carry, to.at(first_state), size);
            }
        }
    }
}

impl<T: Real> Backward<'_, T> {
    /// A chunk of a head: adds to the sums, writes its gradients, and carries the states' over the chunk.
    #[inline(always)]
    fn head<const FMA: bool>(&mut self, piece: &Piece<'_, T>) {
        let (q, p, n) = (piece.steps.count, self.scan.channels(), self.scan.states());
        let (wanted, room) = (self.wanted, &mut *self.room);
        let from = (piece.head - self.task.heads.start) * p * n;
        let carry = &mut room.carry[from..from + p * n];
        scaled(&mut room.driven, p, piece.x, &piece.steps.delta);
        scaled(&mut room.early, p, piece.grad, &piece.steps.from_start);
        let driven = matrix(&room.driven, q, p, p);
        let early = matrix(&room.early, q, p, p);
        piece.steps.decays::<FMA>(&mut room.decays);
        let to_end = room.decays[q - 1];

        let mut to_log = [T::ZERO; CHUNK];
        if wanted.driven() {
            room.to_driven[..q * p].fill(T::ZERO);
            if piece.followed {
                // SAFETY: the room holds the operands and the product.
                unsafe {
                    let to = room.to_driven.as_mut_ptr();
                    let carry = matrix(carry, p, n, n).transposed();
                    product(to, p, Start::Zero, piece.b, carry);
                }
                for (later, &decay) in room.to_driven.chunks_exact_mut(p).take(q).zip(&to_end) {
                    for v in later {
                        *v = decay * *v;
                    }
                }
            }
        }
        // Of the pairs of a row and the states behind the chunk.
        let mut ends = [T::ZERO; CHUNK];
        if wanted.steps && piece.followed {
            let later = room
                .to_driven
                .chunks_exact(p)
                .zip(room.driven.chunks_exact(p));
            for (end, (later, driven)) in ends[..q].iter_mut().zip(later) {
                *end = sum2(later, driven, |a, b| a * b);
            }
        }
        if wanted.driven() {
            for t in 0..q {
                for s in 0..CHUNK {
                    room.products[t][s] = room.decays[t][s] * room.scores[t][s];
                }
                room.products[t][t + 1..].fill(T::ZERO);
            }
            let products = square_of(&room.products, q).transposed();
            // SAFETY: as above.
            unsafe {
                let to = room.to_driven.as_mut_ptr();
                product(to, p, Start::Output, products, piece.grad);
            }
        }
        if wanted.scores() {
            // SAFETY: as above.
            unsafe {
                let to = room.pairs.as_mut_ptr().cast();
                product(to, CHUNK, Start::Zero, piece.grad, driven.transposed());
            }
            for t in 0..q {
                for s in 0..CHUNK {
                    room.pairs[t][s] = room.pairs[t][s] * room.decays[t][s];
                }
                room.pairs[t][t + 1..].fill(T::ZERO);
                for s in 0..CHUNK {
                    room.sums[t][s] += room.pairs[t][s];
                }
            }
        }
        // Of the pairs of the states before the chunk and a row.
        let mut starts = [T::ZERO; CHUNK];
        if let Some(before) = piece.before.filter(|_| wanted.c || wanted.steps) {
            // SAFETY: as above.
            unsafe {
                let to = room.through.as_mut_ptr();
                product(to, n, Start::Zero, early, matrix(before, p, n, n));
            }
            let lines = room
                .through
                .chunks_exact(n)
                .zip(room.to_c.chunks_exact_mut(n));
            for (row, (through, to_c)) in lines.take(q).enumerate() {
                // SAFETY: the columns are neighbours.
                starts[row] = sum2(unsafe { piece.c.line(row) }, through, |a, b| a * b);
                for (to, &v) in to_c.iter_mut().zip(through) {
                    *to += v;
                }
            }
        }
        if wanted.steps {
            let mut over = T::ZERO;
            if let Some(before) = piece.before.filter(|_| piece.followed) {
                over = piece.steps.over() * sum2(before, carry, |a, b| a * b);
            }
            to_log = between(&room.pairs, &room.scores, &starts, &ends, over, q);
        }
        if wanted.b && piece.followed {
            scaled(&mut room.late, p, driven, &to_end);
            // SAFETY: as above.
            unsafe {
                let late = matrix(&room.late, q, p, p);
                let to = room.to_b.as_mut_ptr();
                product(to, n, Start::Output, late, matrix(carry, p, n, n));
            }
        }
        if wanted.carried {
            let over = piece.steps.over();
            for v in carry.iter_mut() {
                *v = over * *v;
            }
            // SAFETY: as above.
            unsafe {
                let to = carry.as_mut_ptr();
                product(to, n, Start::Output, early.transposed(), piece.c);
            }
        }
        self.put_rows::<FMA>(piece, &to_log);
    }

    /// Writes the gradients to the inputs and steps of a chunk of a head, and adds to the sums over rows.
    #[inline(always)]
    fn put_rows<const FMA: bool>(&mut self, piece: &Piece<'_, T>, to_log: &Lanes<T>) {
        let (p, heads) = (self.scan.channels(), self.scan.heads());
        let (rate, skip) = (self.scan.rates[piece.head], self.scan.skip[piece.head]);
        let sums = &mut self.room.heads[piece.head - self.task.heads.start];
        let steps = &piece.steps;
        for (i, row) in piece.rows.clone().enumerate() {
            // SAFETY: the columns are neighbours.
            let (x, grad) = unsafe { (piece.x.line(i), piece.grad.line(i)) };
            let to_driven = &self.room.to_driven[i * p..(i + 1) * p];
            if let Some(to) = self.to.0[0] {
                // SAFETY: these columns of these rows are of this task alone.
                let to = unsafe {
                    core::slice::from_raw_parts_mut(to.at(row * heads * p + piece.head * p), p)
                };
                for ((to, &driven), &grad) in to.iter_mut().zip(to_driven).zip(grad) {
                    *to = skip.fma::<FMA>(grad, steps.delta[i] * driven);
                }
            }
            if self.wanted.steps {
                let along = sum2(x, to_driven, |a, b| a * b);
                let to_raw = rate.fma::<FMA>(to_log[i], along) * steps.slope[i];
                sums[0] = (to_log[i] * rate).fma::<FMA>(steps.delta[i], sums[0]);
                sums[2] += to_raw;
                if let Some(to) = self.to.0[1] {
                    // SAFETY: this head of these rows is of this task alone.
                    unsafe { *to.at(row * heads + piece.head) = to_raw };
                }
            }
            if self.to.0[5].is_some() {
                sums[1] += sum2(grad, x, |a, b| a * b);
            }
        }
    }

    /// Writes the gradients to `B` and `C` of a chunk, from all heads of the task.
    fn put_projections(&mut self, rows: &Range<usize>, b: Matrix<T>, c: Matrix<T>) {
        let (q, n) = (rows.len(), self.scan.states());
        let width = self.scan.b.cols;
        let sums = square_of(&self.room.sums, q);
        let parts = [
            (3, &mut self.room.to_b, sums.transposed(), c),
            (4, &mut self.room.to_c, sums, b),
        ];
        for (input, buffer, sums, other) in parts {
            let Some(to) = self.to.0[input] else {
                continue;
            };
            // SAFETY: the room holds the product.
            unsafe { product(buffer.as_mut_ptr(), n, Start::Output, sums, other) };
            for (row, line) in rows.clone().zip(buffer.chunks_exact(n)) {
                let line_of = self.task.part * self.scan.x.rows + row;
                // SAFETY: every task of a group has its own sums, of columns of this group alone.
                unsafe {
                    let to = to.at(line_of * width + self.task.group * n);
                    core::ptr::copy_nonoverlapping(line.as_ptr(), to, n);
                }
            }
        }
    }
}

/// What the logarithms of the decays of single rows get: row `r` lies between all pairs `s < r ≤ t`, where `starts` are of the
/// pairs with the states before the chunk, `ends` of those with the states behind it, and `over` is of these two.
#[inline(always)]
fn between<T: Real>(
    pairs: &Square<T>,
    scores: &Square<T>,
    starts: &Lanes<T>,
    ends: &Lanes<T>,
    over: T,
    q: usize,
) -> Lanes<T> {
    let mut to_log = [T::ZERO; CHUNK];
    let (mut open, mut through) = (*ends, over);
    for r in (0..q).rev() {
        for s in 0..CHUNK {
            let pair = pairs[r][s] * scores[r][s];
            open[s] += pair;
        }
        // Rows from this one on come before none of the rows that are left.
        open[r..].fill(T::ZERO);
        through += starts[r];
        let mut sums = open;
        let mut width = CHUNK / 2;
        while width > 0 {
            for i in 0..width {
                sums[i] += sums[i + width];
            }
            width /= 2;
        }
        to_log[r] = sums[0] + through;
    }
    to_log
}

/// Gradients to the inputs, those that are wanted, from the gradients to the output and, if there is one, to the last states.
pub fn backward<T: Real>(
    inputs: [&FlexTensor; 8],
    saved: &FlexTensor,
    grad: &FlexTensor,
    grad_last: Option<&FlexTensor>,
    plan: &DualPlan,
    wanted: [bool; 8],
) -> [Option<FlexTensor>; 8] {
    let held = Held::new::<T>(inputs);
    let rates = held.rates::<T>();
    let scan = held.scan(&rates, plan);
    let (parts, sequences, heads) = (scan.parts(), scan.sequences(), scan.heads());
    let (saved, grad, grad_last) = (
        contiguous(saved),
        contiguous(grad),
        grad_last.map(contiguous),
    );
    let shapes = inputs.map(|x| x.layout().shape().clone());
    let mut sinks: [Option<Vec<T>>; 8] = core::array::from_fn(|input| {
        let numbers = match input {
            3 | 4 => parts * scan.b.rows * scan.b.cols,
            2 | 5 | 6 => sequences * heads,
            _ => shapes[input].num_elements(),
        };
        (wanted[input] && shapes[input].num_elements() > 0).then(|| vec![T::ZERO; numbers])
    });
    let to = Sinks(sinks.each_mut().map(|sink| {
        let numbers = sink.as_mut();
        numbers.map(|s| Target(s.as_mut_ptr()))
    }));
    let chunks = scan.chunks();
    (0..scan.tasks()).into_par_iter().for_each_init(
        || Room::new(&scan),
        |room, index| {
            let task = scan.task(index);
            dispatch(Backward {
                scan,
                chunk: chunks[task.sequence],
                task,
                saved: elements::<T>(&saved),
                grad: Matrix::of(&grad),
                grad_last: grad_last.as_ref().map_or(&[], |g| elements::<T>(g)),
                wanted: Wanted::new(wanted),
                to: &to,
                room,
            });
        },
    );
    let mut place = 0;
    sinks.map(|sink| {
        let shape: Shape = shapes[place].clone();
        place += 1;
        let numbers = shape.num_elements();
        sink.map(|data| match data.len() == numbers {
            true => wrap(data, shape),
            false => wrap(summed(&data, numbers), shape),
        })
    })
}
