//! The selective scan, backward: chunk by chunk from the last, the states of a chunk computed anew from those before it.
//!
//! With `a_t = exp(δ_t A)`, `m_t = a_t ∘ h_{t−1}`, `g̃_t = g_t silu(z_t)` and `λ_t = a_{t+1} ∘ λ_{t+1} + g̃_t C_t`, where
//! the gradient of the last state stands for the first summand of the last row: `dC_t = Σ_d g̃_t h_t`,
//! `dB_t = Σ_d δ_t u_t λ_t`, `s_t = Σ_n λ_t B_t`, `du_t = g̃_t D + δ_t s_t`, `dδ_t = u_t s_t + Σ_n λ_t A m_t`,
//! `dA = Σ_t δ_t λ_t m_t`, `dA_log = dA ∘ A`, `dh_0 = a_1 ∘ λ_1`.

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::gate::{Gate, Logistic};
use super::parallel::over_rows;
use super::real::Real;
use super::scan::{CHUNK, Held, LANES, Lanes, Row, Scan, lanes, put};
use super::simd::{Kernel, dispatch};
use super::view::{Target, contiguous, elements, wrap};
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

/// What a task sums up over the rows of all sequences.
struct Sums<T> {
    rates: Vec<Lanes<T>>,
    skip: Lanes<T>,
    bias: Lanes<T>,
}

/// The rows of a chunk, computed anew.
struct Chunk<T> {
    rows: Vec<Row<T>>,
    /// `a_t`, `[rows, N]`.
    decays: Vec<Lanes<T>>,
    /// `m_t`, `[rows, N]`.
    kept: Vec<Lanes<T>>,
}

#[inline(always)]
fn total<T: Real>(x: &Lanes<T>) -> T {
    let mut x = *x;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            x[i] += x[i + width];
        }
        width /= 2;
    }
    x[0]
}

impl<T: Real> Kernel for Backward<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (scan, from) = (self.scan, self.task * LANES);
        let (d, width) = (scan.channels(), scan.width(from));
        let (rates, bias, skip) = (
            scan.rates_of(from),
            scan.bias_of(from),
            lanes(scan.skip, from),
        );
        let (n, zero) = (rates.len(), [T::ZERO; LANES]);
        let mut sums = Sums {
            rates: vec![zero; n],
            skip: zero,
            bias: zero,
        };
        let mut states = vec![zero; n];
        let mut carry = vec![zero; n];
        let mut chunk = Chunk {
            rows: Vec::with_capacity(CHUNK),
            decays: vec![zero; CHUNK * n],
            kept: vec![zero; CHUNK * n],
        };
        for (sequence, span) in scan.starts.windows(2).enumerate() {
            scan.load(self.grad_last, sequence, from, &mut carry);
            for index in (0..(span[1] - span[0]).div_ceil(CHUNK)).rev() {
                let first = span[0] + index * CHUNK;
                let rows = first..span[1].min(first + CHUNK);
                let before = (self.chunks[sequence] + index) * n * d;
                for (i, state) in states.iter_mut().enumerate() {
                    *state = lanes(&self.saved[before + i * d..before + (i + 1) * d], from);
                }
                chunk.rows.clear();
                for (at, row) in rows.clone().enumerate() {
                    let x = scan.row::<FMA>(row, from, &bias);
                    // SAFETY: the matrix is made with lines, and has that row.
                    let b = unsafe { scan.b.line(row) };
                    let decays = &mut chunk.decays[at * n..(at + 1) * n];
                    let kept = &mut chunk.kept[at * n..(at + 1) * n];
                    for i in 0..n {
                        let (decay, kept) = (&mut decays[i], &mut kept[i]);
                        let (h, rate, b) = (&mut states[i], &rates[i], b[i]);
                        for l in 0..LANES {
                            decay[l] = (x.delta[l] * rate[l]).exponential::<FMA>();
                            kept[l] = decay[l] * h[l];
                            h[l] = x.drive[l].fma::<FMA>(b, kept[l]);
                        }
                    }
                    chunk.rows.push(x);
                }
                for (at, row) in rows.enumerate().rev() {
                    self.step::<FMA>(row, at, &chunk, &rates, &skip, &mut carry, &mut sums);
                }
            }
            if let Some(to) = self.to.0[8] {
                // SAFETY: these channels of all sequences are of this task alone.
                unsafe { scan.store(to, sequence, from, &carry) };
            }
        }
        for (i, sum) in sums.rates.iter_mut().enumerate() {
            for l in 0..LANES {
                sum[l] = sum[l] * rates[i][l];
            }
        }
        // SAFETY: these channels are of this task alone; the rates are states of one sequence.
        unsafe {
            if let Some(to) = self.to.0[2] {
                scan.store(to, 0, from, &sums.rates);
            }
            if let Some(to) = self.to.0[5] {
                put(to, from, &sums.skip, width);
            }
            if let Some(to) = self.to.0[7] {
                put(to, from, &sums.bias, width);
            }
        }
    }
}

