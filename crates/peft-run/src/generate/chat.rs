//! Conversations.

use std::ops::ControlFlow;

use peft_data::{ChatTemplate, Conversation, Message};
use peft_models::SequenceCache;

use super::{Generated, Generator};
use crate::RunError;

/// A conversation by a model's template. What the model has computed of it is kept from turn to turn: only what
/// is new is read.
#[derive(Debug)]
pub struct Chat<'a> {
    template: &'a ChatTemplate,
    conversation: Conversation,
    /// Tokens of which there is a cache.
    seen: Vec<u32>,
    cache: SequenceCache,
}

impl<'a> Chat<'a> {
    /// One that begins with what the system says, if it says something.
    pub fn new(template: &'a ChatTemplate, system: Option<&str>) -> Self {
        let system = system.map(|text| Message::new("system", text));
        Self {
            template,
            conversation: Conversation::new(system.into_iter().collect()),
            seen: Vec::new(),
            cache: SequenceCache::default(),
        }
    }

    /// The turns so far.
    pub fn messages(&self) -> &[Message] {
        &self.conversation.messages
    }

    /// Say something; the answer becomes a turn, an interrupted one as far as it came. `show` is told the answer
    /// as it grows, as by [`Generator::run`].
    ///
    /// # Errors
    /// As [`Generator::run`], and if the template refuses the conversation; the turn is taken back then.
    pub fn say(
        &mut self,
        generator: &Generator<'_>,
        text: &str,
        show: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generated, RunError> {
        self.conversation.messages.push(Message::new("user", text));
        let answer = self.answer(generator, show);
        match &answer {
            Ok(answer) => {
                let said = Message::new("assistant", &answer.text);
                self.conversation.messages.push(said);
            }
            Err(_) => {
                self.conversation.messages.pop();
                (self.seen, self.cache) = Default::default();
            }
        }
        answer
    }

    fn answer(
        &mut self,
        generator: &Generator<'_>,
        show: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generated, RunError> {
        let prompt = self.template.render(&self.conversation, true)?;
        let ids = generator.tokenizer.encode_whole(&prompt, false)?;
        let same = ids
            .iter()
            .zip(&self.seen)
            .take_while(|(a, b)| a == b)
            .count();
        // The last token is read again: its scores are asked for.
        let same = same.min(ids.len().saturating_sub(1));
        let mut cache = std::mem::take(&mut self.cache);
        if !cache.rewind(same) {
            cache = SequenceCache::default();
        }
        let mut sequence = generator.begin(self.turn(), ids, cache)?;
        let mut show = |_: usize, text: &str| show(text);
        while sequence.finish.is_none() {
            let one = &mut [&mut sequence];
            match generator.is_stopped() {
                true => generator.interrupt(one, &mut show)?,
                false => generator.step(one, &mut show)?,
            }
        }
        let (answer, ids, cache) = sequence.into_generated();
        self.seen = ids;
        self.seen.truncate(cache.len());
        self.cache = cache;
        Ok(answer)
    }

    /// The number of the turn, by which draws differ from one to the next.
    fn turn(&self) -> usize {
        self.conversation.messages.len()
    }
}
