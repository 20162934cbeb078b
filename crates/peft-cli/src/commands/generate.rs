use std::{
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use peft_run::{
    Finish, Generated, Generator, GeneratorModel, OpenGenerator, Prompt, blame, chat_template,
    core::{AdapterChoice, set_active},
    data::{ChatTemplate, Conversation, Message},
};
use serde_json::json;

use super::{compute_as, prompts, prompts::Text};
use crate::{args::GenerateArgs, interrupt, meter::Meter};

/// Texts whose answers are held in memory at a time.
const PART: usize = 1024;

/// `peft generate`: the text behind each prompt on standard output.
pub fn generate(args: &GenerateArgs) -> Result<ExitCode> {
    ensure!(
        args.batch_size > 0,
        "--batch-size: 0 texts at a time are none; give 1 or more"
    );
    ensure!(
        args.data.is_some() || args.adapters.adapter_column.is_none(),
        "--adapter-column: it is a column of --data, and there is none; choose with --adapter-name NAME"
    );
    let named = args.adapters.named()?;
    let adapters: Vec<(Option<&str>, &Path)> = match named.is_empty() {
        true => args
            .adapters
            .adapter
            .iter()
            .map(|folder| (None, folder.as_path()))
            .collect(),
        false => named
            .into_iter()
            .map(|(name, folder)| (Some(name), folder))
            .collect(),
    };
    let (selected, _computing) = compute_as(&args.compute, args.products.compute)?;
    let mut opened = GeneratorModel::open(&OpenGenerator {
        model: &args.model,
        adapters: &adapters,
        any_base: args.adapters.any_base,
        base: (&args.base).into(),
        device: &selected.device,
    })?;
    if let (Some(name), Some(roster)) = (&args.adapters.adapter_name, &opened.roster) {
        let choice = AdapterChoice::one(name);
        roster.check(&choice)?;
        opened.model = set_active(opened.model, &choice)?;
    }
    let template = match args.chat {
        true => Some(template(&args.model, &opened)?),
        false => None,
    };
    let mut config = args.choice.over(opened.config.clone());
    if args.chat {
        config.eos_token_ids.extend(opened.tokenizer.turn_end_ids());
    }
    let stop = interrupt::stop_generating()?;
    let mut generator = Generator {
        stop: Some(&stop),
        ..opened.generator(config, &selected.device)
    };
    let texts = prompts::texts(args)?;
    let mut first = 0;
    let mut meter = Meter::new("texts", io::stdout().is_terminal() || texts.len() == 1);
    for part in texts.chunks(PART) {
        let alone = texts.len() == 1;
        generator.first = first;
        let mut begun = |text: usize| {
            let done = first + text;
            meter.set(done, Some(done as f64 / texts.len() as f64));
        };
        if !write(
            args,
            &generator,
            template.as_ref(),
            part,
            first,
            alone,
            &mut begun,
        )? {
            tell!("interrupted");
            return Ok(ExitCode::from(2));
        }
        first += part.len();
    }
    Ok(ExitCode::SUCCESS)
}

/// The chat template of a model.
pub fn template(model: &Path, opened: &GeneratorModel) -> Result<ChatTemplate> {
    chat_template(model, &opened.tokenizer)?.with_context(|| {
        format!(
            "{}: this model has no chat template (chat_template.jinja, or `chat_template` in \
             tokenizer_config.json), so there is no telling how to write a conversation for it; \
             `peft generate` without --chat continues plain text",
            model.display()
        )
    })
}

/// Go on with some texts, and write what comes: alone as it comes, several in their order. Whether all came to
/// their ends.
fn write(
    args: &GenerateArgs,
    generator: &Generator,
    template: Option<&ChatTemplate>,
    texts: &[Text],
    first: usize,
    alone: bool,
    begun: &mut dyn FnMut(usize),
) -> Result<bool> {
    let prompts: Vec<Prompt> = texts
        .iter()
        .map(|text| prompt(generator, template, text))
        .collect::<Result<_>>()?;
    let streamed = alone && !args.json;
    let mut out = io::stdout().lock();
    let mut fault = None;
    // Texts are begun in their order, a batch at a time.
    let mut last = 0;
    let mut show = |index: usize, text: &str| {
        if index > last {
            last = index;
            begun(index);
        }
        if !streamed || text.is_empty() {
            return ControlFlow::Continue(());
        }
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let done = generator.run(&prompts, args.batch_size, &mut show);
    let done = done.map_err(|error| blame(error, &args.model))?;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    for (index, (text, generated)) in texts.iter().zip(&done).enumerate() {
        match args.json {
            true => writeln!(out, "{}", object(first + index, text, generated))?,
            false if streamed => writeln!(out)?,
            false => writeln!(out, "{}", generated.text)?,
        }
    }
    Ok(done.iter().all(|text| text.finish != Finish::Interrupted))
}

fn prompt(generator: &Generator, template: Option<&ChatTemplate>, text: &Text) -> Result<Prompt> {
    let ids = match template {
        None => generator.encode(&text.text)?,
        Some(template) => {
            let said = || Conversation::new(vec![Message::new("user", &text.text)]);
            let conversation = text.conversation.clone().unwrap_or_else(said);
            let rendered = template.render(&conversation, true)?;
            generator.tokenizer.encode_whole(&rendered, false)?
        }
    };
    Ok(Prompt {
        ids,
        choice: text.adapter.as_deref().map(AdapterChoice::one),
    })
}

fn object(index: usize, text: &Text, generated: &Generated) -> serde_json::Value {
    json!({
        "index": index,
        "prompt": text.text,
        "text": generated.text,
        "tokens": generated.ids.len(),
        "finish_reason": generated.finish.name(),
    })
}
