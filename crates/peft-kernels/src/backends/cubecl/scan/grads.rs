use burn::tensor::Shape;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::super::kernels::{MOST_CUBES, empty, widest};
use super::kernels::{optional, sigmoid, softplus};
use super::{SCAN_CHUNK, Sizes};
use crate::backends::selective::ScanPlan;

/// Units of a cube, each with a channel.
const WIDTH: usize = 32;
/// From the numbers of a state in shared memory to those of the next: units that add up states read from different banks.
const STRIDE: usize = WIDTH + 1;
/// Units of a cube of [`summed`].
const SUMS: u32 = 256;

/// What there need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Has {
    gate: bool,
    bias: bool,
    /// Whether the last states have a gradient.
    last: bool,
}

/// A unit has a channel, and goes back through every so manieth sequence chunk by chunk, the states of a chunk computed anew from
/// those before it. The equations are those of `flex/scan/grad.rs`.
///
/// Gradients of `B` and `C` are sums over channels, of which every cube has its own, `[cubes, rows, states]`; what belongs to
/// channels is summed over rows, and every sequence has its own sum.
#[cube(launch_unchecked, address_type = "dynamic")]
fn backward_kernel(
    u: &[f32],
    delta: &[f32],
    a_log: &[f32],
    b: &[f32],
    c: &[f32],
    skip: &[f32],
    gate: &[f32],
    bias: &[f32],
    saved: &[f32],
    grad: &[f32],
    grad_last: &[f32],
    table: &[i32],
    to_u: &mut [f32],
    to_delta: &mut [f32],
    to_gate: &mut [f32],
    to_b: &mut [f32],
    to_c: &mut [f32],
    to_rates: &mut [f32],
    to_skip: &mut [f32],
    to_bias: &mut [f32],
    to_initial: &mut [f32],
    rows: usize,
    channels: usize,
    sequences: usize,
    #[comptime] states: usize,
    #[comptime] has: Has,
) {
    let mut of_cube = Shared::<[f32]>::new_slice(2 * states * STRIDE);
    let unit = UNIT_POS_X as usize;
    let cube = CUBE_POS_X as usize;
    let mine = cube * WIDTH + unit;
    // Every unit takes part in the sums; one without a channel reads the last, and counts for nothing.
    let real = mine < channels;
    let channel = mine.min(channels - 1);
    let counted = select(real, 1.0f32, 0.0f32);

    let mut rates = Array::<f32>::new(states);
    let mut state = Array::<f32>::new(states);
    let mut carry = Array::<f32>::new(states);
    let mut rate_sums = Array::<f32>::new(states);
    // `a_t ∘ h_{t−1}` of the rows of a chunk.
    let mut kept = Array::<f32>::new(states * SCAN_CHUNK);
    #[unroll]
    for n in 0..states {
        rates[n] = -a_log[channel * states + n].exp();
    }
    let through = skip[channel];
    let mut shift = 0.0f32;
    if comptime!(has.bias) {
        shift = bias[channel];
    }

    let mut sequence = CUBE_POS_Y as usize;
    while sequence < sequences {
        let first = table[sequence] as usize;
        let end = table[sequence + 1] as usize;
        let first_chunk = table[sequences + 1 + sequence] as usize;
        let of_sequence = (sequence * channels + channel) * states;
        let mut skip_sum = 0.0f32;
        let mut bias_sum = 0.0f32;
        #[unroll]
        for n in 0..states {
            rate_sums[n] = 0.0f32;
            carry[n] = 0.0f32;
            if comptime!(has.last) {
                carry[n] = grad_last[of_sequence + n];
            }
        }
        let chunks = (end - first).div_ceil(SCAN_CHUNK);
        for back in 0..chunks {
            let chunk = chunks - 1 - back;
            let begin = first + chunk * SCAN_CHUNK;
            let stop = (begin + SCAN_CHUNK).min(end);
            #[unroll]
            for n in 0..states {
                state[n] = saved[((first_chunk + chunk) * states + n) * channels + channel];
            }
            for row in begin..stop {
                let at = row * channels + channel;
                let step = softplus(delta[at] + shift);
                let drive = step * u[at];
                #[unroll]
                for n in 0..states {
                    let old = (step * rates[n]).exp() * state[n];
                    kept[(row - begin) * states + n] = old;
                    state[n] = old + drive * b[row * states + n];
                }
            }
            for behind in 0..stop - begin {
                let place = stop - begin - 1 - behind;
                let row = begin + place;
                let at = row * channels + channel;
                let raw = delta[at] + shift;
                let step = softplus(raw);
                let x = u[at];
                let drive = step * x;
                let upstream = grad[at];
                let mut inner = upstream;
                let mut z = 0.0f32;
                let mut open = 0.0f32;
                if comptime!(has.gate) {
                    z = gate[at];
                    open = sigmoid(z);
                    inner = upstream * z * open;
                }
                let mut y = through * x;
                let mut along = 0.0f32;
                let mut to_step = 0.0f32;
                #[unroll]
                for n in 0..states {
                    let old = kept[place * states + n];
                    let h = old + drive * b[row * states + n];
                    let lambda = carry[n] + inner * c[row * states + n];
                    y += c[row * states + n] * h;
                    along += b[row * states + n] * lambda;
                    let slope = lambda * old;
                    to_step += rates[n] * slope;
                    rate_sums[n] += step * slope;
                    carry[n] = (step * rates[n]).exp() * lambda;
                    of_cube[n * STRIDE + unit] = counted * drive * lambda;
                    of_cube[(states + n) * STRIDE + unit] = counted * inner * h;
                }
                sync_cube();
                let mut which = unit;
                while which < 2 * states {
                    let mut sum = 0.0f32;
                    for other in 0..WIDTH {
                        sum += of_cube[which * STRIDE + other];
                    }
                    let line = (cube * rows + row) * states;
                    if which < states {
                        to_b[line + which] = sum;
                    } else {
                        to_c[line + which - states] = sum;
                    }
                    which += WIDTH;
                }
                sync_cube();
                let to_raw = (x * along + to_step) * sigmoid(raw);
                skip_sum += inner * x;
                bias_sum += to_raw;
                if real {
                    to_u[at] = inner * through + step * along;
                    to_delta[at] = to_raw;
                    if comptime!(has.gate) {
                        to_gate[at] = upstream * y * open * (1.0f32 + z * (1.0f32 - open));
                    }
                }
            }
        }
        if real {
            #[unroll]
            for n in 0..states {
                to_rates[of_sequence + n] = rate_sums[n] * rates[n];
                to_initial[of_sequence + n] = carry[n];
            }
            to_skip[sequence * channels + channel] = skip_sum;
            to_bias[sequence * channels + channel] = bias_sum;
        }
        sequence += CUBE_COUNT_Y as usize;
    }
}