impl<T: Real> Backward<'_, T> {
    /// A row: adds to the sums, writes its gradients, and leaves `a_t ∘ λ_t` as the carry.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a task that change at different times"
    )]
    fn step<const FMA: bool>(
        &self,
        row: usize,
        at: usize,
        chunk: &Chunk<T>,
        rates: &[Lanes<T>],
        skip: &Lanes<T>,
        carry: &mut [Lanes<T>],
        sums: &mut Sums<T>,
    ) {
        let (scan, from) = (&self.scan, self.task * LANES);
        let (d, width, n) = (scan.channels(), scan.width(from), rates.len());
        let x = &chunk.rows[at];
        // SAFETY: the matrices are made with lines, and have that row.
        let (b, c) = unsafe { (scan.b.line(row), scan.c.line(row)) };
        let upstream = lanes(&self.grad[row * d..(row + 1) * d], from);
        let zero = [T::ZERO; LANES];
        let (mut grad, mut y) = (upstream, zero);
        // SAFETY: as above.
        let z = scan.gate.map(|gate| lanes(unsafe { gate.line(row) }, from));
        if let Some(z) = &z {
            for l in 0..LANES {
                grad[l] = upstream[l] * z[l] * Logistic::gate::<T, FMA>(z[l]).0;
            }
        }
        for l in 0..LANES {
            y[l] = skip[l] * x.u[l];
        }
        let (mut along, mut to_delta) = (zero, zero);
        let (to_b, to_c) = (self.to.0[3], self.to.0[4]);
        for i in 0..n {
            let (decay, kept) = (&chunk.decays[at * n + i], &chunk.kept[at * n + i]);
            let (carry, rate, sum) = (&mut carry[i], &rates[i], &mut sums.rates[i]);
            let (mut for_b, mut for_c) = (zero, zero);
            for l in 0..LANES {
                let h = x.drive[l].fma::<FMA>(b[i], kept[l]);
                let lambda = grad[l].fma::<FMA>(c[i], carry[l]);
                y[l] = c[i].fma::<FMA>(h, y[l]);
                for_c[l] = grad[l] * h;
                for_b[l] = x.drive[l] * lambda;
                along[l] = b[i].fma::<FMA>(lambda, along[l]);
                let slope = lambda * kept[l];
                to_delta[l] = rate[l].fma::<FMA>(slope, to_delta[l]);
                sum[l] = x.delta[l].fma::<FMA>(slope, sum[l]);
                carry[l] = decay[l] * lambda;
            }
            let place = (self.task * scan.u.rows + row) * n + i;
            // SAFETY: every task has its own sums of every row.
            unsafe {
                if let Some(to) = to_b {
                    *to.at(place) = total(&for_b);
                }
                if let Some(to) = to_c {
                    *to.at(place) = total(&for_c);
                }
            }
        }
        let (mut to_u, mut to_raw, mut to_gate) = (zero, zero, zero);
        for l in 0..LANES {
            to_u[l] = grad[l].fma::<FMA>(skip[l], x.delta[l] * along[l]);
            to_raw[l] = x.u[l].fma::<FMA>(along[l], to_delta[l]) * x.slope[l];
            sums.skip[l] = grad[l].fma::<FMA>(x.u[l], sums.skip[l]);
            sums.bias[l] += to_raw[l];
        }
        if let Some(z) = &z {
            for l in 0..LANES {
                let (s, rest) = Logistic::gate::<T, FMA>(z[l]);
                to_gate[l] = upstream[l] * y[l] * (s + rest);
            }
        }
        for (input, lanes) in [(0, &to_u), (1, &to_raw), (6, &to_gate)] {
            if let Some(to) = self.to.0[input] {
                // SAFETY: these channels of all rows are of this task alone.
                unsafe { put(to, row * d + from, lanes, width) };
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
    let mut sinks: [Option<Vec<T>>; 9] = core::array::from_fn(|input| {
        let numbers = match input {
            3 | 4 => tasks * rows * n,
            _ => shapes[input].num_elements(),
        };
        (wanted[input] && numbers > 0).then(|| vec![T::ZERO; numbers])
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
        sink.map(|data| match input {
            3 | 4 => wrap(summed(&data, rows * n), Shape::new([rows, n])),
            _ => wrap(data, shape),
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
