use burn::{Tensor, module::Module};
use peft_core::{AdapterContext, Hidden, Slot, kernels, nn::Linear};

use crate::{
    DecoderConfig, MambaConfig, ModelError, PackedBatch,
    loader::Loader,
    mamba::MambaBlock,
    parts::{RmsNorm, dropped},
};

/// One block of Jamba without attention: state space and feed-forward part, each after a norm and before the residual.
#[derive(Module, Debug)]
pub struct SpaceLayer {
    /// Norm before the state space; checkpoints call it what they call that before an attention.
    pub attention_norm: RmsNorm,
    /// Norm before the feed-forward part.
    pub feed_forward_norm: RmsNorm,
    /// Gate beside its first half, `[hidden, intermediate]`.
    pub gate: Linear,
    /// Its first half, `[hidden, intermediate]`.
    pub up: Linear,
    /// Its second half, `[intermediate, hidden]`.
    pub down: Linear,
    /// The state space.
    pub mamba: MambaBlock,
    /// Changes what the feed-forward part reads.
    pub before_feed_forward: Slot<Hidden>,
    /// Changes what the feed-forward part gives, from what it reads.
    pub beside_feed_forward: Slot<Hidden>,
    /// Changes what the feed-forward part gives, before it is added.
    pub after_feed_forward: Slot<Hidden>,
}

impl SpaceLayer {
    /// The layer of a path, `decoder.layers.0` for the first.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &DecoderConfig,
        space: &MambaConfig,
    ) -> Result<Self, ModelError> {
        let part = |name: &str| format!("{path}.{name}");
        Ok(Self {
            attention_norm: loader.rms_norm(&part("attention_norm"), config.norm_eps, false)?,
            feed_forward_norm: loader.rms_norm(
                &part("feed_forward_norm"),
                config.norm_eps,
                false,
            )?,
            gate: loader.linear(&part("gate"))?,
            up: loader.linear(&part("up"))?,
            down: loader.linear(&part("down"))?,
            mamba: MambaBlock::load(loader, &part("mamba"), space)?,
            before_feed_forward: Slot::new([config.hidden_size]),
            beside_feed_forward: Slot::new([config.hidden_size]),
            after_feed_forward: Slot::new([config.hidden_size]),
        })
    }

    /// `[rows, hidden] -> [rows, hidden]`; `depth` is how many layers were applied before, and `context`
    /// that of rows of tokens.
    ///
    /// # Panics
    /// If the configuration has no state space at this depth.
    pub fn forward(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        config: &DecoderConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let space = config.space_of(depth);
        let space = space.expect("a block with a state space is where the configuration has one");
        let add = |x: Tensor<2>, part: Tensor<2>, what: u64| {
            let place = depth as u64 * 8 + what;
            x + dropped(part, context, config.hidden_dropout, place)
        };
        let read = self.attention_norm.forward(x.clone(), context);
        let mixed = self.mamba.mixed(read, &x, batch, space, depth, context);
        let x = add(x, mixed, 2);
        let wide = self.feed_forward(&x, config, context);
        add(x, wide, 3)
    }

    fn feed_forward(
        &self,
        residual: &Tensor<2>,
        config: &DecoderConfig,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let as_it_is = |x: Tensor<2>, _: Tensor<2>| x;
        let x = self.feed_forward_norm.forward(residual.clone(), context);
        let read = self
            .before_feed_forward
            .through(x, residual, as_it_is, context);
        let gate = self.gate.forward(read.clone(), context);
        let up = self.up.forward(read.clone(), context);
        let x = kernels::gated(gate, up, config.activation);
        let x = self.down.forward(x, context);
        let x = self
            .beside_feed_forward
            .through(x, &read, as_it_is, context);
        self.after_feed_forward
            .through(x, residual, as_it_is, context)
    }
}
