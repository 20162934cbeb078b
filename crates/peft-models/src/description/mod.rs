//! What an architecture is made of: the one place that says it.
//!
//! A [`Description`] follows from a configuration and the head that is asked for. Everything that has
//! to know a model's parts reads it: loading, names, layouts, default targets, estimates, and what
//! walks the blocks.

mod block;
mod decoder;
mod encoder;
mod layout;
mod mamba;
mod modernbert;
mod names;
mod part;
mod targets;

pub use block::{BlockDescription, Flow, InputSlot, SlotPart};
pub use layout::ModelLayout;
pub use part::{Part, PartKind, Role};

use crate::{ModelConfig, PackedInput};

/// What files call the head of a language model, which is the table of its tokens in some.
pub(crate) const LANGUAGE_HEAD: &str = "lm_head";

/// Slots of a block of attention and feed-forward part.
fn attention_slots(hidden: usize, key_value: usize) -> Vec<SlotPart> {
    let slots = [
        ("before_attention", hidden),
        ("keys_values", key_value),
        ("after_attention", hidden),
    ];
    let slots = slots
        .into_iter()
        .map(|(name, width)| SlotPart::new(name, &[width]));
    slots.chain(feed_forward_slots(hidden)).collect()
}

/// Slots of a feed-forward part.
fn feed_forward_slots(hidden: usize) -> [SlotPart; 3] {
    ["before", "beside", "after"]
        .map(|place| SlotPart::new(&format!("{place}_feed_forward"), &[hidden]))
}

/// The head that a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadKind {
    /// Scores of a sequence: HF's `…ForSequenceClassification`.
    Sequence {
        /// Number of outputs: labels, or 1 for a regression.
        outputs: usize,
    },
    /// Scores of every token: HF's `…ForTokenClassification`.
    Tokens {
        /// Number of outputs: labels.
        outputs: usize,
    },
    /// Logits of the token after each: HF's `…ForCausalLM`.
    Language,
}

/// What a model is made of: its parts in the model's order, their names on both sides, and the blocks
/// they form.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// `model_type` of the configuration.
    pub model_type: String,
    /// What HF's classes of the family begin with, such as `Bert`.
    pub class: String,
    /// Endings of classes, and HF's names of those that do not begin so.
    pub(crate) classes: &'static [(&'static str, &'static str)],
    /// Prefix that checkpoints of the bare model leave out.
    pub prefix: String,
    /// The head.
    pub head: HeadKind,
    /// What batches must keep to.
    pub input: PackedInput,
    /// Width of the hidden rows.
    pub hidden_size: usize,
    /// Parts before the blocks.
    pub before: Vec<Part>,
    /// The distinct blocks.
    pub blocks: Vec<BlockDescription>,
    /// How many blocks are applied: more than there are distinct ones where they share their parameters
    /// (ALBERT).
    pub depth: usize,
    /// The slot of the embedded input, which comes behind the blocks.
    pub prompt: InputSlot,
    /// Parts after the blocks, those of the head last.
    pub after: Vec<Part>,
    /// What messages call the module that makes the first hidden rows.
    pub embeddings: String,
    /// Modules of the head, by their last names: `all-linear` passes over them, and those of a sequence's
    /// head are trained and saved in full.
    pub head_modules: &'static [&'static str],
    /// Endings of names, and what old checkpoints have instead.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Pieces of names of tensors that serve no model of this kind.
    pub(crate) passed_over: &'static [&'static str],
}

impl Description {
    /// The description of a configuration's model with a head.
    ///
    /// # Errors
    /// What cannot be had: a kind of model has no such head.
    pub fn new(config: &ModelConfig, head: HeadKind) -> Result<Self, String> {
        match config {
            ModelConfig::Encoder(config) => encoder::describe(config, head),
            ModelConfig::Decoder(config) => decoder::describe(config, head),
            ModelConfig::Mamba(config) => mamba::describe(config, head),
        }
    }

    /// The block at a depth.
    pub fn block(&self, depth: usize) -> &BlockDescription {
        &self.blocks[depth % self.blocks.len()]
    }

    /// All parts with whole paths and names, in the model's order, and the distinct block each belongs to.
    pub fn parts(&self) -> impl Iterator<Item = (Option<usize>, Part)> + '_ {
        fn outside(parts: &[Part]) -> impl Iterator<Item = (Option<usize>, Part)> + '_ {
            parts.iter().map(|part| (None, part.clone()))
        }
        let blocks = self.blocks.iter().enumerate();
        let blocks = blocks.flat_map(|(place, block)| {
            let parts = block.parts.iter();
            parts.map(move |part| (Some(place), block.whole(part)))
        });
        outside(&self.before)
            .chain(blocks)
            .chain(outside(&self.after))
    }

    /// Names of the modules that are made where the checkpoint has none.
    pub fn heads(&self) -> impl Iterator<Item = &str> {
        let heads = self.after.iter().filter(|part| part.head);
        heads.map(|part| part.name.as_str())
    }

    /// Modules that are trained and saved in full with an adapter, as PEFT does for the task: those of the head
    /// of a sequence or of its words, and none where tokens are predicted.
    pub fn modules_to_save(&self) -> &'static [&'static str] {
        match self.head {
            HeadKind::Sequence { .. } | HeadKind::Tokens { .. } => self.head_modules,
            HeadKind::Language => &[],
        }
    }

    /// What messages call the module that gives the outputs; the embeddings where they are tied.
    pub fn output(&self) -> &str {
        let last = self.after.iter().rfind(|part| part.role == Role::Head);
        last.map_or(&self.embeddings, |part| &part.name)
    }

    /// HF's name of the class with an ending: `Model`, `ForSequenceClassification`, `ForCausalLM`.
    pub fn class_name(&self, ending: &str) -> String {
        let own = self.classes.iter().find(|(known, _)| *known == ending);
        own.map_or_else(
            || format!("{}{ending}", self.class),
            |(_, class)| (*class).into(),
        )
    }
}
