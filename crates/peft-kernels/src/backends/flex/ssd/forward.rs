use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    CHUNK, Held, Scan, Square, Task, matrix, product, scaled, square, square_of, states_shape,
};
use crate::backends::dual::DualPlan;
use crate::backends::flex::lanes::sum2;
use crate::backends::flex::matmul::Start;
use crate::backends::flex::real::Real;
use crate::backends::flex::simd::{Kernel, dispatch};
use crate::backends::flex::view::{Target, wrap};

/// What a task works in.
struct Room<T> {
    /// `C_t · B_s`.
    scores: Square<T>,
    /// Decays between rows, and their products with the scores.
    products: Square<T>,
    /// `δ x`, `[q, P]`.
    driven: Vec<T>,
    /// `δ x` as it is left at the end of the chunk, `[q, P]`.
    late: Vec<T>,
    /// `C` of the states before the chunk, `[q, N]`.
    early: Vec<T>,
    /// Of every head of the task, `[heads, P, N]`.
    states: Vec<T>,
}

impl<T: Real> Room<T> {
    fn new(scan: &Scan<'_, T>) -> Self {
        let (p, n) = (scan.channels(), scan.states());
        let zeros = |count| vec![T::ZERO; count];
        Self {
            scores: square(),
            products: square(),
            driven: zeros(CHUNK * p),
            late: zeros(CHUNK * p),
            early: zeros(CHUNK * n),
            states: zeros(scan.share() * p * n),
        }
    }
}

/// Where a task writes.
#[derive(Clone, Copy)]
struct Sinks<T> {
    y: Target<T>,
    last: Target<T>,
    saved: Option<Target<T>>,
}

struct Forward<'a, T> {
    scan: Scan<'a, T>,
    task: Task,
    /// Of all chunks, the first one of the sequence.
    chunk: usize,
    to: Sinks<T>,
    room: &'a mut Room<T>,
}

impl<T: Real> Kernel for Forward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (scan, task, room) = (&self.scan, &self.task, self.room);
        let (heads, p, n) = (scan.heads(), scan.channels(), scan.states());
        let first_state = (task.sequence * heads + task.heads.start) * p * n;
        let size = task.heads.len() * p * n;
        match scan.initial {
            [] => room.states[..size].fill(T::ZERO),
            all => room.states[..size].copy_from_slice(&all[first_state..first_state + size]),
        }
        let chunks = (scan.starts[task.sequence + 1] - scan.starts[task.sequence]).div_ceil(CHUNK);
        for index in 0..chunks {
            let rows = scan.rows(task.sequence, index);
            if let Some(saved) = self.to.saved {
                let at = ((self.chunk + index) * heads + task.heads.start) * p * n;
                // SAFETY: these heads of all chunks of the sequence are of this task alone.
                unsafe {
                    core::ptr::copy_nonoverlapping(room.states.as_ptr(), saved.at(at), size);
                }
            }
            if rows.len() == 1 {
                for head in task.heads.clone() {
                    let from = (head - task.heads.start) * p * n;
                    let state = &mut room.states[from..from + p * n];
                    one_row::<T, FMA>(scan, task, rows.start, head, state, self.to.y);
                }
                continue;
            }
            let q = rows.len();
            let [b, c] = scan.projections(rows.clone(), task.group);
            // SAFETY: the room holds a square.
            unsafe {
                let to = room.scores.as_mut_ptr().cast();
                product(to, CHUNK, Start::Zero, c, b.transposed());
            }
            for head in task.heads.clone() {
                let x = scan.inputs(rows.clone(), head);
                let steps = scan.steps::<FMA>(rows.clone(), head);
                steps.decays::<FMA>(&mut room.products);
                scaled(&mut room.driven, p, x, &steps.delta);
                let to_end = room.products[q - 1];
                scaled(&mut room.late, p, matrix(&room.driven, q, p, p), &to_end);
                for (products, scores) in room.products[..q].iter_mut().zip(&room.scores) {
                    for (product, &score) in products.iter_mut().zip(scores) {
                        *product = *product * score;
                    }
                }
                zero_above(&mut room.products, q);
                let width = scan.x.cols;
                let skip = scan.skip[head];
                for (i, row) in rows.clone().enumerate() {
                    // SAFETY: these columns of these rows are of this task alone.
                    let y = unsafe {
                        core::slice::from_raw_parts_mut(self.to.y.at(row * width + head * p), p)
                    };
                    // SAFETY: the columns are neighbours.
                    let x = unsafe { x.line(i) };
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = skip * x;
                    }
                }
                let from = (head - task.heads.start) * p * n;
                let state = &mut room.states[from..from + p * n];
                let fresh = index == 0 && scan.initial.is_empty();
                // SAFETY: as above; the room holds the operands.
                unsafe {
                    let y = self.to.y.at(rows.start * width + head * p);
                    let driven = matrix(&room.driven, q, p, p);
                    let products = square_of(&room.products, q);
                    product(y, width, Start::Output, products, driven);
                    if !fresh {
                        scaled(&mut room.early, n, c, &steps.from_start);
                        let early = matrix(&room.early, q, n, n);
                        let state = matrix(state, p, n, n).transposed();
                        product(y, width, Start::Output, early, state);
                    }
                    let over = steps.over();
                    for h in state.iter_mut() {
                        *h = over * *h;
                    }
                    let late = matrix(&room.late, q, p, p).transposed();
                    product(state.as_mut_ptr(), n, Start::Output, late, b);
                }
            }
        }
        // SAFETY: the states of these heads of the sequence are of this task alone.
        unsafe {
            let last = self.to.last.at(first_state);
            core::ptr::copy_nonoverlapping(room.states.as_ptr(), last, size);
        }
    }
}

