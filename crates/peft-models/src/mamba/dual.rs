use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, Hidden, InitialState, Readout, Slot,
    kernels::{self, Activation, RowLayout, StateSpaceDual},
    nn::{Linear, parameter},
};

use super::{
    Conv1d,
    start::{Passage, Spaced, Start},
};
use crate::{MambaConfig, ModelError, PackedBatch, StateSpace, loader::Loader, parts::RmsNorm};

/// One block of Mamba-2: a state space in its dual form, after a norm and before the residual.
#[derive(Module, Debug)]
pub struct Mamba2Block {
    /// Norm before the block.
    pub norm: RmsNorm,
    /// Gates, the convolution's channels and steps of the heads, `[hidden, D + (D + 2 · G · N) + H]`.
    pub in_proj: Linear,
    /// Over the last rows of every channel, of `B` and of `C`.
    pub conv: Conv1d,
    /// Bias of the steps, `[H]`.
    pub dt_bias: Param<Tensor<1>>,
    /// Logarithms of the decay rates, `[H]`.
    pub a_log: Param<Tensor<1>>,
    /// The direct path, `[H]`.
    pub d: Param<Tensor<1>>,
    /// Norm of each group's channels behind the gate.
    pub gated_norm: RmsNorm,
    /// Back to the model's width, `[D, hidden]`.
    pub out_proj: Linear,
    /// Changes what the block reads.
    pub before_state: Slot<Hidden>,
    /// The state that every sequence starts from.
    pub state_start: Slot<InitialState>,
    /// The inputs of the convolution before those of every sequence.
    pub conv_start: Slot<InitialState>,
    /// The convolution's channels and the steps of rows before those of every sequence, of which nothing but the states is
    /// kept.
    pub affix: Slot<InitialState>,
    /// Adds to what is read of the states, by what it is read by.
    pub state_readout: Slot<Readout>,
    /// Changes what the states give, before the gate.
    pub state_output: Slot<Hidden>,
    /// Changes what the block gives, before it is added.
    pub after_state: Slot<Hidden>,
}

/// Sizes of the dual form.
struct Sizes {
    channels: usize,
    states: usize,
    heads: usize,
    groups: usize,
    step_limit: (f64, f64),
}

impl Sizes {
    /// # Panics
    /// If the model is of another kind.
    fn of(config: &MambaConfig) -> Self {
        let StateSpace::Dual {
            heads,
            groups,
            step_limit,
        } = config.space
        else {
            panic!("a block in the dual form for a model of another kind")
        };
        Self {
            channels: config.channels,
            states: config.states,
            heads,
            groups,
            step_limit,
        }
    }

    fn convolved(&self) -> usize {
        self.channels + 2 * self.groups * self.states
    }
}

