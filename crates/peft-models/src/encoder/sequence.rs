use std::sync::Arc;

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, TensorData},
};
use peft_core::{AdapterContext, NameMap, nn::Linear};

use super::Encoder;
use crate::{
    Before, Description, EncoderConfig, Family, HeadKind, LoadReport, ModelConfig, ModelError,
    ModelFolder, Network, Output, PackedBatch, Pooling,
    loader::Loader,
    parts::{LayerNorm, activated, dropped},
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

/// An encoder with a head that reads a sequence's first token, HF's `…ForSequenceClassification`, or every token,
/// `…ForTokenClassification`.
#[derive(Module, Debug)]
pub struct SequenceModel {
    /// The encoder.
    pub encoder: Encoder,
    /// The pooler of BERT, ALBERT and DeBERTa, the dense layer of the heads of the others; none where tokens are scored, but
    /// in ModernBERT.
    pub dense: Option<Linear>,
    /// Norm behind it (ModernBERT).
    pub norm: Option<LayerNorm>,
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
        let outputs = head.outputs;
        Self::load_with(folder, HeadKind::Sequence { outputs }, head.seed, device)
    }

    /// As [`load`](Self::load), with a head that scores sequences or tokens.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if the head is neither.
    pub fn load_with(
        folder: &ModelFolder,
        head: HeadKind,
        seed: u64,
        device: &Device,
    ) -> Result<(Self, LoadReport), ModelError> {
        let ModelConfig::Encoder(config) = folder.config() else {
            return Err(ModelError::Head {
                path: folder.path().to_owned(),
                problem: format!("`{}` is no encoder", folder.config().model_type()),
                fix: "load it as a model of any kind".into(),
            });
        };
        let description = folder.describe(head)?;
        if let HeadKind::Sequence { outputs } | HeadKind::Tokens { outputs } = head {
            folder
                .head_for(head)
                .expect_outputs(folder.path(), outputs)?;
        }
        let mut loader = Loader::new(folder, &description, device, seed);
        let encoder = Encoder::load(&mut loader, config)?;
        let dense = loader.optional("dense", Loader::linear)?;
        let eps = config.layer_norm_eps;
        let norm = loader.optional("norm", |loader, path| loader.layer_norm(path, eps))?;
        let classifier = loader.linear("classifier")?;
        let report = loader.finish()?;
        let description = Arc::new(description);
        let model = Self {
            encoder,
            dense,
            norm,
            classifier,
            description,
        };
        Ok((model, report))
    }

    /// A model of given parts.
    ///
    /// # Panics
    /// If the classifier is not `[hidden, outputs]`, or the family's head has a norm.
    pub fn new(encoder: Encoder, dense: Linear, classifier: Linear) -> Self {
        let [hidden, outputs] = classifier.weight.dims();
        assert_eq!(
            hidden, encoder.config.hidden_size,
            "inputs of the classifier"
        );
        assert!(encoder.norm.is_none(), "heads behind a norm are loaded");
        let config = ModelConfig::Encoder(encoder.config.clone());
        let description = Description::new(&config, HeadKind::Sequence { outputs });
        Self {
            encoder,
            dense: Some(dense),
            norm: None,
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

    /// Scores of the sequences, `[sequences, outputs]`, or of their tokens, `[tokens, outputs]`, each through the adapters that the
    /// [batch](PackedBatch::with_adapters) chooses for it, or through those that are active.
    pub fn forward(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        let batch = &*self.prepared(batch, context);
        self.scores(self.encoder.rows(batch, context), batch, context)
    }

    /// The head: `[rows, hidden]` of all tokens to `[sequences, outputs]`, or `[tokens, outputs]`.
    fn scores(
        &self,
        hidden: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        if let HeadKind::Tokens { .. } = self.description.head {
            let (rows, context) = batch.to_predict(hidden, context);
            let rows = self.encoder.normed(rows, &context);
            return self.scores_of(rows, &context);
        }
        let of_sequences = batch.of_sequences(context);
        let pooled = match self.config().pooling {
            Pooling::First => {
                let first = hidden.select(0, batch.rows.first_rows());
                self.encoder.normed(first, &of_sequences)
            }
            Pooling::Mean => {
                let rows = self.encoder.normed(hidden, &batch.of_tokens(context));
                means(rows, batch)
            }
        };
        self.scores_of(pooled, &of_sequences)
    }

    /// Scores of rows, `[rows, hidden]` to `[rows, outputs]`.
    fn scores_of(&self, rows: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        let config = self.config();
        let drop = |x, probability, place| dropped(x, context, probability, HEAD_PLACE + place);
        let before_dense = match config.family {
            Family::Roberta | Family::Electra | Family::MpNet => config.head_dropout,
            _ => config.pooler_dropout,
        };
        let rows = match &self.dense {
            Some(dense) => {
                let rows = drop(rows, before_dense, 0);
                activated(dense.forward(rows, context), config.head_activation)
            }
            None => rows,
        };
        let rows = match &self.norm {
            Some(norm) => norm.forward(rows, context),
            None => rows,
        };
        let last = match (self.description.head, config.family) {
            // Their heads of tokens have the dropout of the encoder.
            (HeadKind::Tokens { .. }, Family::DistilBert | Family::DebertaV2) => {
                config.hidden_dropout
            }
            _ => config.head_dropout,
        };
        self.classifier.forward(drop(rows, last, 1), context)
    }
}

/// Means of the rows of each sequence, `[sequences, width]`.
fn means(x: Tensor<2>, batch: &PackedBatch) -> Tensor<2> {
    let starts = batch.rows.starts();
    let [sequences, rows] = [batch.rows.len(), batch.rows.rows()];
    let mut shares = vec![0.0; sequences * rows];
    for (line, span) in shares.chunks_exact_mut(rows).zip(starts.windows(2)) {
        line[span[0]..span[1]].fill(1.0 / (span[1] - span[0]) as f64);
    }
    let shares = TensorData::new(shares, [sequences, rows]).convert_dtype(x.dtype());
    Tensor::<2>::from_data(shares, (&x.device(), x.dtype())).matmul(x)
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
