use burn::Tensor;
use peft_core::AdapterContext;

use super::{Layer, Relative};
use crate::{
    DecoderLayer, EncoderConfig, ModelError, PackedBatch, loader::Loader, transparent::transparent,
};

/// A block of an encoder.
#[expect(
    clippy::large_enum_variant,
    reason = "a model has a few dozen, and their tensors are handles"
)]
#[derive(Debug, Clone)]
pub enum EncoderLayer {
    /// Attention and feed-forward part, each followed by residual and norm.
    PostNorm(Layer),
    /// Each after a norm and before the residual (ModernBERT).
    PreNorm(DecoderLayer),
}

transparent!(EncoderLayer { PostNorm, PreNorm });

impl EncoderLayer {
    /// The layer of a path, `encoder.layers.0` for the first.
    pub(crate) fn load(
        loader: &mut Loader,
        path: &str,
        config: &EncoderConfig,
    ) -> Result<Self, ModelError> {
        match &config.blocks {
            Some(blocks) => DecoderLayer::load(loader, path, blocks).map(Self::PreNorm),
            None => Layer::load(loader, path, config).map(Self::PostNorm),
        }
    }

    /// `[rows, hidden] -> [rows, hidden]`; `depth` is how many layers were applied before, and `context` that of rows of
    /// tokens.
    pub fn forward(
        &self,
        x: Tensor<2>,
        batch: &PackedBatch,
        relative: Option<&Relative>,
        config: &EncoderConfig,
        depth: usize,
        context: &AdapterContext,
    ) -> Tensor<2> {
        match (self, &config.blocks) {
            (Self::PostNorm(layer), _) => layer.forward(x, batch, relative, config, depth, context),
            (Self::PreNorm(layer), Some(blocks)) => layer.forward(x, batch, blocks, depth, context),
            (Self::PreNorm(_), None) => unreachable!("pre-norm blocks have their configuration"),
        }
    }
}
