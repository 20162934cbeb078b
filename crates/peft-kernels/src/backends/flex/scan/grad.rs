//! The selective scan, backward: chunk by chunk from the last, the states of a chunk computed anew from those before it.
//!
//! With `a_t = exp(δ_t A)`, `m_t = a_t ∘ h_{t−1}`, `g̃_t = g_t silu(z_t)` and `λ_t = a_{t+1} ∘ λ_{t+1} + g̃_t C_t`, where
//! the gradient of the last state stands for the first summand of the last row: `dC_t = Σ_d g̃_t h_t`,
//! `dB_t = Σ_d δ_t u_t λ_t`, `s_t = Σ_n λ_t B_t`, `du_t = g̃_t D + δ_t s_t`, `dδ_t = u_t s_t + Σ_n λ_t A m_t`,
//! `dA = Σ_t δ_t λ_t m_t`, `dA_log = dA ∘ A`, `dh_0 = a_1 ∘ λ_1`.

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::super::gate::{Gate, Logistic};
use super::super::parallel::over_rows;
use super::super::real::Real;
use super::super::simd::{Kernel, dispatch};
use super::super::view::{Target, contiguous, elements, wrap};
use super::chunk::{GROUP, Group, HALF, Mixing, Part, Rows};
use super::totals::totals;
use super::{CHUNK, Held, LANES, Scan, lanes, put};
use crate::backends::selective::ScanPlan;

/// Where the gradients go, those that are wanted, in the order of the inputs. Those of `B` and `C` are sums over channels:
/// every task has its own, `[tasks, T, N]`.
struct Sinks<T>([Option<Target<T>>; 9]);

struct Backward<'a, T> {
    scan: Scan<'a, T>,
    /// States before every chunk, `[chunks, N, D]`.
    saved: &'a [T],
    /// First chunk of each sequence.
    chunks: &'a [usize],
    grad: &'a [T],
    /// To the last states; nothing for zeros.
    grad_last: &'a [T],
    task: usize,
    to: &'a Sinks<T>,
}

impl<T: Real> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (scan, from) = (&self.scan, self.task * LANES);
        let end = scan.channels().min(from + LANES);
        let mut groups: Vec<(Group<T>, Rows<T>)> = (from..end)
            .step_by(GROUP)
            .map(|from| (Group::new(scan, from), Rows::new()))
            .collect();
        let mut mixing = Mixing::new(scan.states());
        for (sequence, span) in scan.starts.windows(2).enumerate() {
            for (group, _) in &mut groups {
                scan.load(self.grad_last, sequence, group.from, &mut group.carry);
            }
            for index in (0..(span[1] - span[0]).div_ceil(CHUNK)).rev() {
                let first = span[0] + index * CHUNK;
                let count = CHUNK.min(span[1] - first);
                self.load(first, count, &mut mixing);
                // All channels of a row together, for rows are far from each other in memory.
                for at in 0..count {
                    for (group, rows) in &mut groups {
                        self.begin::<FMA>(first + at, at, group, rows);
                    }
                }
                for (group, rows) in &mut groups {
                    self.states::<FMA>(
                        self.chunks[sequence] + index,
                        count,
                        group,
                        rows,
                        &mut mixing,
                    );
                }
                for at in 0..count {
                    for (group, rows) in &mut groups {
                        self.end::<FMA>(first + at, at, group, rows);
                    }
                }
                self.store(first, count, &mixing);
            }
            if let Some(to) = self.to.0[8] {
                for (group, _) in &groups {
                    // SAFETY: these channels of all sequences are of this task alone.
                    unsafe { scan.store(to, sequence, group.from, &group.carry) };
                }
            }
        }
        for (group, _) in &mut groups {
            self.finish(group);
        }
    }
}

