use super::{BlockWork, Linears};
use crate::Role;

/// A selective state space after a norm and before the residual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MambaFlow {
    /// Width of the model.
    pub hidden: usize,
    /// Channels, `D`.
    pub channels: usize,
    /// States of a channel, `N`.
    pub states: usize,
    /// Rank of the step widths, `R`.
    pub rank: usize,
    /// Width of the convolution.
    pub kernel: usize,
    /// Whether step widths, input and output matrices are normalised.
    pub norms: bool,
}

impl MambaFlow {
    pub(crate) fn work(&self, linears: Linears, input: bool) -> BlockWork {
        let (hidden, channels) = (self.hidden, self.channels);
        let narrow = self.rank + 2 * self.states;
        let [into, x, dt, out] = [Role::SsmIn, Role::SsmX, Role::SsmDt, Role::SsmOut]
            .map(|role| linears(role).unwrap_or_default());
        let state = channels * self.states;
        // Reading and writing.
        let norms = if self.norms { 2 } else { 0 };
        let mut block = BlockWork {
            width: hidden,
            keeps_input: input,
            // The projection's two halves and the left one alone, the convolution's output before and after its
            // nonlinearity, step widths and the scan's output: the scan's states never leave the cache.
            evaluated: 7 * channels + 3 * hidden,
            // The scan reads and writes the states at every token.
            moved: 8 * hidden + 16 * channels + (3 + norms) * narrow + 8 * state,
            ..BlockWork::default()
        };
        block.keep(into.keeps_input, hidden);
        let entered = input || into.trained();
        // The convolution keeps its input, the nonlinearity behind it its own.
        block.keep(entered, 2 * channels);
        let spread = entered || x.trained();
        block.keep(spread || x.keeps_input, channels);
        block.keep(spread && self.norms, narrow);
        block.keep(dt.keeps_input, self.rank);
        let stepped = spread || dt.trained();
        // The scan keeps step widths, input and output matrices, and some of the states.
        block.keep(stepped, channels + 2 * self.states + state / SCAN_STRIDE);
        // The gate keeps both sides.
        block.keep(stepped || entered, 2 * channels);
        block.keep(out.keeps_input, channels);
        block.tracked = stepped;
        block.output_tracked = input || stepped || out.trained();
        // Gradients of the gate's two sides, of step widths and scanned values, and of both halves.
        block.passing = 6 * channels + hidden;
        block.add(&into, input);
        block.add(&x, entered);
        block.add(&dt, spread);
        block.add(&out, stepped);
        let scan = 9 * state + 2 * channels * (self.kernel + 1);
        block.forward += scan as f64;
        block.backward += 2.5 * scan as f64 * f64::from(u8::from(stepped));
        block
    }
}

/// Tokens for one of which the scan keeps the states; it computes those of the others anew.
const SCAN_STRIDE: usize = 32;
