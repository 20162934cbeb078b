//! The main job from nothing, each command shown before it runs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{fetch, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to write
    #[arg(long, default_value = "out")]
    output: PathBuf,
    /// Train for so many steps instead of three epochs
    #[arg(long)]
    steps: Option<u64>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let data = fetch::everything()?;
    let peft = workspace::build("peft", true)?;
    let model = data.join("minilm");
    let reviews = data.join("rotten_tomatoes");
    let adapter = arguments.output.join("lora");

    let mut train = Command::new(&peft);
    train.args([
        "train",
        "--task",
        "classify",
        "--method",
        "lora",
        "--max-length",
        "64",
    ]);
    train.arg("--model").arg(&model);
    train.arg("--data").arg(reviews.join("train.csv"));
    train.arg("--eval-data").arg(reviews.join("report.csv"));
    train.arg("--output").arg(&adapter).arg("--overwrite");
    if let Some(steps) = arguments.steps {
        train.args(["--steps", &steps.to_string()]);
    }
    show_and_run(train)?;

    let adapted = |verb: &str| {
        let mut command = Command::new(&peft);
        command
            .arg(verb)
            .arg("--model")
            .arg(&model)
            .arg("--adapter")
            .arg(&adapter);
        command
    };
    let mut eval = adapted("eval");
    eval.arg("--data").arg(reviews.join("report.csv"));
    show_and_run(eval)?;
    let mut predict = adapted("predict");
    predict.arg("--data").arg(reviews.join("report.csv"));
    predict
        .arg("--output")
        .arg(arguments.output.join("predictions.jsonl"))
        .arg("--overwrite");
    show_and_run(predict)?;
    let mut merge = adapted("merge");
    merge.arg("--output").arg(arguments.output.join("merged"));
    merge.arg("--overwrite");
    show_and_run(merge)?;
    eprintln!(
        "\nthe adapter, its log, the predictions and the merged model are in {}",
        arguments.output.display()
    );
    Ok(())
}

fn show_and_run(mut command: Command) -> Result<()> {
    let shown = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let words: Vec<String> = [shown(command.get_program())]
        .into_iter()
        .chain(command.get_args().map(shown))
        .collect();
    eprintln!("\n$ {}", words.join(" "));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", words[0]))?;
    ensure!(status.success(), "`{}` failed with {status}", words[1]);
    Ok(())
}
