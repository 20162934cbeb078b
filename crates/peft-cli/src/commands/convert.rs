use std::process::ExitCode;

use anyhow::Result;
use peft_run::{ConvertOptions, convert_watched};

use super::{compute, say};
use crate::{args::ConvertArgs, meter::Meter};

/// `peft convert`: what was written, and the measured error, on standard output.
pub fn convert(args: &ConvertArgs) -> Result<ExitCode> {
    let selected = compute(&args.compute)?;
    let mut meter = Meter::new("modules", false);
    let options = ConvertOptions {
        model: &args.model,
        adapter: &args.adapter,
        output: &args.output,
        to: args.to,
        any_base: args.any_base,
        overwrite: args.overwrite,
        device: &selected.device,
    };
    // Each module counts twice: when it is read, and when what was written of it is measured.
    let report = convert_watched(&options, &mut |done, all| {
        meter.set((done / 2) as usize, Some(done as f64 / all.max(1) as f64));
    })?;
    drop(meter);
    if let Some(layer) = report.refused_by_peft {
        tell!(
            "peft: Hugging Face PEFT refuses LoRA on the `{layer}` of a Mamba, so it will not load this folder; `peft merge` \
             writes a model folder that transformers loads"
        );
    }
    say(&serde_json::to_string(&report)?)?;
    Ok(ExitCode::SUCCESS)
}
