use std::process::ExitCode;

use anyhow::Result;
use peft_run::{MergeOptions, merge_watched};

use super::{compute, say};
use crate::{args::MergeArgs, meter::Meter};

/// `peft merge`: the measured error on standard output.
pub fn merge(args: MergeArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let mut meter = Meter::new("MB", false);
    let mut done = |written: u64, all: u64| {
        meter.set(
            (written / 1_000_000) as usize,
            Some(written as f64 / all.max(1) as f64),
        );
    };
    let options = MergeOptions {
        model: &args.model,
        adapter: &args.adapter,
        output: &args.output,
        dtype: args.dtype.map(Into::into),
        max_shard_size: args.max_shard_size.bytes(),
        allow_loss: args.allow_loss,
        any_base: args.any_base,
        overwrite: args.overwrite,
        device: &selected.device,
    };
    let report = merge_watched(&options, &mut done)?;
    drop(meter);
    if !report.dequantised.is_empty() {
        tell!(
            "the base holds {}: these weights were decoded and are written as floats; nothing is quantised again",
            report.dequantised.join(", ")
        );
    }
    say(&serde_json::to_string(&report)?)?;
    Ok(ExitCode::SUCCESS)
}
