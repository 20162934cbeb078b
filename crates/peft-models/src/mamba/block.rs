use burn::{
    Tensor,
    module::{Module, Param},
};
use peft_core::{
    AdapterContext, Hidden, InitialState, Readout, ScannedStates, Slot,
    kernels::{self, Activation, RowLayout, SelectiveScan},
    nn::{Linear, parameter},
};

use super::{
    Conv1d,
    start::{Passage, Spaced, Start},
};
use crate::{MambaConfig, ModelError, PackedBatch, StateSpace, loader::Loader, parts::RmsNorm};

/// One block: a selective state space after a norm and before the residual.
#[derive(Module, Debug)]
pub struct MambaBlock {
    /// Norm before the block; none in Jamba, whose layers have it.
    pub norm: Option<RmsNorm>,
    /// Channels and their gates, `[hidden, 2 · D]`.
    pub in_proj: Linear,
    /// Over the last rows of every channel.
    pub conv: Conv1d,
    /// Low-rank step widths, input and output matrices, `[D, R + 2 · N]`.
    pub x_proj: Linear,
    /// Norm of the low-rank step widths (Jamba).
    pub step_norm: Option<RmsNorm>,
    /// Norm of the input matrices (Jamba).
    pub b_norm: Option<RmsNorm>,
    /// Norm of the output matrices (Jamba).
    pub c_norm: Option<RmsNorm>,
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
    /// The inputs of the convolution before those of every sequence.
    pub conv_start: Slot<InitialState>,
    /// Rows of channels before those of every sequence, of which nothing but the states is kept.
    pub affix: Slot<InitialState>,
    /// Puts more states beside those of the block.
    pub more_states: Slot<ScannedStates>,
    /// Adds to what is read of the states, by what it is read by.
    pub state_readout: Slot<Readout>,
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
        let norm = |loader: &mut Loader, path: &str| loader.rms_norm(path, config.norm_eps, false);
        let (weight, bias) = loader.tensors(&part("conv"))?;
        Ok(Self {
            norm: loader.optional(&part("norm"), norm)?,
            in_proj: loader.linear(&part("in_proj"))?,
            conv: Conv1d {
                weight: Param::from_tensor(weight),
                bias: bias.map(Param::from_tensor),
            },
            x_proj: loader.linear(&part("x_proj"))?,
            step_norm: loader.optional(&part("step_norm"), norm)?,
            b_norm: loader.optional(&part("b_norm"), norm)?,
            c_norm: loader.optional(&part("c_norm"), norm)?,
            dt_proj: loader.linear(&part("dt_proj"))?,
            a_log: loader.parameter(&part("a_log"))?,
            d: loader.parameter(&part("d"))?,
            out_proj: loader.linear(&part("out_proj"))?,
            before_state: Slot::new([config.hidden_size]),
            state_start: Slot::new([config.channels, config.states]),
            conv_start: Slot::new([config.kernel - 1, config.channels]),
            affix: Slot::new([config.channels]),
            more_states: Slot::new([config.channels, config.states]),
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
        let read = match &self.norm {
            Some(norm) => norm.forward(x.clone(), context),
            None => x.clone(),
        };
        let y = self.mixed(read, &x, batch, config, depth, context);
        x + y
    }

    /// What is added to the residual, of rows behind the norm.
    pub(crate) fn mixed(
        &self,
        read: Tensor<2>,
        residual: &Tensor<2>,
        batch: &PackedBatch,
        config: &MambaConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let (x, channels) = (residual, config.channels);
        let as_it_is = |x: Tensor<2>, _: Tensor<2>| x;
        let read = self.before_state.through(read, x, as_it_is, context);
        let both = self.in_proj.forward(read, context);
        let inner = both.clone().narrow(1, 0, channels);
        let gate = both.narrow(1, channels, channels);
        let passage = Passage {
            conv: &self.conv,
            convolved: channels,
            slots: [&self.conv_start, &self.state_start, &self.affix],
            batch,
            depth,
            context,
        };
        let spaced = passage.of(inner, |inner, start, rows| {
            self.space(inner, start, rows, config, context)
        });
        let readout = Readout {
            y: spaced.y,
            c: spaced.c,
        };
        let y = self.state_readout.pass(readout, context);
        let inner = spaced.inner;
        let y = self.state_output.through(y, &inner, as_it_is, context);
        let y = self
            .out_proj
            .forward(kernels::gated(gate, y, Activation::Silu), context);
        self.after_state.through(y, x, as_it_is, context)
    }

    /// Convolution and scan of rows of channels `[rows, D]`, from earlier inputs and states on.
    fn space(
        &self,
        inner: Tensor<2>,
        [before, initial]: Start<3>,
        rows: &RowLayout,
        config: &MambaConfig,
        context: &AdapterContext,
    ) -> Spaced {
        let states = config.states;
        let inner = kernels::silu(self.conv.forward(inner, before, rows, context));
        let chosen = self.x_proj.forward(inner.clone(), context);
        let rank = chosen.dims()[1] - 2 * states;
        let part = |from: usize, width: usize, norm: &Option<RmsNorm>| {
            let part = chosen.clone().narrow(1, from, width);
            match norm {
                Some(norm) => norm.forward(part, context),
                None => normed(part, config),
            }
        };
        let steps = part(0, rank, &self.step_norm);
        let steps = self.dt_proj.forward(steps, context);
        let ScannedStates { a_log, b, c, .. } = self.more_states.pass(
            ScannedStates {
                x: inner.clone(),
                a_log: parameter(&self.a_log, context),
                b: part(rank, states, &self.b_norm),
                c: part(rank + states, states, &self.c_norm),
            },
            context,
        );
        let [channels, all] = a_log.dims();
        // States that were put beside the others start from zeros.
        let initial = initial.map(|initial| match initial.dims() {
            [_, _, known] if known == all => initial,
            [count, _, known] => {
                let like = (&initial.device(), initial.dtype());
                let zeros = Tensor::zeros([count, channels, all - known], like);
                Tensor::cat(vec![initial, zeros], 2)
            }
        });
        let scan = SelectiveScan {
            u: inner.clone(),
            delta: steps,
            a_log,
            b,
            c: c.clone(),
            skip: parameter(&self.d, context),
            // A slot lies before the gate, and the bias may have an adapter.
            gate: None,
            delta_bias: None,
            initial,
        };
        let (y, last) = kernels::selective_scan(scan, rows);
        Spaced {
            // What the block's own states were read by.
            c: c.narrow(1, 0, states),
            inner,
            y,
            last,
        }
    }
}

/// Step widths, `B` or `C` behind the norm without weights that the family has there: `x / √(mean(x²) + ε)`. Step widths are normalised
/// before their projection, as in transformers' passes without gradients and in llama.cpp; its fused kernel for training
/// normalises them behind it.
fn normed(x: Tensor<2>, config: &MambaConfig) -> Tensor<2> {
    let StateSpace::Selective {
        norms: Some(eps), ..
    } = config.space
    else {
        return x;
    };
    let ones = Tensor::ones([x.dims()[1]], (&x.device(), x.dtype()));
    kernels::rms_norm(x, ones, eps)
}
