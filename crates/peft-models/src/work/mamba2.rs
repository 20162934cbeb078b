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
        let spread = 2 * heads * self.states;
        let convolved = channels + 2 * self.groups * self.states;
        let [into, out] = [Role::SsmIn, Role::SsmOut].map(|role| linears(role).unwrap_or_default());
        // Of every head a square of a chunk's rows, and of every chunk the states before it.
        let (scores, before) = (heads * CHUNK, channels * self.states / CHUNK);
        let mut block = BlockWork {
            width: hidden,
            keeps_input: input,
            // The projection, the convolution's output before and after its nonlinearity, and within the chunks scores and
            // decays, `B` and `C` of every head, and inputs and outputs in their order.
            evaluated: 3 * hidden + 3 * convolved + 5 * channels + spread + 3 * scores + 2 * before,
            moved: 8 * hidden
                + 6 * convolved
                + 20 * channels
                + 2 * spread
                + 8 * scores
                + 4 * before,
            ..BlockWork::default()
        };
        block.keep(into.keeps_input, hidden);
        let entered = input || into.trained();
        // The convolution keeps its input, the nonlinearity behind it its own; the products of the chunks keep their
        // factors, the norm its input, and the gate both sides.
        block.keep(
            entered,
            2 * convolved + spread + 6 * channels + 4 * scores + 3 * before,
        );
        block.keep(out.keeps_input, channels);
        block.tracked = entered;
        block.output_tracked = input || entered || out.trained();
        block.passing = 4 * channels + 2 * convolved + spread + 2 * scores + hidden;
        block.add(&into, input);
        block.add(&out, entered);
        // Scores, and products with inputs and states, of all heads.
        let scan = 2 * scores * (self.states + channels / heads)
            + 4 * channels * self.states
            + 2 * convolved * (self.kernel + 1);
        block.forward += scan as f64;
        block.backward += 2.0 * scan as f64 * f64::from(u8::from(entered));
        block
    }
}

/// Rows of a chunk of the scan, as the kernels cut it (`portable/ssd.rs`).
const CHUNK: usize = 64;
