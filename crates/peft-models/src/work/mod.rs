//! What a block computes and keeps for a token: estimates of time and memory are sums of these.

mod decoder;
mod encoder;
mod mamba;
mod mamba2;
mod space;

use peft_core::{AdapterSpec, Cost};

pub use decoder::DecoderFlow;
pub use encoder::EncoderFlow;
pub use mamba::MambaFlow;
pub use mamba2::Mamba2Flow;
pub use space::SpaceFlow;

/// What a linear layer of a block carries.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinearWork {
    inputs: usize,
    outputs: usize,
    adapter: Option<Cost>,
    /// Whether its own gradients need its input.
    keeps_input: bool,
    in_full: bool,
}

impl LinearWork {
    /// A linear layer with an adapter, or trained in full, or neither.
    pub fn new(adapter: Option<&AdapterSpec>, in_full: bool) -> Self {
        Self {
            adapter: adapter.map(|spec| spec.cost),
            // A layer trained in full keeps its input, as most adapters do, and adds nothing to it.
            keeps_input: in_full || adapter.is_some_and(|spec| spec.keeps_input),
            in_full,
            ..Self::default()
        }
    }

    pub(crate) fn with_widths(self, [inputs, outputs]: [usize; 2]) -> Self {
        Self {
            inputs,
            outputs,
            ..self
        }
    }

    fn trained(&self) -> bool {
        self.in_full || self.adapter.is_some()
    }

    fn product(&self) -> f64 {
        2.0 * (self.inputs * self.outputs) as f64
    }
}

/// Values and operations of one block for a token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BlockWork {
    /// Width of what goes from block to block.
    pub width: usize,
    /// Values kept between the passes, but for the block's input.
    pub kept: usize,
    /// Whether the block's input is kept.
    pub keeps_input: bool,
    /// Values that come and go at the worst moment of the backward pass, beside those kept.
    pub passing: usize,
    /// Values in memory at the worst moment of a forward pass that keeps nothing.
    pub evaluated: usize,
    /// Operations of the products, forward.
    pub forward: f64,
    /// The same backward, and those of the adapters both ways.
    pub backward: f64,
    /// Values read and written by all that goes over them once, forward; backward it is twice that.
    pub moved: usize,
    /// The attention, where there is one.
    pub attention: Option<AttentionWork>,
    /// Whether anything goes backward through what mixes the rows: attention or state space.
    pub tracked: bool,
    /// Whether gradients go to the block's output.
    pub output_tracked: bool,
}

/// Operations of an attention for a pair of a query and a key that it sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionWork {
    /// Forward: two products.
    pub forward: f64,
    /// Backward: five, scores being computed again.
    pub backward: f64,
    /// Whether a query sees only keys up to its own.
    pub causal: bool,
    /// How many keys a query sees at most, on each side that it sees.
    pub window: Option<usize>,
}

impl AttentionWork {
    /// For heads of `width` values together.
    fn new(width: usize, causal: bool, window: Option<usize>) -> Self {
        Self {
            forward: 4.0 * width as f64,
            backward: 10.0 * width as f64,
            causal,
            window,
        }
    }

    /// Pairs of a batch with so many tokens, whose sequences' lengths have so large a sum of squares.
    pub fn pairs(&self, tokens: f64, squares: f64) -> f64 {
        let seen = if self.causal {
            0.5 * (squares + tokens)
        } else {
            squares
        };
        let reach = |window: usize| match self.causal {
            true => window as f64,
            false => 2.0 * window as f64 - 1.0,
        };
        let window = self.window.map(|window| reach(window) * tokens);
        window.map_or(seen, |window| seen.min(window))
    }
}

/// The linear layers of a block by their role, where it has them.
type Linears<'a> = &'a dyn Fn(crate::Role) -> Option<LinearWork>;

impl BlockWork {
    /// Adds the products of a linear layer whose input's gradients are wanted or not.
    fn add(&mut self, linear: &LinearWork, input_tracked: bool) {
        let adapter = linear.adapter.unwrap_or_default();
        self.kept += adapter.saved_per_row;
        self.forward += linear.product();
        self.backward += adapter.flops_per_row as f64;
        self.backward += f64::from(u8::from(input_tracked)) * linear.product();
        self.backward += f64::from(u8::from(linear.in_full)) * linear.product();
    }

    fn keep(&mut self, kept: bool, values: usize) {
        self.kept += if kept { values } else { 0 };
    }
}
