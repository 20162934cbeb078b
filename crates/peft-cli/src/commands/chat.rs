use std::{
    io::{self, BufRead, IsTerminal, Write},
    ops::ControlFlow,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result};
use peft_run::{Chat, Finish, Generator, GeneratorModel, OpenGenerator, blame};

use super::{compute_as, generate::template, opened::expect_folder};
use crate::{args::ChatArgs, interrupt};

/// `peft chat`: every line of standard input is a turn, and every answer goes to standard output.
pub fn chat(args: &ChatArgs) -> Result<ExitCode> {
    if let Some(folder) = &args.adapter {
        expect_folder(folder, &folder.to_string_lossy())?;
    }
    let (selected, _computing) = compute_as(&args.compute, args.products.compute)?;
    let adapters: Vec<(Option<&str>, &Path)> = args
        .adapter
        .iter()
        .map(|folder| (None, folder.as_path()))
        .collect();
    let opened = GeneratorModel::open(&OpenGenerator {
        model: &args.model,
        adapters: &adapters,
        any_base: args.any_base,
        base: (&args.base).into(),
        device: &selected.device,
    })?;
    let template = template(&args.model, &opened)?;
    let mut config = args.choice.over(opened.config.clone());
    config.eos_token_ids.extend(opened.tokenizer.turn_end_ids());
    config.check()?;
    let answering = interrupt::Answering::watch()?;
    let generator = Generator {
        stop: Some(&answering.stop),
        ..opened.generator(config, &selected.device)
    };
    let mut chat = Chat::new(&template, args.system.as_deref());
    let (input, mut out) = (io::stdin().lock(), io::stdout().lock());
    let prompted = input.is_terminal();
    if prompted {
        tell!("a line is a turn; Ctrl-C stops an answer, Ctrl-D ends");
    }
    let ask = || {
        if prompted {
            let _ = write!(io::stderr(), "> ");
        }
    };
    ask();
    for line in input.lines() {
        let line = line.context("standard input")?;
        if !line.trim().is_empty() {
            let mut fault = None;
            let mut show =
                |text: &str| match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        fault = Some(error);
                        ControlFlow::Break(())
                    }
                };
            answering.begin();
            let answer = chat.say(&generator, &line, &mut show);
            answering.end();
            if let Some(fault) = fault {
                return Err(fault.into());
            }
            let answer = answer.map_err(|error| blame(error, &args.model))?;
            writeln!(out)?;
            match answer.finish {
                Finish::Context => tell!("the conversation is as long as this model can read"),
                Finish::Interrupted => tell!("interrupted"),
                Finish::EndToken | Finish::StopString | Finish::MaxTokens => {}
            }
        }
        ask();
    }
    if prompted {
        tell!();
    }
    Ok(ExitCode::SUCCESS)
}
