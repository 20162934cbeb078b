use burn::{Tensor, tensor::Device};
use peft_core::AdapterContext;

use crate::{
    Before, DecoderModel, Description, HeadKind, LoadReport, MambaModel, ModelConfig, ModelError,
    ModelFolder, Network, Output, PackedBatch, RopeConfig, SequenceCache, SequenceModel,
    transparent::transparent,
};

/// A model of any kind.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one model, and its tensors are handles"
)]
#[derive(Debug, Clone)]
pub enum Model {
    /// An encoder that scores sequences, or their tokens.
    Encoder(SequenceModel),
    /// A decoder that predicts the next token, or scores sequences.
    Decoder(DecoderModel),
    /// A stack of state spaces that predicts the next token.
    Mamba(MambaModel),
}

transparent!(Model {
    Encoder,
    Decoder,
    Mamba
});

impl Model {
    /// Read a folder's model with a head on a device; what the checkpoint lacks of a head that scores
    /// sequences is made afresh, by a seed.
    ///
    /// # Errors
    /// If tensors are missing or of the wrong shape, the checkpoint's head has another number of
    /// outputs, or a model of this kind has no such head.
    pub fn load(
        folder: &ModelFolder,
        head: HeadKind,
        seed: u64,
        device: &Device,
    ) -> Result<(Self, LoadReport), ModelError> {
        match (folder.config(), head) {
            (ModelConfig::Encoder(_), HeadKind::Sequence { .. } | HeadKind::Tokens { .. }) => {
                let (model, report) = SequenceModel::load_with(folder, head, seed, device)?;
                Ok((Self::Encoder(model), report))
            }
            (ModelConfig::Mamba(_), HeadKind::Language) => {
                let (model, report) = MambaModel::load(folder, device)?;
                Ok((Self::Mamba(model), report))
            }
            (ModelConfig::Decoder(_), _) => {
                let (model, report) = DecoderModel::load(folder, head, seed, device)?;
                Ok((Self::Decoder(model), report))
            }
            // No such head: the description says so.
            _ => Err(match folder.describe(head) {
                Err(error) => error,
                Ok(_) => ModelError::Head {
                    path: folder.path().to_owned(),
                    problem: "a model of this kind has no such head".into(),
                    fix: "choose another task".into(),
                },
            }),
        }
    }

    /// Whether a sequence must be computed anew from its first token when it comes to have `length` tokens,
    /// because the rotary positions of all of them become other ones than those in the cache.
    pub fn must_restart(&self, cache: &SequenceCache, length: usize) -> bool {
        let Self::Decoder(model) = self else {
            return false;
        };
        let switches = model
            .config()
            .ropes
            .iter()
            .filter_map(RopeConfig::switches_beyond);
        let mut crossed = switches.map(|at| cache.reach() <= at && length > at);
        !cache.is_empty() && crossed.any(|crossed| crossed)
    }
}

macro_rules! each {
    ($model:expr, $inner:ident => $value:expr) => {
        match $model {
            Self::Encoder($inner) => $value,
            Self::Decoder($inner) => $value,
            Self::Mamba($inner) => $value,
        }
    };
}

impl Network for Model {
    fn description(&self) -> &Description {
        each!(self, model => model.description())
    }

    fn before(&self, context: &AdapterContext) -> Before {
        each!(self, model => model.before(context))
    }

    fn embed(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        each!(self, model => model.embed(batch, context))
    }

    fn block(
        &self,
        depth: usize,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        each!(self, model => model.block(depth, x, batch, context))
    }

    fn output(&self, hidden: Tensor<2>, batch: &PackedBatch, context: &AdapterContext) -> Output {
        each!(self, model => model.output(hidden, batch, context))
    }
}