impl Mamba2Block {
    /// The block of a path, `backbone.layers.0` for the first.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &MambaConfig,
    ) -> Result<Self, ModelError> {
        let part = |name: &str| format!("{path}.{name}");
        let (weight, bias) = loader.tensors(&part("conv"))?;
        let sizes = Sizes::of(config);
        Ok(Self {
            norm: loader.rms_norm(&part("norm"), config.norm_eps, false)?,
            in_proj: loader.linear(&part("in_proj"))?,
            conv: Conv1d {
                weight: Param::from_tensor(weight),
                bias: bias.map(Param::from_tensor),
            },
            dt_bias: loader.parameter(&part("dt_bias"))?,
            a_log: loader.parameter(&part("a_log"))?,
            d: loader.parameter(&part("d"))?,
            gated_norm: loader.rms_norm(&part("gated_norm"), config.norm_eps, false)?,
            out_proj: loader.linear(&part("out_proj"))?,
            before_state: Slot::new([config.hidden_size]),
            state_start: Slot::new([config.channels, config.states]),
            conv_start: Slot::new([config.kernel - 1, sizes.convolved()]),
            affix: Slot::new([sizes.convolved() + sizes.heads]),
            state_readout: Slot::new([config.channels, config.states]),
            state_output: Slot::new([config.channels]),
            after_state: Slot::new([config.hidden_size]),
        })
    }

    /// `[rows, hidden] -> [rows, hidden]`; `depth` is how many blocks were applied before, and `context` that
    /// of rows of tokens.
    pub fn forward(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        config: &MambaConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let sizes = Sizes::of(config);
        let (channels, convolved) = (sizes.channels, sizes.convolved());
        let as_it_is = |x: Tensor<2>, _: Tensor<2>| x;
        let read = self.norm.forward(x.clone(), context);
        let read = self.before_state.through(read, &x, as_it_is, context);
        let all = self.in_proj.forward(read, context);
        let gate = all.clone().narrow(1, 0, channels);
        let inner = all.narrow(1, channels, convolved + sizes.heads);
        let passage = Passage {
            conv: &self.conv,
            convolved,
            slots: [&self.conv_start, &self.state_start, &self.affix],
            batch,
            depth,
            context,
        };
        let spaced = passage.of(inner, |rows_in, start, rows| {
            self.space(rows_in, start, rows, &sizes, context)
        });
        let readout = Readout {
            y: spaced.y,
            c: spaced.c,
        };
        let y = self.state_readout.pass(readout, context);
        let y = self
            .state_output
            .through(y, &spaced.inner, as_it_is, context);
        let y = self.normed(kernels::gated(gate, y, Activation::Silu), &sizes, context);
        let y = self.out_proj.forward(y, context);
        let y = self.after_state.through(y, &x, as_it_is, context);
        x + y
    }

    /// The norm of each group's channels by itself, `x / √(mean(x²) + ε) · weight`.
    fn normed(&self, x: Tensor<2>, sizes: &Sizes, context: &AdapterContext) -> Tensor<2> {
        if sizes.groups == 1 {
            return self.gated_norm.forward(x, context);
        }
        let [rows, channels] = x.dims();
        let width = channels / sizes.groups;
        let ones = Tensor::ones([width], (&x.device(), x.dtype()));
        let x = x.reshape([rows * sizes.groups, width]);
        let x = kernels::rms_norm(x, ones, self.gated_norm.eps).reshape([rows, channels]);
        x * parameter(&self.gated_norm.weight, context).unsqueeze()
    }

    /// Convolution and scan of rows of the convolution's channels and of steps, `[rows, D + 2 · G · N + H]`, from earlier
    /// inputs and states on.
    fn space(
        &self,
        rows_in: Tensor<2>,
        [before, initial]: Start<3>,
        rows: &RowLayout,
        sizes: &Sizes,
        context: &AdapterContext,
    ) -> Spaced {
        let (channels, heads, states) = (sizes.channels, sizes.heads, sizes.states);
        let (convolved, wide) = (sizes.convolved(), sizes.groups * states);
        let head = channels / heads;
        let inner = rows_in.clone().narrow(1, 0, convolved);
        let inner = kernels::silu(self.conv.forward(inner, before, rows, context));
        let x = inner.clone().narrow(1, 0, channels);
        let c = inner.clone().narrow(1, channels + wide, wide);
        let dual = StateSpaceDual {
            x: x.clone(),
            dt: rows_in.narrow(1, convolved, heads),
            a_log: parameter(&self.a_log, context),
            b: inner.narrow(1, channels, wide),
            c: c.clone(),
            skip: parameter(&self.d, context),
            dt_bias: Some(parameter(&self.dt_bias, context)),
            dt_limit: sizes.step_limit,
            initial: initial.map(|initial| initial.reshape([rows.len(), heads, head, states])),
            groups: sizes.groups,
        };
        let (y, last) = kernels::ssd(dual, rows);
        Spaced {
            inner: x,
            y,
            c,
            last: last.reshape([rows.len(), channels, states]),
        }
    }
}
