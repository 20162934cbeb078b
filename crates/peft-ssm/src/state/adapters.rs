use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, Cost, Hidden, InitialState, Readout, ScannedStates, SlotAdapter, kernels,
};

/// What a recurrence or a convolution starts from instead of zeros, or rows that come before all others.
#[derive(Module, Debug)]
pub struct Start {
    /// `[channels, states]` or `[rows, channels]`.
    pub values: Param<Tensor<2>>,
}

impl SlotAdapter for Start {
    type Passing = InitialState;

    fn forward(&self, passing: InitialState, _: &AdapterContext) -> Option<Tensor<2>> {
        let values = self.values.val();
        Some(match passing.state {
            Some(state) => state + values,
            None => values,
        })
    }

    fn cost(&self, _: &[usize]) -> Cost {
        values(&self.values)
    }
}

/// State-offset tuning of the states ([2503.03499](https://arxiv.org/abs/2503.03499)): `y_t ← y_t + h' C_t`, as if `h'` were
/// added to the states where they are read, and nowhere else.
#[derive(Module, Debug)]
pub struct StateOffset {
    /// `h'`, `[channels, states]`.
    pub values: Param<Tensor<2>>,
}

impl SlotAdapter for StateOffset {
    type Passing = Readout;

    fn forward(&self, passing: Readout, _: &AdapterContext) -> Tensor<2> {
        let values = self.values.val();
        let [channels, states] = values.dims();
        let groups = passing.c.dims()[1] / states;
        let width = channels / groups;
        let read = (0..groups).map(|group| {
            let c = passing.c.clone().narrow(1, group * states, states);
            let own = values.clone().narrow(0, group * width, width);
            kernels::linear(c, own.transpose(), None)
        });
        passing.y + Tensor::cat(read.collect(), 1)
    }

    fn cost(&self, widths: &[usize]) -> Cost {
        Cost {
            flops_per_row: 4 * widths.iter().product::<usize>(),
            ..values(&self.values)
        }
    }
}

/// State-offset tuning of what the states give: `y_t ← y_t + y'`.
#[derive(Module, Debug)]
pub struct OutputOffset {
    /// `y'`, `[1, channels]`.
    pub values: Param<Tensor<2>>,
}

impl SlotAdapter for OutputOffset {
    type Passing = Hidden;

    fn forward(&self, passing: Hidden, _: &AdapterContext) -> Tensor<2> {
        passing.x + self.values.val()
    }

    fn cost(&self, _: &[usize]) -> Cost {
        values(&self.values)
    }
}

/// Additional-scan (MambaPEFT, [2411.03855](https://arxiv.org/abs/2411.03855)): more states beside the block's, with decays,
/// input and output matrices of their own.
///
/// Their decays start as copies of the channel's last, `A_log[:, N − 1] + θ` with `θ` from zero, `B` is drawn and `C` zero: so
/// they are written, but not read yet.
#[derive(Module, Debug)]
pub struct MoreStates {
    /// `θ`, `[channels, more]`.
    pub decays: Param<Tensor<2>>,
    /// Makes `B` of a row, `[channels, more]`.
    pub inputs: Param<Tensor<2>>,
    /// Makes `C` of a row, `[channels, more]`.
    pub outputs: Param<Tensor<2>>,
}

impl SlotAdapter for MoreStates {
    type Passing = ScannedStates;

    fn forward(&self, passing: ScannedStates, _: &AdapterContext) -> ScannedStates {
        let ScannedStates { x, a_log, b, c } = passing;
        let last = a_log.clone().narrow(1, a_log.dims()[1] - 1, 1);
        let decays = last + self.decays.val();
        let product = |weight: &Param<Tensor<2>>| kernels::linear(x.clone(), weight.val(), None);
        let (more_b, more_c) = (product(&self.inputs), product(&self.outputs));
        ScannedStates {
            a_log: Tensor::cat(vec![a_log, decays], 1),
            b: Tensor::cat(vec![b, more_b], 1),
            c: Tensor::cat(vec![c, more_c], 1),
            x,
        }
    }

    fn cost(&self, _: &[usize]) -> Cost {
        let [channels, more] = self.decays.lazy_shape().dims::<2>();
        more_states_cost(channels, more)
    }
}

/// What so many more states of so many channels cost: their two products and the scan.
pub fn more_states_cost(channels: usize, more: usize) -> Cost {
    Cost {
        parameters: 3 * channels * more,
        flops_per_row: (12 + 27) * channels * more,
        saved_per_row: channels + 2 * more,
    }
}

fn values(values: &Param<Tensor<2>>) -> Cost {
    Cost {
        parameters: values.lazy_shape().num_elements(),
        ..Cost::default()
    }
}