impl<T: Real> Backward<'_, T> {
    /// Reads `B` and `C`, and sets their sums to zero.
    #[inline(always)]
    fn load(&self, first: usize, count: usize, mixing: &mut Mixing<T>) {
        for at in 0..count {
            // SAFETY: the matrices are made with lines, and have that row.
            let (b, c) = unsafe { (self.scan.b.line(first + at), self.scan.c.line(first + at)) };
            for (i, (&b, &c)) in b.iter().zip(c).enumerate() {
                (mixing.b[i][at], mixing.c[i][at]) = (b, c);
            }
        }
        mixing.to_b.fill([T::ZERO; CHUNK]);
        mixing.to_c.fill([T::ZERO; CHUNK]);
    }

    /// What all states need of a row.
    #[inline(always)]
    fn begin<const FMA: bool>(&self, row: usize, at: usize, group: &Group<T>, rows: &mut Rows<T>) {
        let (scan, from) = (&self.scan, group.from);
        let (d, zero) = (scan.channels(), [T::ZERO; GROUP]);
        let x = scan.row::<FMA, GROUP>(row, from, &group.bias);
        let mut grad: Part<T> = lanes(&self.grad[row * d..(row + 1) * d], from);
        if let Some(gate) = &scan.gate {
            // SAFETY: the matrix is made with lines, and has that row.
            let z: Part<T> = lanes(unsafe { gate.line(row) }, from);
            for l in 0..GROUP {
                let (s, rest) = Logistic::gate::<T, FMA>(z[l]);
                rows.gates[at][l] = grad[l] * (s + rest);
                grad[l] = grad[l] * z[l] * s;
            }
        }
        let line = &mut rows.lines[at];
        for l in 0..GROUP {
            line.y[l] = group.skip[l] * x.u[l];
        }
        (line.delta, line.drive, line.grad) = (x.delta, x.drive, grad);
        (line.along, line.to_delta) = (zero, zero);
        (rows.inputs[at], rows.slopes[at]) = (x.u, x.slope);
    }

    /// One state after the other: forward through the chunk from what was saved, then back.
    #[inline(always)]
    fn states<const FMA: bool>(
        &self,
        chunk: usize,
        count: usize,
        group: &mut Group<T>,
        rows: &mut Rows<T>,
        mixing: &mut Mixing<T>,
    ) {
        let (d, n) = (self.scan.channels(), self.scan.states());
        for i in 0..n {
            let saved = &self.saved[(chunk * n + i) * d..(chunk * n + i + 1) * d];
            let mut h: Part<T> = lanes(saved, group.from);
            let (rate, b, c) = (group.rates[i], &mixing.b[i], &mixing.c[i]);
            for (line, b) in rows.lines[..count].iter_mut().zip(b) {
                for l in 0..GROUP {
                    let decay = (line.delta[l] * rate[l]).exponential::<FMA>();
                    line.decay[l] = decay;
                    line.kept[l] = decay * h[l];
                    h[l] = line.drive[l].fma::<FMA>(*b, line.kept[l]);
                }
            }
            let (mut carry, mut sum) = (group.carry[i], group.to_rates[i]);
            for at in (0..count).rev() {
                let (line, b, c) = (&mut rows.lines[at], b[at], c[at]);
                let (mut for_b, mut for_c) = ([T::ZERO; GROUP], [T::ZERO; GROUP]);
                for l in 0..GROUP {
                    let h = line.drive[l].fma::<FMA>(b, line.kept[l]);
                    let lambda = line.grad[l].fma::<FMA>(c, carry[l]);
                    line.y[l] = c.fma::<FMA>(h, line.y[l]);
                    for_c[l] = line.grad[l] * h;
                    for_b[l] = line.drive[l] * lambda;
                    line.along[l] = b.fma::<FMA>(lambda, line.along[l]);
                    let slope = lambda * line.kept[l];
                    line.to_delta[l] = rate[l].fma::<FMA>(slope, line.to_delta[l]);
                    sum[l] = line.delta[l].fma::<FMA>(slope, sum[l]);
                    carry[l] = line.decay[l] * lambda;
                }
                for l in 0..HALF {
                    rows.for_b[at / HALF][at % HALF][l] = for_b[l] + for_b[l + HALF];
                    rows.for_c[at / HALF][at % HALF][l] = for_c[l] + for_c[l + HALF];
                }
            }
            // Of a short chunk the rows behind its last are old ones, whose sums nobody reads.
            for (parts, sums) in [
                (&rows.for_b, &mut mixing.to_b[i]),
                (&rows.for_c, &mut mixing.to_c[i]),
            ] {
                for (parts, sums) in parts.iter().zip(sums.chunks_exact_mut(HALF)) {
                    for (sum, total) in sums.iter_mut().zip(totals(parts)) {
                        *sum += total;
                    }
                }
            }
            (group.carry[i], group.to_rates[i]) = (carry, sum);
        }
    }

    /// Writes the gradients of a row, and adds to what is summed over them.
    #[inline(always)]
    fn end<const FMA: bool>(&self, row: usize, at: usize, group: &mut Group<T>, rows: &Rows<T>) {
        let line = &rows.lines[at];
        let (u, slope, grad) = (&rows.inputs[at], &rows.slopes[at], &line.grad);
        let zero = [T::ZERO; GROUP];
        let (mut to_u, mut to_raw, mut to_gate) = (zero, zero, zero);
        for l in 0..GROUP {
            to_u[l] = grad[l].fma::<FMA>(group.skip[l], line.delta[l] * line.along[l]);
            to_raw[l] = u[l].fma::<FMA>(line.along[l], line.to_delta[l]) * slope[l];
            to_gate[l] = rows.gates[at][l] * line.y[l];
            group.to_skip[l] = grad[l].fma::<FMA>(u[l], group.to_skip[l]);
            group.to_bias[l] += to_raw[l];
        }
        let place = row * self.scan.channels() + group.from;
        for (input, lanes) in [(0, &to_u), (1, &to_raw), (6, &to_gate)] {
            if let Some(to) = self.to.0[input] {
                // SAFETY: these channels of all rows are of this task alone.
                unsafe { put(to, place, lanes, group.width) };
            }
        }
    }

    /// Writes the sums over the channels of the task.
    #[inline(always)]
    fn store(&self, first: usize, count: usize, mixing: &Mixing<T>) {
        let n = self.scan.states();
        for (input, sums) in [(3, &mixing.to_b), (4, &mixing.to_c)] {
            let Some(to) = self.to.0[input] else {
                continue;
            };
            for at in 0..count {
                let place = (self.task * self.scan.u.rows + first + at) * n;
                for (i, sums) in sums.iter().enumerate() {
                    // SAFETY: every task has its own sums of every row.
                    unsafe { *to.at(place + i) = sums[at] };
                }
            }
        }
    }

    /// Writes what was summed over all rows.
    fn finish(&self, group: &mut Group<T>) {
        for (sum, rates) in group.to_rates.iter_mut().zip(&group.rates) {
            for l in 0..GROUP {
                sum[l] = sum[l] * rates[l];
            }
        }
        // SAFETY: these channels are of this task alone; the rates are states of one sequence.
        unsafe {
            if let Some(to) = self.to.0[2] {
                self.scan.store(to, 0, group.from, &group.to_rates);
            }
            if let Some(to) = self.to.0[5] {
                put(to, group.from, &group.to_skip, group.width);
            }
            if let Some(to) = self.to.0[7] {
                put(to, group.from, &group.to_bias, group.width);
            }
        }
    }
}

