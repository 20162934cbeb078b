use std::process::ExitCode;

use anyhow::Result;
use peft_run::{ConvertOptions, convert as convert_adapter};

use super::{compute, say};
use crate::args::ConvertArgs;

/// `peft convert`: what was written, and the measured error, on standard output.
pub fn convert(args: &ConvertArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let report = convert_adapter(&ConvertOptions {
        model: &args.model,
        adapter: &args.adapter,
        output: &args.output,
        to: args.to,
        any_base: args.any_base,
        overwrite: args.overwrite,
        device: &selected.device,
    })?;
    say(&serde_json::to_string(&report)?)?;
    Ok(ExitCode::SUCCESS)
}
