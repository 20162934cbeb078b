//! What a language model makes of problems held out: how likely their answers are, and what it answers itself.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use peft_run::{
    Adapted, BaseOptions, Finish, GenerationConfig, Generator, OpenOptions, Prediction, Prompt,
    SelectedDevice, chat_template,
    data::{CausalOptions, ChatTemplate, Conversation, Dataset, LoadOptions, Message, Task},
    models::{ModelFolder, Network},
    open, predict, tokenizer,
};

use super::outcome::Row;
use super::problems::Problem;
use super::{BATCH, MAX_LENGTH};

/// Tokens of an answer that is shown.
const ANSWER: usize = 96;

/// What is measured, and with what.
pub struct Place<'a> {
    pub model: &'a Path,
    pub adapter: Option<&'a Path>,
    pub held_out: &'a Path,
    pub shown: &'a [Problem],
    pub selected: &'a SelectedDevice,
    pub stop: &'a AtomicBool,
}

/// What came of it.
pub struct Measured {
    pub rows: Vec<Row>,
    /// Answers to the problems that are shown.
    pub answers: Vec<String>,
}

/// Refuses, before anything is computed, a model that does not talk.
pub fn expect_chat(model: &Path) -> Result<()> {
    let folder = ModelFolder::open(model)?;
    ensure!(
        folder.config().is_causal(),
        "{}: `{}` is an encoder, which answers nothing; give a language model with a chat template",
        model.display(),
        folder.config().model_type()
    );
    template(model, &tokenizer(model)?).map(drop)
}

fn template(model: &Path, tokenizer: &peft_run::data::TextTokenizer) -> Result<ChatTemplate> {
    chat_template(model, tokenizer)?.with_context(|| {
        format!(
            "{}: this model has no chat template (chat_template.jinja, or `chat_template` in \
             tokenizer_config.json), so there is no telling how to ask it; give one that has",
            model.display()
        )
    })
}

/// Measures a model, with an adapter or without.
pub fn measure(place: &Place) -> Result<Measured> {
    let adapted = open(&OpenOptions {
        model: place.model,
        adapter: place.adapter,
        any_base: false,
        task: Some(Task::CausalLm),
        base: BaseOptions::default(),
        device: &place.selected.device,
    })?;
    let template = template(place.model, &adapted.tokenizer)?;
    Ok(Measured {
        rows: rows(place, &adapted, &template)?,
        answers: answers(place, &adapted, &template)?,
    })
}

fn rows(place: &Place, adapted: &Adapted, template: &ChatTemplate) -> Result<Vec<Row>> {
    let options = LoadOptions {
        vocab_size: Some(adapted.model.description().input.vocab_size),
        causal: CausalOptions {
            template: Some(template),
            ..CausalOptions::default()
        },
        ..LoadOptions::new(Task::CausalLm, MAX_LENGTH)
    };
    let (data, _) = Dataset::load(place.held_out, &options, &adapted.tokenizer)?;
    let objective = adapted.task.objective();
    let mut rows = Vec::with_capacity(data.len());
    let all: Vec<usize> = (0..data.len()).collect();
    // Some at a time, between which it can be stopped.
    for part in all.chunks(4 * BATCH) {
        expect_going(place)?;
        let found = predict(
            &adapted.model,
            &data.subset(part)?,
            objective.as_ref(),
            BATCH,
            &place.selected.device,
        )?;
        for prediction in found {
            let Prediction::Tokens(costs) = prediction else {
                bail!("{} scores no tokens", place.model.display());
            };
            rows.push(Row {
                nats: costs.iter().sum(),
                tokens: costs.len(),
            });
        }
    }
    Ok(rows)
}

/// The likeliest answers, token by token.
fn answers(place: &Place, adapted: &Adapted, template: &ChatTemplate) -> Result<Vec<String>> {
    let mut config = GenerationConfig::of_model(place.model, &adapted.tokenizer)?;
    config
        .eos_token_ids
        .extend(adapted.tokenizer.turn_end_ids());
    config.do_sample = false;
    config.max_tokens = ANSWER;
    let generator = Generator {
        model: &adapted.model,
        tokenizer: &adapted.tokenizer,
        roster: None,
        device: &place.selected.device,
        config,
        first: 0,
        stop: Some(place.stop),
    };
    let prompt = |problem: &Problem| -> Result<Prompt> {
        let asked = Conversation::new(vec![Message::new("user", &problem.question)]);
        let text = template.render(&asked, true)?;
        Ok(Prompt {
            ids: adapted.tokenizer.encode_whole(&text, false)?,
            choice: None,
        })
    };
    let prompts = place.shown.iter().map(prompt).collect::<Result<Vec<_>>>()?;
    let done = generator.run(&prompts, prompts.len(), &mut |_, _| {
        ControlFlow::Continue(())
    })?;
    expect_going(place)?;
    let told = |answer: peft_run::Generated| match answer.finish {
        Finish::MaxTokens | Finish::Context => format!("{} …", answer.text),
        _ => answer.text,
    };
    Ok(done.into_iter().map(told).collect())
}

fn expect_going(place: &Place) -> Result<()> {
    ensure!(
        !place.stop.load(Ordering::SeqCst),
        "interrupted; the same command with --resume continues"
    );
    Ok(())
}
