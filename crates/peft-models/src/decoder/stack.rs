use burn::{
    Tensor,
    module::Module,
    tensor::{FloatDType, Int},
};
use peft_core::{AdapterContext, InputRows, Slot, nn::Embedding};

use super::DecoderBlock;
use crate::{
    Before, DecoderConfig, ModelError, PackedBatch,
    loader::Loader,
    parts::{Norm, dropped},
};

/// Places of the dropouts outside of the layers, clear of those inside.
const EMBEDDING_PLACE: u64 = 1 << 40;

/// A decoder over packed rows.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Vectors of the tokens.
    pub embedding: Embedding,
    /// Vectors of the positions (GPT-2).
    pub position: Option<Embedding>,
    /// The layers.
    pub layers: Vec<DecoderBlock>,
    /// Puts rows before the embedded tokens of every sequence.
    pub prompt: Slot<InputRows>,
    /// Norm after the last layer.
    pub norm: Norm,
    /// The architecture.
    #[module(skip)]
    pub config: DecoderConfig,
    /// The type of the computation.
    #[module(skip)]
    dtype: FloatDType,
}

impl Decoder {
    pub(crate) fn load(loader: &mut Loader, config: &DecoderConfig) -> Result<Self, ModelError> {
        Ok(Self {
            embedding: loader.embedding("decoder.embedding")?,
            position: loader.optional("decoder.position", Loader::embedding)?,
            layers: (0..config.layers)
                .map(|depth| DecoderBlock::load(loader, depth, config))
                .collect::<Result<_, _>>()?,
            prompt: Slot::new([config.hidden_size]),
            norm: loader.norm("decoder.norm", config.norm_eps, config.norm)?,
            config: config.clone(),
            dtype: loader.dtype(),
        })
    }

    /// What adapters put before every sequence.
    pub fn before(&self, context: &AdapterContext) -> Before {
        let attentions = self.layers.iter().filter_map(|layer| match layer {
            DecoderBlock::Attention(layer) => Some(&layer.keys_values),
            DecoderBlock::Space(_) => None,
        });
        Before::of(&self.prompt, attentions, context)
    }

    /// What the first block reads, `[rows, hidden]`.
    pub fn embed(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        let scaled = |x: Tensor<2>, scale: f64| if scale == 1.0 { x } else { x * scale };
        let x = self.rows(&self.embedding, batch.ids.clone(), context);
        let x = scaled(x, self.config.embedding_scale);
        let mut x = batch.behind_prompts(x, context, |context| {
            let rows = self.prompt.pass(InputRows::default(), context)?;
            Some(scaled(rows, self.config.prompt_scale()))
        });
        let context = &batch.of_tokens(context);
        if let Some(position) = &self.position {
            x = x + self.rows(position, batch.positions.clone(), context);
        }
        dropped(x, context, self.config.embedding_dropout, EMBEDDING_PLACE)
    }

    /// Rows of a table in the type of the computation.
    fn rows(&self, table: &Embedding, ids: Tensor<1, Int>, context: &AdapterContext) -> Tensor<2> {
        table.forward(ids, context).cast(self.dtype)
    }

    /// The block at a depth, `[rows, hidden] -> [rows, hidden]`.
    pub fn block(
        &self,
        depth: usize,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let context = batch.of_tokens(context);
        self.layers[depth].forward(x, batch, &self.config, depth, &context)
    }
}
