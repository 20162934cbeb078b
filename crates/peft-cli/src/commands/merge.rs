use std::process::ExitCode;

use anyhow::Result;
use peft_train::merge as merge_adapter;

use super::compute;
use crate::args::MergeArgs;

/// `peft merge`: the measured error on standard output.
pub fn merge(args: MergeArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let report = merge_adapter(&args.model, &args.adapter, &args.output, &selected.device)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(ExitCode::SUCCESS)
}