/// The sum of `parts` tensors of `len` numbers that lie behind each other, in their order.
#[cube(launch_unchecked, address_type = "dynamic")]
fn sum_kernel(parts: &[f32], out: &mut [f32], len: usize, count: usize) {
    let mut at = ABSOLUTE_POS_X as usize;
    while at < len {
        let mut sum = 0.0f32;
        for part in 0..count {
            sum += parts[part * len + at];
        }
        out[at] = sum;
        at += (CUBE_COUNT_X * CUBE_DIM_X) as usize;
    }
}

fn summed(parts: CubeTensor, shape: Shape) -> CubeTensor {
    let len = shape.num_elements();
    let count = parts.meta.shape().num_elements() / len;
    let out = empty(&parts, shape);
    let cubes = len.div_ceil(SUMS as usize).min(MOST_CUBES) as u32;
    let client = parts.client.clone();
    let addresses = widest([&parts, &out, &out, &out]);
    // SAFETY: `parts` has `count` times the numbers of `out`.
    unsafe {
        sum_kernel::launch_unchecked(
            &client,
            CubeCount::Static(cubes, 1, 1),
            CubeDim::new_1d(SUMS),
            addresses,
            parts.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            len,
            count,
        );
    }
    out
}

/// The gradients to the inputs that are wanted.
pub fn backward(
    inputs: [CubeTensor; 9],
    saved: CubeTensor,
    grad: CubeTensor,
    last: Option<CubeTensor>,
    table: CubeTensor,
    plan: &ScanPlan,
    wanted: [bool; 9],
) -> [Option<CubeTensor>; 9] {
    let shapes = inputs.each_ref().map(|x| x.meta.shape().clone());
    let [u, delta, a_log, b, c, skip, gate, bias, _] = inputs;
    let sizes = Sizes::new(&shapes[0], &shapes[2], plan);
    let Sizes {
        rows,
        channels,
        states,
        sequences,
        ..
    } = sizes;
    let [gate, bias] = [gate, bias].map(|x| optional(x, &u));
    let last = match last {
        Some(last) => (true, into_contiguous(last)),
        None => (false, empty(&u, Shape::new([1]))),
    };
    let has = Has {
        gate: gate.0,
        bias: bias.0,
        last: last.0,
    };
    let cubes = channels.div_ceil(WIDTH);
    let out = |shape: &[usize]| empty(&u, Shape::from(shape.to_vec()));
    let wide = [rows, channels];
    let to_gate = if has.gate { out(&wide) } else { out(&[1]) };
    let (to_u, to_delta) = (out(&wide), out(&wide));
    let (to_b, to_c) = (out(&[cubes, rows, states]), out(&[cubes, rows, states]));
    let (to_rates, to_initial) = (
        out(&[sequences, channels, states]),
        out(&[sequences, channels, states]),
    );
    let (to_skip, to_bias) = (out(&[sequences, channels]), out(&[sequences, channels]));
    let [u, delta, a_log, b, c, skip, saved, grad, table] =
        [u, delta, a_log, b, c, skip, saved, grad, table].map(into_contiguous);
    let client = u.client.clone();
    let count = CubeCount::Static(cubes as u32, sequences.min(MOST_CUBES) as u32, 1);
    let addresses = widest([&u, &saved, &to_b, &to_rates]);
    // SAFETY: contiguous tensors of the shapes that the function documents, which it has checked; `saved` is what the forward
    // pass wrote by the same table.
    unsafe {
        backward_kernel::launch_unchecked(
            &client,
            count,
            CubeDim::new_1d(WIDTH as u32),
            addresses,
            u.into_buffer_arg(),
            delta.into_buffer_arg(),
            a_log.into_buffer_arg(),
            b.into_buffer_arg(),
            c.into_buffer_arg(),
            skip.into_buffer_arg(),
            gate.1.into_buffer_arg(),
            bias.1.into_buffer_arg(),
            saved.into_buffer_arg(),
            grad.into_buffer_arg(),
            last.1.into_buffer_arg(),
            table.into_buffer_arg(),
            to_u.clone().into_buffer_arg(),
            to_delta.clone().into_buffer_arg(),
            to_gate.clone().into_buffer_arg(),
            to_b.clone().into_buffer_arg(),
            to_c.clone().into_buffer_arg(),
            to_rates.clone().into_buffer_arg(),
            to_skip.clone().into_buffer_arg(),
            to_bias.clone().into_buffer_arg(),
            to_initial.clone().into_buffer_arg(),
            rows,
            channels,
            sequences,
            states,
            has,
        );
    }
    let found = [
        to_u, to_delta, to_rates, to_b, to_c, to_skip, to_gate, to_bias, to_initial,
    ];
    let mut place = 0;
    found.map(|found| {
        let (input, shape) = (place, shapes[place].clone());
        place += 1;
        let there = wanted[input] && shape.num_elements() > 0;
        there.then(|| match input {
            // Of every cube, or of every sequence.
            2 | 3 | 4 | 5 | 7 => summed(found, shape),
            _ => found,
        })
    })
}
