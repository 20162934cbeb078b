use burn::Tensor;
use peft_core::AdapterContext;

use super::{Mamba2Block, MambaBlock};
use crate::{
    MambaConfig, ModelError, PackedBatch, StateSpace, loader::Loader, transparent::transparent,
};

/// A block of a state-space model.
#[expect(
    clippy::large_enum_variant,
    reason = "there are as many as a model has blocks, and their tensors are handles"
)]
#[derive(Debug, Clone)]
pub enum MambaLayer {
    /// A selective state space.
    Selective(MambaBlock),
    /// One in its dual form.
    Dual(Mamba2Block),
}

transparent!(MambaLayer { Selective, Dual });

impl MambaLayer {
    /// The block of a path, `backbone.layers.0` for the first.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &MambaConfig,
    ) -> Result<Self, ModelError> {
        Ok(match config.space {
            StateSpace::Selective { .. } => {
                Self::Selective(MambaBlock::load(loader, path, config)?)
            }
            StateSpace::Dual { .. } => Self::Dual(Mamba2Block::load(loader, path, config)?),
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
        match self {
            Self::Selective(block) => block.forward(x, batch, config, depth, context),
            Self::Dual(block) => block.forward(x, batch, config, depth, context),
        }
    }
}