/// Zeros where the second row comes after the first, whatever its numbers are.
#[inline(always)]
fn zero_above<T: Real>(square: &mut Square<T>, q: usize) {
    for (t, row) in square[..q].iter_mut().enumerate() {
        row[t + 1..].fill(T::ZERO);
    }
}

/// A chunk of one row, as in generation: without products of matrices.
#[inline(always)]
fn one_row<T: Real, const FMA: bool>(
    scan: &Scan<'_, T>,
    task: &Task,
    row: usize,
    head: usize,
    state: &mut [T],
    y: Target<T>,
) {
    let (p, n) = (scan.channels(), scan.states());
    let (delta, _) = scan.step::<FMA>(scan.raw(row, head));
    let decay = (delta * scan.rates[head]).exponential::<FMA>();
    let [b, c] = scan.projections(row..row + 1, task.group);
    // SAFETY: the columns are neighbours; these of the output are of this task alone.
    let (b, c, x, y) = unsafe {
        let to = y.at(row * scan.x.cols + head * p);
        let x = scan.inputs(row..row + 1, head).line(0);
        (
            b.line(0),
            c.line(0),
            x,
            core::slice::from_raw_parts_mut(to, p),
        )
    };
    for ((y, &x), state) in y.iter_mut().zip(x).zip(state.chunks_exact_mut(n)) {
        let drive = delta * x;
        for (h, &b) in state.iter_mut().zip(b) {
            *h = decay.fma::<FMA>(*h, drive * b);
        }
        *y = scan.skip[head].fma::<FMA>(x, sum2(state, c, |h, c| h * c));
    }
}

/// What the scan gives.
pub struct Scanned {
    /// `[T, H·P]`.
    pub y: FlexTensor,
    /// The states behind the last row of each sequence, `[sequences, H, P, N]`.
    pub last: FlexTensor,
    /// The states before every chunk, `[chunks, H, P, N]`, if they were asked for.
    pub saved: Option<FlexTensor>,
}

/// See [`ssd`](crate::ssd).
pub fn forward<T: Real>(inputs: [&FlexTensor; 8], plan: &DualPlan, saving: bool) -> Scanned {
    let held = Held::new::<T>(inputs);
    let rates = held.rates::<T>();
    let scan = held.scan(&rates, plan);
    let (rows, width, sequences) = (scan.x.rows, scan.x.cols, scan.sequences());
    let size = width * scan.states();
    let chunks = scan.chunks();
    let count = chunks[sequences];
    let mut y = Vec::<T>::with_capacity(rows * width);
    let mut last = Vec::<T>::with_capacity(sequences * size);
    let mut saved = saving.then(|| Vec::<T>::with_capacity(count * size));
    let to = Sinks {
        y: Target(y.as_mut_ptr()),
        last: Target(last.as_mut_ptr()),
        saved: saved.as_mut().map(|s| Target(s.as_mut_ptr())),
    };
    (0..scan.tasks()).into_par_iter().for_each_init(
        || Room::new(&scan),
        |room, index| {
            let task = scan.task(index);
            dispatch(Forward {
                scan,
                chunk: chunks[task.sequence],
                task,
                to,
                room,
            });
        },
    );
    // SAFETY: the tasks cover all heads of all sequences, and write every row and chunk.
    unsafe {
        y.set_len(rows * width);
        last.set_len(sequences * size);
        if let Some(saved) = &mut saved {
            saved.set_len(count * size);
        }
    }
    Scanned {
        y: wrap(y, Shape::new([rows, width])),
        last: wrap(last, states_shape(&scan, sequences)),
        saved: saved.map(|saved| wrap(saved, states_shape(&scan, count))),
    }
}
