use burn::Tensor;
use peft_core::AdapterContext;

use super::{DecoderLayer, SpaceLayer};
use crate::{DecoderConfig, ModelError, PackedBatch, loader::Loader, transparent::transparent};

/// A block of a decoder.
#[derive(Debug, Clone)]
pub enum DecoderBlock {
    /// Attention and feed-forward part.
    Attention(DecoderLayer),
    /// State space and feed-forward part.
    Space(SpaceLayer),
}

transparent!(DecoderBlock { Attention, Space });

impl DecoderBlock {
    /// The block at a depth.
    pub(crate) fn load(
        loader: &mut Loader,
        depth: usize,
        config: &DecoderConfig,
    ) -> Result<Self, ModelError> {
        let path = format!("decoder.layers.{depth}");
        Ok(match config.space_of(depth) {
            Some(space) => Self::Space(SpaceLayer::load(loader, &path, config, space)?),
            None => Self::Attention(DecoderLayer::load(loader, &path, config)?),
        })
    }

    /// `[rows, hidden] -> [rows, hidden]`; `depth` is how many layers were applied before, and `context`
    /// that of rows of tokens.
    pub fn forward(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        config: &DecoderConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        match self {
            Self::Attention(layer) => layer.forward(x, batch, config, depth, context),
            Self::Space(layer) => layer.forward(x, batch, config, depth, context),
        }
    }
}
