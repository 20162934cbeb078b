use std::sync::Arc;

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, activation::relu},
};
use peft_core::{
    AdapterContext, NameMap,
    kernels::{self, GeluKind},
    nn::Linear,
};

use super::Encoder;
use crate::{
    Before, Description, EncoderConfig, Family, HeadKind, LoadReport, ModelConfig, ModelError,
    ModelFolder, Network, Output, PackedBatch, loader::Loader, parts::dropped,
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
    /// The pooler of BERT and ALBERT, the dense layer of the heads of RoBERTa, DistilBERT and ELECTRA.
    pub dense: Linear,
    /// The outputs, `[hidden, outputs]`.
    pub classifier: Linear,
    /// What it is made of.
    #[module(skip)]
    description: Arc<Description>,
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
        let ModelConfig::Encoder(config) = folder.config() else {
            return Err(ModelError::Head {
                path: folder.path().to_owned(),
                problem: format!("`{}` is no encoder", folder.config().model_type()),
                fix: "load it as a model of any kind".into(),
            });
        };
        folder.head().expect_outputs(folder.path(), head.outputs)?;
        let outputs = head.outputs;
        let description = folder.describe(HeadKind::Sequence { outputs })?;
        let mut loader = Loader::new(folder, &description, device, head.seed);
        let encoder = Encoder::load(&mut loader, config)?;
        let dense = loader.linear("dense")?;
        let classifier = loader.linear("classifier")?;
        let report = loader.finish()?;
        let description = Arc::new(description);
        let model = Self {
            encoder,
            dense,
            classifier,
            description,
        };
        Ok((model, report))
    }

    /// A model of given parts.
    ///
    /// # Panics
    /// If the classifier is not `[hidden, outputs]`.
    pub fn new(encoder: Encoder, dense: Linear, classifier: Linear) -> Self {
        let [hidden, outputs] = classifier.weight.dims();
        assert_eq!(
            hidden, encoder.config.hidden_size,
            "inputs of the classifier"
        );
        let config = ModelConfig::Encoder(encoder.config.clone());
        let description = Description::new(&config, HeadKind::Sequence { outputs });
        Self {
            encoder,
            dense,
            classifier,
            description: Arc::new(description.expect("an encoder can score sequences")),
        }
    }

    /// The architecture.
    pub fn config(&self) -> &EncoderConfig {
        &self.encoder.config
    }

    /// The map between this model's paths and the checkpoint's names.
    pub fn names(&self) -> NameMap {
        self.description.names()
    }

    /// The modules of the head, by the checkpoint's names: what PEFT saves in full.
    pub fn head_modules(&self) -> &'static [&'static str] {
        self.description.head_modules
    }

    /// Scores of the sequences, `[sequences, outputs]`, each through the adapters that the
    /// [batch](PackedBatch::with_adapters) chooses for it, or through those that are active.
    pub fn forward(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        let batch = &*self.prepared(batch, context);
        self.scores(self.encoder.forward(batch, context), batch, context)
    }

    /// The head: `[rows, hidden]` of all tokens to `[sequences, outputs]`.
    fn scores(
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
            Family::Roberta | Family::Electra => drop(first, 0),
            _ => first,
        };
        let dense = self.dense.forward(first, context);
        let dense = match config.family {
            Family::DistilBert => relu(dense),
            Family::Electra => kernels::gelu(dense, GeluKind::Erf),
            _ => dense.tanh(),
        };
        self.classifier.forward(drop(dense, 1), context)
    }
}

impl Network for SequenceModel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn before(&self, context: &AdapterContext) -> Before {
        self.encoder.before(context)
    }

    fn embed(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        self.encoder.embed(batch, context)
    }

    fn block(
        &self,
        depth: usize,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        self.encoder.block(depth, x, batch, context)
    }

    fn output(&self, hidden: Tensor<2>, batch: &PackedBatch, context: &AdapterContext) -> Output {
        Output::Scores(self.scores(hidden, batch, context))
    }
}
