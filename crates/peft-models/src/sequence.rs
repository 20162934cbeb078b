use burn::{
    Tensor,
    module::Module,
    tensor::{Device, activation::relu},
};
use peft_core::{AdapterContext, NameMap, nn::Linear};

use crate::{
    EncoderConfig, Family, HeadState, LoadReport, ModelError, ModelFolder, PackedBatch,
    encoder::{Encoder, Names, dropped},
    loader::Loader,
};

/// Places of the dropouts of the head.
const HEAD_PLACE: u64 = 2 << 40;

/// The head that a task asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSpec {
    /// Number of outputs: labels, or 1 for a regression.
    pub outputs: usize,
    /// Seed of the head's initial values, where the checkpoint has none.
    pub seed: u64,
}

/// An encoder with a head that reads a sequence's first token: HF's
/// `…ForSequenceClassification`.
#[derive(Module, Debug)]
pub struct SequenceModel {
    /// The encoder.
    pub encoder: Encoder,
    /// The pooler of BERT and ALBERT, the dense layer of RoBERTa's and DistilBERT's heads.
    pub dense: Linear,
    /// The outputs, `[hidden, outputs]`.
    pub classifier: Linear,
}

impl SequenceModel {
    /// Read a model on a device; what the checkpoint lacks of a head is made afresh.
    ///
    /// # Errors
    /// If tensors are missing or of the wrong shape, or the checkpoint's head has another number of
    /// outputs.
    pub fn load(
        folder: &ModelFolder,
        head: &HeadSpec,
        device: &Device,
    ) -> Result<(Self, LoadReport), ModelError> {
        let config = folder.config();
        let names = Names::of(config.family);
        if let HeadState::Present { outputs, .. } = folder.head()
            && outputs != head.outputs
        {
            return Err(ModelError::Head {
                path: folder.path().to_owned(),
                problem: format!(
                    "its head has {outputs} outputs, but the task needs {}",
                    head.outputs
                ),
                fix: "use a checkpoint without a head, or data with the head's labels".into(),
            });
        }
        let mut loader = Loader::new(folder, device, head.seed, config.initializer_range);
        let hidden = config.hidden_size;
        let encoder = Encoder::load(&mut loader, config, &names)?;
        let dense = loader.head(&names.head_dense, hidden, hidden)?;
        let classifier = loader.head(&names.classifier, hidden, head.outputs)?;
        let report = loader.finish()?;
        Ok((
            Self {
                encoder,
                dense,
                classifier,
            },
            report,
        ))
    }

    /// The architecture.
    pub fn config(&self) -> &EncoderConfig {
        &self.encoder.config
    }

    /// The map between this model's paths and the checkpoint's names.
    pub fn names(&self) -> NameMap {
        Names::of(self.config().family).map()
    }

    /// The modules of the head, by the checkpoint's names: what PEFT saves in full.
    pub fn head_modules(&self) -> &'static [&'static str] {
        Names::of(self.config().family).head_modules
    }

    /// Scores of the sequences, `[sequences, outputs]`, each through the adapters that the
    /// [batch](PackedBatch::with_adapters) chooses for it, or through those that are active.
    pub fn forward(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        self.scores(self.encoder.forward(batch, context), batch, context)
    }

    /// The head: `[rows, hidden]` of all tokens to `[sequences, outputs]`.
    pub(crate) fn scores(
        &self,
        hidden: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let first = hidden.select(0, batch.rows.first_rows());
        let context = &batch.of_sequences(context);
        let config = self.config();
        let drop = |x, place| dropped(x, context, config.head_dropout, HEAD_PLACE + place);
        let first = match config.family {
            Family::Roberta => drop(first, 0),
            _ => first,
        };
        let dense = self.dense.forward(first, context);
        let dense = match config.family {
            Family::DistilBert => relu(dense),
            _ => dense.tanh(),
        };
        self.classifier.forward(drop(dense, 1), context)
    }
}
