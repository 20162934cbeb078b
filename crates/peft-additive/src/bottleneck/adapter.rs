use burn::{
    Tensor,
    module::{Module, Param},
    tensor::activation::relu,
};
use peft_core::{
    AdapterContext, Cost, Hidden, SlotAdapter,
    kernels::{GeluKind, gelu, linear, silu},
};

use super::{BottleneckInput, NonLinearity};

/// A narrow feed-forward module: `x + scaling · (f(s W_down + b_down) W_up + b_up)`, for `x [rows, d]`, what
/// passes, and `s [rows, d]`, what the module reads.
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// `W_down`, `[d, size]`
    pub down: Param<Tensor<2>>,
    /// `b_down`, `[size]`
    pub down_bias: Param<Tensor<1>>,
    /// `W_up`, `[size, d]`
    pub up: Param<Tensor<2>>,
    /// `b_up`, `[d]`
    pub up_bias: Param<Tensor<1>>,
    /// `f`
    #[module(skip)]
    pub non_linearity: NonLinearity,
    /// What `s` is.
    #[module(skip)]
    pub reads: BottleneckInput,
    /// Factor on what is added.
    #[module(skip)]
    pub scaling: f64,
}

impl Bottleneck {
    /// What it adds.
    pub(super) fn added(&self, hidden: &Hidden) -> Tensor<2> {
        let read = match self.reads {
            BottleneckInput::Normed => &hidden.normed,
            BottleneckInput::Plain => &hidden.x,
            BottleneckInput::Residual => &hidden.residual,
        };
        let read = read.clone();
        let narrow = linear(read, self.down.val(), Some(self.down_bias.val()));
        let narrow = match self.non_linearity {
            NonLinearity::Relu => relu(narrow),
            NonLinearity::Swish => silu(narrow),
            NonLinearity::Gelu => gelu(narrow, GeluKind::Erf),
            NonLinearity::Tanh => narrow.tanh(),
        };
        let wide = linear(narrow, self.up.val(), Some(self.up_bias.val()));
        match self.scaling {
            1.0 => wide,
            scaling => wide.mul_scalar(scaling),
        }
    }
}

impl SlotAdapter for Bottleneck {
    type Passing = Hidden;

    fn forward(&self, hidden: Hidden, _: &AdapterContext) -> Tensor<2> {
        let added = self.added(&hidden);
        hidden.x + added
    }

    fn reads_norm(&self) -> bool {
        self.reads == BottleneckInput::Normed
    }

    fn cost(&self, widths: &[usize]) -> Cost {
        cost(widths[0], self.down.lazy_shape()[1])
    }
}

/// What a module of a size costs in a slot of a width.
pub fn cost(width: usize, size: usize) -> Cost {
    Cost {
        parameters: 2 * width * size + size + width,
        // Two products forward, and four backward.
        flops_per_row: 12 * width * size,
        // What the module reads, and both sides of the nonlinearity.
        saved_per_row: width + 2 * size,
    }
}
