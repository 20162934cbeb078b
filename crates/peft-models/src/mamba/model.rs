use std::sync::Arc;

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, FloatDType},
};
use peft_core::{
    AdapterContext, InputRows, Output, Slot,
    nn::{Embedding, Linear},
};

use super::MambaLayer;
use crate::{
    Before, Description, HeadKind, LoadReport, MambaConfig, ModelConfig, ModelError, ModelFolder,
    Network, PackedBatch,
    loader::Loader,
    parts::{RmsNorm, language_head},
};

/// A stack of state spaces over packed rows, each sequence of which starts from a state of zeros.
#[derive(Module, Debug)]
pub struct Mamba {
    /// Vectors of the tokens.
    pub embedding: Embedding,
    /// The blocks.
    pub layers: Vec<MambaLayer>,
    /// Puts rows before the embedded tokens of every sequence.
    pub prompt: Slot<InputRows>,
    /// Norm after the last block.
    pub norm: RmsNorm,
    /// The architecture.
    #[module(skip)]
    pub config: MambaConfig,
    /// The type of the computation.
    #[module(skip)]
    dtype: FloatDType,
}

/// A stack of state spaces with the head that predicts the next token: HF's `MambaForCausalLM`, `Mamba2ForCausalLM` and
/// `FalconMambaForCausalLM`.
#[derive(Module, Debug)]
pub struct MambaModel {
    /// The stack.
    pub backbone: Mamba,
    /// The logits, `[hidden, vocabulary]`; none where the table of the tokens gives them.
    pub head: Option<Linear>,
    /// What it is made of.
    #[module(skip)]
    description: Arc<Description>,
}

impl MambaModel {
    /// Read a model on a device.
    ///
    /// # Errors
    /// If tensors are missing or of the wrong shape, or the folder holds no Mamba.
    pub fn load(folder: &ModelFolder, device: &Device) -> Result<(Self, LoadReport), ModelError> {
        let ModelConfig::Mamba(config) = folder.config() else {
            return Err(ModelError::Head {
                path: folder.path().to_owned(),
                problem: format!("`{}` is no Mamba", folder.config().model_type()),
                fix: "load it as a model of any kind".into(),
            });
        };
        let description = Arc::new(folder.describe(HeadKind::Language)?);
        // Nothing is made afresh: no seed is used.
        let mut loader = Loader::new(folder, &description, device, 0);
        let backbone = Mamba {
            embedding: loader.embedding("backbone.embedding")?,
            layers: (0..config.layers)
                .map(|index| {
                    MambaLayer::load(&mut loader, &format!("backbone.layers.{index}"), config)
                })
                .collect::<Result<_, _>>()?,
            prompt: Slot::new([config.hidden_size]),
            norm: loader.rms_norm("backbone.norm", config.norm_eps, false)?,
            config: config.clone(),
            dtype: loader.dtype(),
        };
        let head = loader.optional("head", Loader::linear)?;
        let report = loader.finish()?;
        let model = Self {
            backbone,
            head,
            description,
        };
        Ok((model, report))
    }

    /// The architecture.
    pub fn config(&self) -> &MambaConfig {
        &self.backbone.config
    }
}

impl Network for MambaModel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn before(&self, context: &AdapterContext) -> Before {
        Before::of(&self.backbone.prompt, std::iter::empty(), context)
    }

    fn embed(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        let rows = self.backbone.embedding.forward(batch.ids.clone(), context);
        let rows = rows.cast(self.backbone.dtype);
        batch.behind_prompts(rows, context, |context| {
            self.backbone.prompt.pass(InputRows::default(), context)
        })
    }

    fn block(
        &self,
        depth: usize,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let context = batch.of_tokens(context);
        self.backbone.layers[depth].forward(x, batch, self.config(), depth, &context)
    }

    fn output(&self, hidden: Tensor<2>, batch: &PackedBatch, context: &AdapterContext) -> Output {
        let (hidden, context) = batch.to_predict(hidden, context);
        let hidden = self.backbone.norm.forward(hidden, &context);
        let head = language_head(self.head.as_ref(), &self.backbone.embedding, context);
        Output::tokens(hidden, head)
    }
}
