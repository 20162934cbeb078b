//! `peft quickstart --causal`: a language model learns to answer word problems in few plain steps.

mod measure;
mod outcome;
mod plot;
mod problems;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use peft_run::{RunConfig, core::format::atomic::write_atomic_bytes, data::Task, train};

use self::measure::{Measured, Place, measure};
use self::outcome::{Example, Outcome};
use self::problems::Problem;
use super::data::Files;
use super::next;
use crate::args::QuickstartArgs;
use crate::commands::{print, set_threads};
use crate::{interrupt, model, progress};

/// Problems whose answers are shown: the first ones held out.
const SHOWN: usize = 3;
const MAX_LENGTH: usize = 256;
const BATCH: usize = 8;

/// Trains LoRA on word problems; 1 where the perplexity of answers held out is not lower beyond its interval.
pub fn quickstart(args: &QuickstartArgs, offline: bool) -> Result<ExitCode> {
    set_threads(args.compute.threads)?;
    let selected = args.compute.device.select()?;
    let base = match &args.model {
        Some(model) => model.clone(),
        None => model::smollm2(offline)?,
    };
    let output = args.output();
    tell!("model: {}", base.display());
    measure::expect_chat(&base)?;
    let data = problems::write(&output)?;
    let stop = interrupt::watch()?;
    let adapter = output.join("lora");
    tell!("\n1 of 3: LoRA on queries and values");
    let mut progress = progress::renderer(args.log_format, stop.clone());
    train(&config(args, &base, &data, &adapter), progress.as_mut())?;
    let shown = problems::read(&data.held_out, SHOWN)?;
    let look = |adapter: Option<&Path>| -> Result<Measured> {
        measure(&Place {
            model: &base,
            adapter,
            held_out: &data.held_out,
            shown: &shown,
            selected: &selected,
            stop: &stop,
        })
    };
    tell!("\n2 of 3: the model as it was, on problems held out");
    let before = look(None)?;
    tell!("3 of 3: the model with LoRA, on the same problems");
    let after = look(Some(&adapter))?;
    let outcome = Outcome::new(&before.rows, &after.rows);
    let examples = examples(shown, before.answers, after.answers);
    outcome.write(&examples, &output)?;
    write_atomic_bytes(
        &output.join("quickstart.svg"),
        plot::bars(&outcome).as_bytes(),
    )?;
    let next = next::language(&base, &output)?;
    print(&(summary(&output, &outcome, &examples) + &next))?;
    if outcome.better() {
        return Ok(ExitCode::SUCCESS);
    }
    tell!("peft: the perplexity is not lower by more than its 95 % interval");
    Ok(ExitCode::from(1))
}

/// The rate is the method's own; one pass over the rows was enough on rows that selected (docs/quickstart).
fn config(args: &QuickstartArgs, model: &Path, data: &Files, adapter: &Path) -> RunConfig {
    let mut config = RunConfig::new(model, &data.fit, Task::CausalLm, "lora", adapter);
    config.epochs = 1.0;
    config.steps = args.steps;
    config.batch_size = BATCH;
    config.max_length = MAX_LENGTH;
    config.seed = args.seed;
    config.device = args.compute.device;
    config.resume = args.resume && adapter.exists();
    config.overwrite = args.overwrite;
    config
}

fn examples(shown: Vec<Problem>, before: Vec<String>, after: Vec<String>) -> Vec<Example> {
    let answers = before.into_iter().zip(after);
    let example = |(problem, (before, after)): (Problem, (String, String))| Example {
        question: problem.question,
        expected: problem.answer,
        before,
        after,
    };
    shown.into_iter().zip(answers).map(example).collect()
}

fn summary(output: &Path, outcome: &Outcome, examples: &[Example]) -> String {
    let mut text = String::new();
    for (number, example) in examples.iter().enumerate() {
        text += &format!("\nProblem {}: {}\n", number + 1, example.question.trim());
        for (name, answer) in [
            ("expected", &example.expected),
            ("before", &example.before),
            ("after", &example.after),
        ] {
            let lines: Vec<&str> = answer.trim().lines().collect();
            text += &format!("  {name:<10}{}\n", lines.join("\n            "));
        }
    }
    let [low, high] = outcome.interval;
    text += &format!(
        "\nOn {} problems held out, perplexity of the answers ({} tokens):\n\
         \x20 the model as it was  {:6.2}\n\
         \x20 with LoRA            {:6.2}\n\
         \x20 ratio                {:6.3}, 95 % interval {low:.3} to {high:.3} (paired over the rows)\n\
         \nIn {}:\n\
         \x20 lora/            the adapter, with metrics.jsonl beside it\n\
         \x20 data/            the problems, with their notice\n\
         \x20 quickstart.json  these numbers and answers; quickstart.svg draws them\n",
        outcome.rows,
        outcome.tokens,
        outcome.before.perplexity,
        outcome.after.perplexity,
        outcome.ratio,
        output.display(),
    );
    text
}
