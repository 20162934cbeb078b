use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, Hidden, InitialState, Slot,
    kernels::{self, Activation, SelectiveScan},
    nn::{Linear, parameter},
};

use super::Conv1d;
use crate::{MambaConfig, ModelError, PackedBatch, loader::Loader, parts::RmsNorm};

/// One block: a selective state space after a norm and before the residual.
#[derive(Module, Debug)]
pub struct MambaBlock {
    /// Norm before the block.
    pub norm: RmsNorm,
    /// Channels and their gates, `[hidden, 2 · D]`.
    pub in_proj: Linear,
    /// Over the last rows of every channel.
    pub conv: Conv1d,
    /// Low-rank step widths, input and output matrices, `[D, R + 2 · N]`.
    pub x_proj: Linear,
    /// Step widths of all channels, `[R, D]`.
    pub dt_proj: Linear,
    /// Logarithms of the decay rates, `[D, N]`.
    pub a_log: Param<Tensor<2>>,
    /// The direct path, `[D]`.
    pub d: Param<Tensor<1>>,
    /// Back to the model's width, `[D, hidden]`.
    pub out_proj: Linear,
    /// Changes what the block reads.
    pub before_state: Slot<Hidden>,
    /// The state that every sequence starts from.
    pub state_start: Slot<InitialState>,
    /// Changes what the states give, before the gate.
    pub state_output: Slot<Hidden>,
    /// Changes what the block gives, before it is added.
    pub after_state: Slot<Hidden>,
}

impl MambaBlock {
    /// The block of a path, `backbone.layers.0` for the first.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &MambaConfig,
    ) -> Result<Self, ModelError> {
        let part = |name: &str| format!("{path}.{name}");
        let (weight, bias) = loader.tensors(&part("conv"))?;
        Ok(Self {
            norm: loader.rms_norm(&part("norm"), config.norm_eps, false)?,
            in_proj: loader.linear(&part("in_proj"))?,
            conv: Conv1d {
                weight: Param::from_tensor(weight),
                bias: bias.map(Param::from_tensor),
            },
            x_proj: loader.linear(&part("x_proj"))?,
            dt_proj: loader.linear(&part("dt_proj"))?,
            a_log: loader.parameter(&part("a_log"))?,
            d: loader.parameter(&part("d"))?,
            out_proj: loader.linear(&part("out_proj"))?,
            before_state: Slot::new([config.hidden_size]),
            state_start: Slot::new([config.channels, config.states]),
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
        let (channels, rank, states) = (config.channels, config.step_rank, config.states);
        let as_it_is = |x: Tensor<2>, _: Tensor<2>| x;
        let read = self.norm.forward(x.clone(), context);
        let read = self.before_state.through(read, &x, as_it_is, context);
        let both = self.in_proj.forward(read, context);
        let inner = both.clone().narrow(1, 0, channels);
        let gate = both.narrow(1, channels, channels);
        let start = self.state_start.pass(InitialState { state: None }, context);
        let (before, initial) = match batch.states(depth, start.as_ref()) {
            Some([inputs, states]) => (Some(inputs), Some(states)),
            None => {
                let state = start.map(|state| state.reshape([1, channels, states]));
                let all = [batch.rows.len(), channels, states];
                (None, state.map(|state| state.expand(all)))
            }
        };
        let read = inner.clone();
        let inner = kernels::silu(self.conv.forward(inner, before.clone(), batch, context));
        let chosen = self.x_proj.forward(inner.clone(), context);
        let steps = self
            .dt_proj
            .forward(chosen.clone().narrow(1, 0, rank), context);
        let scan = SelectiveScan {
            u: inner.clone(),
            delta: steps,
            a_log: parameter(&self.a_log, context),
            b: chosen.clone().narrow(1, rank, states),
            c: chosen.narrow(1, rank + states, states),
            skip: parameter(&self.d, context),
            // A slot lies before the gate, and the bias may have an adapter.
            gate: None,
            delta_bias: None,
            initial,
        };
        let (y, last) = kernels::selective_scan(scan, &batch.rows);
        batch.put_states(depth, || [self.conv.inputs(read, before, batch), last]);
        let y = self.state_output.through(y, &inner, as_it_is, context);
        let y = self
            .out_proj
            .forward(kernels::gated(gate, y, Activation::Silu), context);
        let y = self.after_state.through(y, &x, as_it_is, context);
        x + y
    }
}
