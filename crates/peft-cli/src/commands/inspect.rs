use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use peft_run::{
    core::format::summary::{AdapterSummary, CheckpointSummary, TensorSummary, Totals},
    methods,
};

use crate::args::InspectArgs;

/// `peft inspect`: what a folder or a file holds, on standard output. An adapter or a model with a NaN or
/// an infinity is a negative answer; one that no other command could use is shown, and then an error.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut code = ExitCode::SUCCESS;
    let mut refused = None;
    // An adapter may be in a subfolder, where the folder is no model itself.
    let path = match args.path.join("config.json").is_file() {
        true => args.path.clone(),
        false => crate::adapter::resolve(&args.path)?,
    };
    if path.join("adapter_config.json").is_file() {
        // A method of others is shown, too; its modules are not told apart.
        let config = peft_run::core::format::AdapterConfig::read(&path)?;
        let suffixes = match methods::from_config(&config) {
            Ok(method) => method.suffixes(),
            Err(error) => {
                refused = Some(error);
                Default::default()
            }
        };
        let mut summary = AdapterSummary::read(&path, suffixes)?;
        if !summary.not_finite.is_empty() {
            code = ExitCode::from(1);
        }
        if args.json {
            if !args.tensors {
                summary.list.clear();
            }
            writeln!(out, "{}", serde_json::to_string(&summary)?)?;
        } else {
            adapter(&mut out, &summary, args.tensors)?;
        }
    } else {
        let mut summary = CheckpointSummary::read(&args.path)?;
        if !summary.not_finite.is_empty() {
            code = ExitCode::from(1);
        }
        if args.json {
            if !args.tensors {
                summary.list.clear();
            }
            writeln!(out, "{}", serde_json::to_string(&summary)?)?;
        } else {
            checkpoint(&mut out, &summary, args.tensors)?;
        }
    }
    out.flush()?;
    match refused {
        Some(error) => Err(error.into()),
        None => Ok(code),
    }
}

fn adapter(out: &mut impl Write, summary: &AdapterSummary, tensors: bool) -> io::Result<()> {
    writeln!(out, "adapter       {}", summary.file.display())?;
    writeln!(out, "method        {}", summary.peft_type)?;
    let base = summary.base_model.as_deref().unwrap_or("not named");
    writeln!(out, "base          {base}")?;
    totals(out, &summary.totals)?;
    writeln!(out, "modules       {}", summary.modules.len())?;
    for module in &summary.modules {
        writeln!(out, "              {module}")?;
    }
    if !summary.saved_modules.is_empty() {
        writeln!(out, "saved whole   {}", summary.saved_modules.join(", "))?;
    }
    writeln!(out, "configuration")?;
    for (key, value) in &summary.config {
        writeln!(out, "              {key} = {value}")?;
    }
    for name in &summary.not_finite {
        writeln!(out, "NOT FINITE    {name}")?;
    }
    let zero = summary.all_zero.len();
    if zero > 0 {
        writeln!(out, "all zero      {zero} tensors")?;
    }
    if tensors {
        list(out, &summary.list)?;
    }
    Ok(())
}

fn checkpoint(out: &mut impl Write, summary: &CheckpointSummary, tensors: bool) -> io::Result<()> {
    for file in &summary.files {
        writeln!(out, "file          {}", file.display())?;
    }
    if let Some(model_type) = &summary.model_type {
        let classes = summary.architectures.join(", ");
        writeln!(out, "architecture  {model_type} ({classes})")?;
    }
    totals(out, &summary.totals)?;
    for name in &summary.not_finite {
        writeln!(out, "NOT FINITE    {name}")?;
    }
    if tensors {
        list(out, &summary.list)?;
    }
    Ok(())
}

fn totals(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    writeln!(out, "tensors       {}", totals.tensors)?;
    let types: Vec<String> = (totals.dtypes.iter())
        .map(|(dtype, elements)| format!("{dtype} {elements}"))
        .collect();
    let parameters = totals.parameters;
    writeln!(out, "parameters    {parameters} ({})", types.join(", "))?;
    let megabytes = totals.bytes as f64 / 1e6;
    writeln!(out, "size          {megabytes:.1} MB")
}

fn list(out: &mut impl Write, tensors: &[TensorSummary]) -> io::Result<()> {
    for tensor in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let shape = shape.join("×");
        writeln!(out, "  {:5} {shape:>14}  {}", tensor.dtype, tensor.name)?;
    }
    Ok(())
}