/// Gradients to the inputs, those that are wanted, from the gradients to `y` and, if there is one, to the last states.
pub fn selective_scan_grads<T: Real>(
    inputs: [&FlexTensor; 9],
    saved: &FlexTensor,
    grad: &FlexTensor,
    grad_last: Option<&FlexTensor>,
    plan: &ScanPlan,
    wanted: [bool; 9],
) -> [Option<FlexTensor>; 9] {
    let held = Held::new::<T>(inputs);
    let rates = held.rates::<T>();
    let scan = held.scan(&rates, plan);
    let (rows, n, tasks) = (scan.u.rows, scan.states(), scan.tasks());
    let (saved, grad, grad_last) = (
        contiguous(saved),
        contiguous(grad),
        grad_last.map(contiguous),
    );
    let shapes = inputs.map(|x| x.layout().shape().clone());
    let numbers: [usize; 9] = core::array::from_fn(|input| match input {
        3 | 4 => tasks * rows * n,
        _ => shapes[input].num_elements(),
    });
    let mut sinks: [Option<Vec<T>>; 9] = core::array::from_fn(|input| {
        (wanted[input] && numbers[input] > 0).then(|| Vec::with_capacity(numbers[input]))
    });
    let to = Sinks(
        sinks
            .each_mut()
            .map(|sink| sink.as_mut().map(|s| Target(s.as_mut_ptr()))),
    );
    let chunks = scan.chunks();
    (0..tasks).into_par_iter().for_each(|task| {
        dispatch(Backward {
            scan,
            saved: elements::<T>(&saved),
            chunks: &chunks,
            grad: elements::<T>(&grad),
            grad_last: grad_last.as_ref().map_or(&[], |g| elements::<T>(g)),
            task,
            to: &to,
        });
    });
    let mut place = 0;
    sinks.map(|sink| {
        let (input, shape) = (place, shapes[place].clone());
        place += 1;
        sink.map(|mut data| {
            // SAFETY: the tasks cover all channels, and write every row, state and sequence.
            unsafe { data.set_len(numbers[input]) };
            match input {
                3 | 4 => wrap(summed(&data, rows * n), Shape::new([rows, n])),
                _ => wrap(data, shape),
            }
        })
    })
}

/// Sums over the tasks, in their order.
pub fn summed<T: Real>(parts: &[T], len: usize) -> Vec<T> {
    let mut all = vec![T::ZERO; len];
    over_rows(&mut all, 1, |at, piece| {
        for part in parts.chunks_exact(len) {
            let part = &part[at..at + piece.len()];
            piece.iter_mut().zip(part).for_each(|(t, &v)| *t += v);
        }
    });
    all
}
