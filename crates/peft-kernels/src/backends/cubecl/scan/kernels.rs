use burn::tensor::Shape;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::super::kernels::{MOST_CUBES, empty, widest};
use super::{SCAN_CHUNK, Sizes};
use crate::backends::selective::ScanPlan;

/// Units of a cube, each with a channel.
const WIDTH: usize = 64;

/// What there need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Has {
    gate: bool,
    bias: bool,
    initial: bool,
    /// Whether states are kept for the backward pass.
    saving: bool,
}

/// `1 / (1 + exp(−x))`, from powers that do not overflow.
#[cube]
pub fn sigmoid(x: f32) -> f32 {
    let small = (-x.abs()).exp();
    let above = 1.0f32 / (1.0f32 + small);
    select(x < 0.0f32, small * above, above)
}

/// `ln(1 + exp(x))`, the same.
#[cube]
pub fn softplus(x: f32) -> f32 {
    x.max(0.0f32) + (-x.abs()).exp().log1p()
}

/// A unit has a channel, and goes through the rows of every so manieth sequence.
///
/// The table is `[first rows; sequences + 1] [first chunks; sequences]`.
#[cube(launch_unchecked, address_type = "dynamic")]
fn forward_kernel(
    u: &[f32],
    delta: &[f32],
    a_log: &[f32],
    b: &[f32],
    c: &[f32],
    skip: &[f32],
    gate: &[f32],
    bias: &[f32],
    initial: &[f32],
    table: &[i32],
    y: &mut [f32],
    last: &mut [f32],
    saved: &mut [f32],
    channels: usize,
    sequences: usize,
    #[comptime] states: usize,
    #[comptime] has: Has,
) {
    let channel = ABSOLUTE_POS_X as usize;
    if channel >= channels {
        terminate!();
    }
    let mut rates = Array::<f32>::new(states);
    let mut state = Array::<f32>::new(states);
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
        let of_sequence = (sequence * channels + channel) * states;
        #[unroll]
        for n in 0..states {
            state[n] = 0.0f32;
            if comptime!(has.initial) {
                state[n] = initial[of_sequence + n];
            }
        }
        for row in first..end {
            if comptime!(has.saving) {
                let gone = row - first;
                if gone % SCAN_CHUNK == 0 {
                    let chunk = table[sequences + 1 + sequence] as usize + gone / SCAN_CHUNK;
                    #[unroll]
                    for n in 0..states {
                        saved[(chunk * states + n) * channels + channel] = state[n];
                    }
                }
            }
            let at = row * channels + channel;
            let x = u[at];
            let step = softplus(delta[at] + shift);
            let drive = step * x;
            let mut out = through * x;
            #[unroll]
            for n in 0..states {
                let decay = (step * rates[n]).exp();
                state[n] = decay * state[n] + drive * b[row * states + n];
                out += c[row * states + n] * state[n];
            }
            if comptime!(has.gate) {
                let z = gate[at];
                out *= z * sigmoid(z);
            }
            y[at] = out;
        }
        #[unroll]
        for n in 0..states {
            last[of_sequence + n] = state[n];
        }
        sequence += CUBE_COUNT_Y as usize;
    }
}

/// Whether something is there; what is not becomes a number, for a kernel takes no empty tensor.
pub fn optional(x: CubeTensor, like: &CubeTensor) -> (bool, CubeTensor) {
    match x.meta.shape().num_elements() {
        0 => (false, empty(like, Shape::new([1]))),
        _ => (true, into_contiguous(x)),
    }
}

/// The output, the last states and, if they are asked for, the states before every chunk.
pub fn forward(
    inputs: [CubeTensor; 9],
    table: CubeTensor,
    plan: &ScanPlan,
    saving: bool,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [u, delta, a_log, b, c, skip, gate, bias, initial] = inputs;
    let sizes = Sizes::new(u.meta.shape(), a_log.meta.shape(), plan);
    let [gate, bias, initial] = [gate, bias, initial].map(|x| optional(x, &u));
    let has = Has {
        gate: gate.0,
        bias: bias.0,
        initial: initial.0,
        saving,
    };
    let [of_y, of_last, of_saved] = sizes.outputs();
    let of_saved = if saving { of_saved } else { Shape::new([1]) };
    let [y, last, saved] = [of_y, of_last, of_saved].map(|shape| empty(&u, shape));
    let [u, delta, a_log, b, c, skip, table] =
        [u, delta, a_log, b, c, skip, table].map(into_contiguous);
    let across = sizes.channels.div_ceil(WIDTH) as u32;
    let count = CubeCount::Static(across, sizes.sequences.min(MOST_CUBES) as u32, 1);
    let client = u.client.clone();
    let addresses = widest([&u, &last, &saved, &b]);
    // SAFETY: contiguous tensors of the shapes that the function documents, which it has checked; the table is that of the
    // rows.
    unsafe {
        forward_kernel::launch_unchecked(
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
            initial.1.into_buffer_arg(),
            table.into_buffer_arg(),
            y.clone().into_buffer_arg(),
            last.clone().into_buffer_arg(),
            saved.clone().into_buffer_arg(),
            sizes.channels,
            sizes.sequences,
            sizes.states,
            has,
        );
    }
    (y, last, saved)
}
