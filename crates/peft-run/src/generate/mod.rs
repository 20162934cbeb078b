//! Texts that a language model goes on with.
//!
//! [`GeneratorModel`] opens a model with its adapters, [`GenerationConfig`] says how tokens are chosen, and a
//! [`Generator`] goes on with prompts: several at a time, of unequal lengths and without padding, with the
//! results that each would have by itself. [`Chat`] keeps a conversation and what was computed of it.

mod chat;
mod config;
mod decode;
mod fields;
mod open;
mod sample;
mod scores;
mod sequence;
mod stop;

use std::{
    cell::Cell,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
};

use burn::tensor::Device;
use peft_core::{AdapterChoice, AdapterContext, AdapterRoster};
use peft_data::TextTokenizer;
use peft_models::{Model, Network, SequenceCache};

use crate::RunError;

pub use chat::Chat;
pub use config::GenerationConfig;
pub use open::{GeneratorModel, OpenGenerator};
use sequence::Sequence;

/// Goes on with texts.
#[derive(Debug, Clone)]
pub struct Generator<'a> {
    /// A model with a language head.
    pub model: &'a Model,
    /// Its tokenizer.
    pub tokenizer: &'a TextTokenizer,
    /// What prompts may choose among, where the model has adapters with names.
    pub roster: Option<&'a AdapterRoster>,
    /// Where the model is.
    pub device: &'a Device,
    /// How tokens are chosen.
    pub config: GenerationConfig,
    /// The number of the first prompt, from which draws and messages count: not 0 where prompts come in parts.
    pub first: usize,
    /// Ends all texts where they are, when it is set.
    pub stop: Option<&'a AtomicBool>,
}

/// What a text is to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens, special ones included.
    pub ids: Vec<u32>,
    /// The adapters that it passes through; `None` for those that are active.
    pub choice: Option<AdapterChoice>,
}

/// A text that was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The text behind the prompt, without special tokens, up to the first stop string.
    pub text: String,
    /// Its tokens, one that ends the text included.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By a token that ends texts.
    EndToken,
    /// Before a stop string.
    StopString,
    /// It has as many tokens as it may have.
    MaxTokens,
    /// The model has no positions for more.
    Context,
    /// The caller wanted no more.
    Interrupted,
}

impl Finish {
    /// A word for it: `stop` for what ends by itself, else `length`, `context` or `interrupted`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndToken | Self::StopString => "stop",
            Self::MaxTokens => "length",
            Self::Context => "context",
            Self::Interrupted => "interrupted",
        }
    }
}

impl<'a> Generator<'a> {
    /// The tokens of a text as a prompt: with the tokens that the tokenizer begins texts with.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, RunError> {
        let mut ids = self.tokenizer.encode_whole(text, true)?;
        if ids.is_empty() {
            ids.extend(self.tokenizer.bos_id());
        }
        Ok(ids)
    }

    /// Go on with prompts, at most `at_once` at a time, which changes no result. `show` is told the text of a
    /// prompt as it grows, in whole characters; [`ControlFlow::Break`] ends all texts.
    ///
    /// # Errors
    /// If a prompt is empty or too long for the model, a token is none of the model's, a choice of adapters
    /// makes no sense, or scores are NaN or infinite.
    pub fn run(
        &self,
        prompts: &[Prompt],
        at_once: usize,
        show: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, RunError> {
        self.config.check()?;
        let broken = Cell::new(false);
        let mut show = |number: usize, text: &str| {
            // Callers know their prompts by the places in the list.
            let flow = show(number - self.first, text);
            broken.set(broken.get() || flow.is_break());
            flow
        };
        let mut sequences: Vec<Option<Sequence>> = Vec::with_capacity(prompts.len());
        for (number, prompt) in prompts.iter().enumerate() {
            let mut sequence = self.begin(
                self.first + number,
                prompt.ids.clone(),
                SequenceCache::default(),
            )?;
            sequence.choice.clone_from(&prompt.choice);
            sequences.push(Some(sequence));
        }
        let mut done: Vec<Option<Generated>> = prompts.iter().map(|_| None).collect();
        loop {
            let waiting = sequences.iter_mut().flatten();
            let mut live: Vec<&mut Sequence> = waiting.take(at_once.max(1)).collect();
            if live.is_empty() {
                return Ok(done.into_iter().flatten().collect());
            }
            match self.is_stopped() || broken.get() {
                true => self.interrupt(&mut live, &mut show)?,
                false => self.step(&mut live, &mut show)?,
            }
            // What has ended gives its place and its memory to the next.
            for (place, done) in sequences.iter_mut().zip(&mut done) {
                if let Some(sequence) = place.take_if(|sequence| sequence.finish.is_some()) {
                    *done = Some(sequence.into_generated().0);
                }
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::SeqCst))
    }

    /// The longest sequence that there are positions for, whatever adapter it chooses.
    fn longest(&self) -> usize {
        let context = AdapterContext::inference();
        let names = self.roster.map(AdapterRoster::choices).unwrap_or_default();
        let chosen = names.iter().map(|name| {
            let choice = AdapterChoice::one(name);
            self.model.room(&context.with_choice(choice))
        });
        let active = self.model.room(&context);
        chosen.fold(active, usize::min)
    }

    /// A sequence that begins with a prompt.
    fn begin(
        &self,
        number: usize,
        ids: Vec<u32>,
        cache: SequenceCache,
    ) -> Result<Sequence<'a>, RunError> {
        let input = self.model.description().input;
        let fault = |problem: String, fix: &str| RunError::Prompt {
            prompt: number,
            problem,
            fix: fix.to_owned(),
        };
        if ids.is_empty() {
            return Err(fault(
                "it has no tokens, and the tokenizer none that begins a text".into(),
                "give some text",
            ));
        }
        let longest = self.longest();
        if ids.len() > longest {
            let problem = format!(
                "{} tokens, but the model has positions for {longest}",
                ids.len()
            );
            return Err(fault(problem, "give a shorter one"));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= input.vocab_size) {
            let problem = format!("token {id} is not among the model's {}", input.vocab_size);
            return Err(fault(problem, "use the tokenizer of this model"));
        }
        let stream = self.tokenizer.decode_stream(true);
        Sequence::new(number, ids, cache, longest, stream, &self.config)
    }
}

fn no_language_head() -> RunError {
    RunError::setting(
        "`model`",
        "it scores sequences and predicts no next token",
        "give a language model",
    )
}
