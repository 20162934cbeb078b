use super::{BlockWork, Linears};
use crate::Role;

/// A state space in its dual form, after a norm and before the residual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mamba2Flow {
    /// Width of the model.
    pub hidden: usize,
    /// Channels, `D`.
    pub channels: usize,
    /// States of a channel, `N`.
    pub states: usize,
    /// Heads, `H`.
    pub heads: usize,
    /// Groups of input and output matrices, `G`.
    pub groups: usize,
    /// Width of the convolution.
    pub kernel: usize,
}

impl Mamba2Flow {
    pub(crate) fn work(&self, linears: Linears, input: bool) -> BlockWork {
        let (hidden, channels, heads) = (self.hidden, self.channels, self.heads);
        let convolved = channels + 2 * self.groups * self.states;
        let [into, out] = [Role::SsmIn, Role::SsmOut].map(|role| linears(role).unwrap_or_default());
        // Of every chunk the states before it; and, backward, sums for `B` and `C` of every four heads.
        let (before, sums) = (channels * self.states / CHUNK, heads * self.states / 2);
        let mut block = BlockWork {
            width: hidden,
            keeps_input: input,
            // The projection, the convolution's output before and after its nonlinearity, the gate's half, and outputs of the
            // scan, the gate and the norm: what the scan works in does not leave the cache.
            evaluated: 3 * hidden + 3 * convolved + 4 * channels + heads,
            // The scan reads and writes the states at every chunk.
            moved: 8 * hidden + 8 * convolved + 14 * channels + 2 * heads + 4 * before,
            ..BlockWork::default()
        };
        block.keep(into.keeps_input, hidden);
        let entered = input || into.trained();
        // The convolution keeps its input, the nonlinearity behind it its own; the scan its inputs, in one with the
        // nonlinearity's output, steps, and the states before every chunk; the norm its input, and the gate both sides.
        block.keep(entered, 3 * convolved + heads + 3 * channels + before);
        block.keep(out.keeps_input, channels);
        block.tracked = entered;
        block.output_tracked = input || entered || out.trained();
        block.passing = 4 * channels + 2 * convolved + sums + hidden;
        block.add(&into, input);
        block.add(&out, entered);
        // Scores of every four heads, and of all heads products of the scores with inputs, and of inputs and states.
        let scores = heads * CHUNK * self.states / 2;
        let inputs = 2 * CHUNK * channels;
        let states = 4 * channels * self.states;
        let convolution = 2 * convolved * (self.kernel + 1);
        block.forward += (scores + inputs + states + convolution) as f64;
        // Backward the scores anew, and twice the products of each kind.
        let backward = 3 * scores + 2 * (inputs + states + convolution);
        block.backward += backward as f64 * f64::from(u8::from(entered));
        block
    }
}

/// Rows of a chunk of the scan, as the kernels cut it (`flex/ssd/mod.rs`).
const CHUNK: usize = 64;
