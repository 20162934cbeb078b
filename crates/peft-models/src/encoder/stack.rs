use burn::{Tensor, module::Module};
use peft_core::{
    AdapterContext, InputRows, Slot,
    nn::{Embedding, Linear},
};

use super::{EncoderLayer, Relative};
use crate::{
    Before, EncoderConfig, ModelError, PackedBatch,
    loader::Loader,
    parts::{LayerNorm, dropped, in_order, lookup},
};

/// Places of the dropouts outside of the layers, clear of those inside.
const EMBEDDING_PLACE: u64 = 1 << 40;

/// An encoder of the BERT family over packed rows.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Vectors of the tokens.
    pub word: Embedding,
    /// Vectors of the positions.
    pub position: Option<Embedding>,
    /// Vectors of the segments.
    pub token_type: Option<Embedding>,
    /// Norm of the embeddings.
    pub embedding_norm: LayerNorm,
    /// From the width of the embeddings to that of the model, where they differ (ALBERT, ELECTRA).
    pub projection: Option<Linear>,
    /// The table of the distances of tokens (MPNet, DeBERTa).
    pub relative: Option<Relative>,
    /// The distinct layers.
    pub layers: Vec<EncoderLayer>,
    /// Puts rows before the embedded tokens of every sequence.
    pub prompt: Slot<InputRows>,
    /// Norm after the last layer (ModernBERT), which the head applies to the rows that it reads.
    pub norm: Option<LayerNorm>,
    /// The architecture.
    #[module(skip)]
    pub config: EncoderConfig,
}

impl Encoder {
    pub(crate) fn load(loader: &mut Loader, config: &EncoderConfig) -> Result<Self, ModelError> {
        let eps = config.layer_norm_eps;
        let layer = |loader: &mut Loader, index: usize| {
            EncoderLayer::load(loader, &format!("encoder.layers.{index}"), config)
        };
        Ok(Self {
            word: loader.embedding("encoder.word")?,
            position: loader.optional("encoder.position", Loader::embedding)?,
            token_type: loader.optional("encoder.token_type", Loader::embedding)?,
            embedding_norm: loader.layer_norm("encoder.embedding_norm", eps)?,
            projection: loader.optional("encoder.projection", Loader::linear)?,
            relative: Relative::load(loader, "encoder.relative", config)?,
            layers: (0..config.distinct_layers)
                .map(|index| layer(loader, index))
                .collect::<Result<_, _>>()?,
            prompt: Slot::new([config.embedding_size]),
            norm: loader.optional("encoder.norm", |loader, path| loader.layer_norm(path, eps))?,
            config: config.clone(),
        })
    }

    /// The last hidden states of all tokens, `[rows, hidden]`.
    pub fn forward(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        let batch = &*batch.prepared(context, |context| self.before(context));
        self.normed(self.rows(batch, context), &batch.of_tokens(context))
    }

    /// What the last block gives, `[rows, hidden]`.
    pub(super) fn rows(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        (0..self.config.layers).fold(self.embed(batch, context), |x, depth| {
            self.block(depth, x, batch, context)
        })
    }

    /// The norm after the last layer, if there is one, of rows that go through the adapters of `context`.
    pub(super) fn normed(&self, x: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        match &self.norm {
            Some(norm) => norm.forward(x, context),
            None => x,
        }
    }

    /// What adapters put before every sequence. Prefixes take no positions here: what sees the whole sequence at once has none
    /// before it, as in AdapterHub's library.
    pub fn before(&self, context: &AdapterContext) -> Before {
        Before::of(&self.prompt, std::iter::empty(), context)
    }

    /// What the first block reads, `[rows, hidden]`.
    pub fn embed(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        let words = match batch.has_prompts() {
            false => lookup(&self.word, batch.ids.clone(), context),
            true => {
                let tokens = self.word.forward(batch.ids.clone(), context);
                let rows = batch.behind_prompts(tokens, context, |context| {
                    self.prompt.pass(InputRows::default(), context)
                });
                in_order(rows)
            }
        };
        let context = &batch.of_tokens(context);
        let token_type = self.token_type.as_ref().map(|token_type| {
            let every_token_is_of_the_first = || Tensor::zeros([1], &batch.ids.device());
            let ids = batch.type_ids.clone();
            let ids = ids.unwrap_or_else(every_token_is_of_the_first);
            lookup(token_type, ids, context)
        });
        let x = self.embedding_norm.forward_embeddings(
            words,
            self.position
                .as_ref()
                .map(|table| lookup(table, batch.positions.clone(), context)),
            token_type,
            context,
        );
        let x = dropped(x, context, self.config.hidden_dropout, EMBEDDING_PLACE);
        match &self.projection {
            Some(projection) => projection.forward(x, context),
            None => x,
        }
    }

    /// One of the `config.layers` blocks, `[rows, hidden] -> [rows, hidden]`. Blocks may share their
    /// parameters (ALBERT's do).
    pub fn block(
        &self,
        depth: usize,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let layer = &self.layers[depth % self.layers.len()];
        let passes = depth / self.layers.len();
        let context = batch.of_tokens(context).after_passes(passes as u64);
        let relative = self.relative.as_ref();
        layer.forward(x, batch, relative, &self.config, depth, &context)
    }
}
