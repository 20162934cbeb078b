use std::process::ExitCode;

use anyhow::Result;
use peft_run::{MergeOptions, merge as merge_adapter};

use super::compute;
use crate::args::MergeArgs;

/// `peft merge`: the measured error on standard output.
pub fn merge(args: MergeArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let report = merge_adapter(&MergeOptions {
        model: &args.model,
        adapter: &args.adapter,
        output: &args.output,
        dtype: args.dtype.map(Into::into),
        max_shard_size: args.max_shard_size.bytes(),
        allow_loss: args.allow_loss,
        any_base: args.any_base,
        overwrite: args.overwrite,
        device: &selected.device,
    })?;
    if !report.dequantised.is_empty() {
        eprintln!(
            "the base holds {}: these weights were decoded and are written as floats; nothing is quantised again",
            report.dequantised.join(", ")
        );
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(ExitCode::SUCCESS)
}
