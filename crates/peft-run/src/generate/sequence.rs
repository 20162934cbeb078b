//! One text that is generated.

use peft_core::AdapterChoice;
use peft_data::DecodeStream;
use peft_models::SequenceCache;

use super::{Finish, Generated, GenerationConfig, stop::StopStrings};
use crate::RunError;

/// A sequence of tokens that grows.
pub struct Sequence<'a> {
    /// Its number, for draws and messages.
    pub number: usize,
    /// The adapters that it passes through; those that are active where none are chosen.
    pub choice: Option<AdapterChoice>,
    /// The prompt, and what was generated.
    pub ids: Vec<u32>,
    /// What the model has computed of the first tokens.
    pub cache: SequenceCache,
    /// Why it has ended.
    pub finish: Option<Finish>,
    prompt: usize,
    /// The most tokens that the model has positions for.
    longest: usize,
    stream: Option<DecodeStream<'a>>,
    stops: StopStrings,
    text: String,
}

impl<'a> Sequence<'a> {
    /// A prompt that a cache holds some of the first tokens of.
    pub fn new(
        number: usize,
        ids: Vec<u32>,
        cache: SequenceCache,
        longest: usize,
        mut stream: DecodeStream<'a>,
        config: &GenerationConfig,
    ) -> Result<Self, RunError> {
        if let Some(last) = ids.last() {
            // Decoders leave out a space at the beginning of a text: what is generated goes on with one.
            stream.push(*last)?;
        }
        Ok(Self {
            number,
            choice: None,
            prompt: ids.len(),
            longest,
            ids,
            cache,
            finish: None,
            stream: Some(stream),
            stops: StopStrings::new(&config.stop),
            text: String::new(),
        })
    }

    /// Tokens that the model has not seen yet.
    pub fn due(&self) -> usize {
        self.ids.len() - self.cache.len()
    }

    /// Tokens generated.
    pub fn generated(&self) -> usize {
        self.ids.len() - self.prompt
    }

    /// Append a token; the text that can be shown with it.
    pub fn push(&mut self, id: u32, config: &GenerationConfig) -> Result<String, RunError> {
        self.ids.push(id);
        let mut shown = String::new();
        if config.eos_token_ids.contains(&id) {
            self.finish = Some(Finish::EndToken);
        } else {
            let text = match &mut self.stream {
                Some(stream) => stream.push(id)?,
                None => String::new(),
            };
            shown = self.stops.push(&text);
            if self.stops.met() {
                self.finish = Some(Finish::StopString);
            } else if self.generated() >= config.max_tokens {
                self.finish = Some(Finish::MaxTokens);
            } else if self.ids.len() > self.longest {
                self.finish = Some(Finish::Context);
            }
        }
        if self.finish.is_some() {
            shown += &self.rest()?;
        }
        self.text += &shown;
        Ok(shown)
    }

    /// End it before its end; the text that was held back.
    pub fn interrupt(&mut self) -> Result<String, RunError> {
        self.finish = Some(Finish::Interrupted);
        let rest = self.rest()?;
        self.text += &rest;
        Ok(rest)
    }

    fn rest(&mut self) -> Result<String, RunError> {
        let Some(stream) = self.stream.take() else {
            return Ok(String::new());
        };
        if self.stops.met() {
            return Ok(String::new());
        }
        let text = stream.finish()?;
        let mut shown = self.stops.push(&text);
        if self.stops.met() {
            self.finish = Some(Finish::StopString);
        } else {
            shown += &self.stops.finish();
        }
        Ok(shown)
    }

    /// What came of it, and what the model has computed of it.
    pub fn into_generated(mut self) -> (Generated, Vec<u32>, SequenceCache) {
        let generated = Generated {
            text: self.text,
            ids: self.ids.split_off(self.prompt),
            finish: self.finish.unwrap_or(Finish::Interrupted),
        };
        self.ids.extend(&generated.ids);
        (generated, self.ids, self.cache)
    }
}
