//! Two helps of verbs with many flags: the usual ones with examples, and everything.

use std::io::{self, Write};

use clap::{Command, CommandFactory};

use super::Cli;

/// A verb whose help is short unless `--help-all` asks for everything.
struct Short {
    verb: &'static str,
    /// The flags that are shown, in the order of the help.
    flags: &'static [&'static str],
    /// What follows them.
    examples: &'static str,
}

const USUAL: &[&str] = &[
    "model",
    "data",
    "eval-data",
    "task",
    "method",
    "output",
    "rank",
    "target-modules",
    "epochs",
    "batch-size",
    "learning-rate",
    "max-length",
    "resume",
    "help",
    "help-all",
];

/// What the short help says of a flag, and calls its value, where the full one is longer.
const SHORTER: &[(&str, &str, &str)] = &[
    (
        "model",
        "MODEL",
        "Model folder, GGUF file, or organisation/name on the hub",
    ),
    (
        "data",
        "FILE",
        "Labelled rows: csv, tsv, jsonl, parquet, conll",
    ),
    ("eval-data", "FILE", "Labelled rows for a final report only"),
    (
        "task",
        "TASK",
        "classify [default], regress, multi-label, token-classify, causal-lm",
    ),
    (
        "method",
        "METHOD",
        "Fine-tuning method, one of those below [default: lora]",
    ),
    (
        "resume",
        "",
        "Continue the interrupted work in --output, to the same bits",
    ),
    (
        "rank",
        "N",
        "Rank of low-rank methods [default: the method's]",
    ),
    (
        "target-modules",
        "WHICH",
        "Modules: names, a regular expression or all-linear",
    ),
    ("epochs", "N", "Passes over the data [default: 3]"),
    ("batch-size", "N", "Rows per batch [default: 32]"),
    (
        "learning-rate",
        "RATE",
        "Learning rate of the adapter [default: the method's]",
    ),
    (
        "max-length",
        "N",
        "Longest sequence in tokens [default: 128]",
    ),
    (
        "device",
        "DEVICE",
        "auto, cpu, cuda, cuda:N, vulkan, metal or wgpu [default: auto]",
    ),
    (
        "select-metric",
        "NAME",
        "Metric that chooses the best run [default: the task's]",
    ),
    (
        "over",
        "NAME=V,V",
        "A setting and its values; repeat the flag to try combinations",
    ),
];

const SWEEP: &[&str] = &[
    "over",
    "model",
    "data",
    "eval-data",
    "task",
    "method",
    "output",
    "select-metric",
    "epochs",
    "batch-size",
    "seed",
    "device",
    "config",
    "resume",
    "json",
    "table",
    "help",
    "help-all",
];

const SHORT: &[Short] = &[
    Short {
        verb: "train",
        flags: USUAL,
        examples: "\
Examples:
  peft train --model MODEL --data reviews.csv --method dora --rank 16 --output out
  peft train --model LLM --data chats.jsonl --task causal-lm --quantize nf4 --output out",
    },
    Short {
        verb: "sweep",
        flags: SWEEP,
        examples: "\
Examples:
  peft sweep --model MODEL --data reviews.csv --over rank=4,8 --over learning-rate=1e-3,2e-3 --output out
  peft sweep --model MODEL --data reviews.csv --over method=lora,dora,fourierft --output out
  peft sweep --output out --resume
An interrupted sweep continues where it stopped. The table, `report.html` and `sweep.svg` compare the runs.",
    },
    Short {
        verb: "plan",
        flags: USUAL,
        examples: "\
Examples:
  peft plan --model MODEL
  peft plan --model MODEL --data reviews.csv --method dora --rank 16 --epochs 5
  peft plan --model LLM --task causal-lm --quantize nf4 --batch-size 4 --max-length 1024",
    },
];

/// The command as it is parsed: with short helps.
pub fn command() -> Command {
    SHORT.iter().fold(Cli::command(), |command, short| {
        command.mut_subcommand(short.verb, |verb| shorten(verb, short))
    })
}

fn shorten(verb: Command, short: &Short) -> Command {
    let place = |name: &str| short.flags.iter().position(|flag| *flag == name);
    verb.mut_args(|arg| match arg.get_long().and_then(place) {
        // Without headings they stand in the order of the list.
        Some(place) => {
            let arg = arg.help_heading(None::<&str>).display_order(place);
            let flag = arg.get_long().unwrap_or_default();
            match SHORTER.iter().find(|(name, ..)| *name == flag) {
                // What takes no value is only told otherwise.
                Some((_, "", text)) => arg.help(*text),
                Some((_, value, text)) => arg
                    .value_name(*value)
                    .help(*text)
                    .hide_possible_values(true)
                    .hide_default_value(true),
                None => arg,
            }
        }
        None => arg.hide(true),
    })
    .after_help(format!("{}\nMethods: {}", short.examples, methods()))
}

fn methods() -> String {
    let names: Vec<&str> = peft_run::methods::selectable()
        .map(|entry| entry.name)
        .collect();
    names.join(", ")
}

/// Everything about a verb, as its `--help-all` shows it.
pub fn write_all(verb: &str, out: &mut impl Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(verb) {
        Some(verb) => write!(out, "{}", verb.render_help()),
        None => Ok(()),
    }
}
