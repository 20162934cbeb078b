use std::process::ExitCode;

use anyhow::Result;
use peft_run::{RunConfig, train as run};
use serde_json::json;

use super::{evaluation_object, set_threads};
use crate::{adapter, args::TrainArgs, interrupt, model, progress};

/// `peft train`: one JSON object on standard output at the end.
pub fn train(args: &TrainArgs, offline: bool) -> Result<ExitCode> {
    let given = match args.resume {
        true => args.run.resolve_resumed()?,
        false => args.run.resolve()?,
    };
    let mut config = RunConfig {
        resume: args.resume,
        overwrite: args.overwrite,
        ..given
    };
    config.model = model::resolve(&config.model, offline)?;
    if let Some(folder) = &mut config.adapter {
        *folder = adapter::resolve(folder)?;
    }
    set_threads(config.threads)?;
    let stop = interrupt::watch()?;
    let mut progress = progress::renderer(args.log_format, stop);
    let report = run(&config, progress.as_mut())?;
    drop(progress);
    let result = json!({
        "output": config.output,
        "steps": report.steps,
        "kept_step": report.kept_step,
        "selection": evaluation_object(&report.selection),
        "report": report.report.as_ref().map(evaluation_object),
    });
    super::say(&result.to_string())?;
    Ok(ExitCode::SUCCESS)
}
