use std::sync::Arc;

use burn::{Tensor, module::Module, tensor::Device};
use peft_core::{AdapterContext, Output, nn::Linear};

use super::Decoder;
use crate::{
    Before, DecoderConfig, Description, HeadKind, LoadReport, ModelConfig, ModelError, ModelFolder,
    Network, PackedBatch, loader::Loader, parts::language_head,
};

/// A decoder with a head: HF's `…ForCausalLM`, or its `…ForSequenceClassification`, which reads a
/// sequence's last token.
#[derive(Module, Debug)]
pub struct DecoderModel {
    /// The decoder.
    pub decoder: Decoder,
    /// The outputs, `[hidden, outputs]`; none where the table of the tokens gives the logits.
    pub head: Option<Linear>,
    /// What it is made of.
    #[module(skip)]
    description: Arc<Description>,
}

impl DecoderModel {
    /// Read a model on a device; a score that the checkpoint lacks is made afresh, by a seed.
    ///
    /// # Errors
    /// If tensors are missing or of the wrong shape, the checkpoint's head has another number of
    /// outputs, or the folder holds no decoder.
    pub fn load(
        folder: &ModelFolder,
        head: HeadKind,
        seed: u64,
        device: &Device,
    ) -> Result<(Self, LoadReport), ModelError> {
        let ModelConfig::Decoder(config) = folder.config() else {
            return Err(ModelError::Head {
                path: folder.path().to_owned(),
                problem: format!("`{}` is no decoder", folder.config().model_type()),
                fix: "load it as a model of any kind".into(),
            });
        };
        if let HeadKind::Sequence { outputs } = head {
            folder.head().expect_outputs(folder.path(), outputs)?;
        }
        let description = Arc::new(folder.describe(head)?);
        let mut loader = Loader::new(folder, &description, device, seed);
        let decoder = Decoder::load(&mut loader, config)?;
        let head = loader.optional("head", Loader::linear)?;
        let report = loader.finish()?;
        let model = Self {
            decoder,
            head,
            description,
        };
        Ok((model, report))
    }

    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.decoder.config
    }
}

impl Network for DecoderModel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn before(&self, context: &AdapterContext) -> Before {
        self.decoder.before(context)
    }

    fn embed(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        self.decoder.embed(batch, context)
    }

    fn block(
        &self,
        depth: usize,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        self.decoder.block(depth, x, batch, context)
    }

    fn output(&self, hidden: Tensor<2>, batch: &PackedBatch, context: &AdapterContext) -> Output {
        let config = self.config();
        if let (HeadKind::Sequence { .. }, Some(score)) = (self.description.head, &self.head) {
            // Only the rows that are read: a norm goes row by row.
            let context = &batch.of_sequences(context);
            let last = hidden.select(0, batch.last_rows());
            let last = self.decoder.norm.forward(last, context);
            return Output::Scores(score.forward(last, context));
        }
        let (hidden, context) = batch.to_predict(hidden, context);
        let hidden = self.decoder.norm.forward(hidden, &context);
        let head = language_head(self.head.as_ref(), &self.decoder.embedding, context);
        let head = head.with_scale(1.0 / config.logits_divisor);
        Output::tokens(hidden, head.with_softcap(config.logits_softcap))
    }
}
