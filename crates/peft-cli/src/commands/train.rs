use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use peft_train::{
    RunConfig,
    core::format::{TargetSpec, Targets, targets::Exclude},
    train as run,
};
use serde_json::{Map, Number, Value, json};

use super::{columns, evaluation_object, label_separator, read_options, set_threads};
use crate::{args::TrainArgs, interrupt, progress};

/// `peft train`: one JSON object on standard output at the end.
pub fn train(args: &TrainArgs) -> Result<ExitCode> {
    set_threads(args.compute.threads)?;
    let data = args.data.as_deref();
    let data =
        data.context("--data: no rows to learn from; give a csv, tsv, jsonl or parquet file")?;
    let output = args.output.as_deref();
    let output = output.context("--output: no place for the adapter; give a folder")?;
    let config = run_config(args, data, output)?;
    let stop = interrupt::watch()?;
    let mut progress = progress::renderer(args.log_format, stop);
    let report = run(&config, progress.as_mut())?;
    drop(progress);
    let result = json!({
        "output": output,
        "steps": report.steps,
        "kept_step": report.kept_step,
        "selection": evaluation_object(&report.selection),
        "report": report.report.as_ref().map(evaluation_object),
    });
    println!("{result}");
    Ok(ExitCode::SUCCESS)
}

/// The run that the flags describe.
pub fn run_config(args: &TrainArgs, data: &Path, output: &Path) -> Result<RunConfig> {
    let mut config = RunConfig::new(&args.model, data, args.task, &args.method, output);
    config.select_data = args.select_data.clone();
    config.eval_data = args.eval_data.clone();
    config.columns = columns(&args.columns);
    config.read = read_options(&args.columns);
    config.label_separator = label_separator(&args.columns)?;
    config.method_config = method_config(args)?;
    config.targets = targets(args)?;
    config.adapter = args.adapter.clone();
    config.any_base = args.any_base;
    config.epochs = args.epochs;
    config.steps = args.steps;
    config.batch_size = args.batch_size;
    config.grad_accumulation = args.grad_accumulation;
    config.learning_rate = args.learning_rate;
    config.head_learning_rate = args.head_learning_rate;
    config.schedule = args.schedule;
    config.warmup = args.warmup;
    config.weight_decay = args.weight_decay;
    config.clip_norm = args.clip;
    config.model_dropout = args.model_dropout;
    config.base_dtype = args.base_dtype;
    config.recompute = args.recompute;
    config.max_length = args.max_length;
    config.seed = args.seed;
    config.device = args.compute.device;
    config.save_steps = args.save_steps;
    config.resume = args.resume;
    Ok(config)
}

/// The method's settings that were given as flags.
fn method_config(args: &TrainArgs) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    if let Some(rank) = args.rank {
        map.insert("r".into(), rank.into());
    }
    if let Some(alpha) = args.alpha {
        map.insert("lora_alpha".into(), float(alpha));
    }
    if let Some(dropout) = args.adapter_dropout {
        map.insert("lora_dropout".into(), float(dropout));
    }
    if args.use_rslora {
        map.insert("use_rslora".into(), true.into());
    }
    let patterns = [
        ("rank_pattern", "--rank-pattern", &args.rank_pattern),
        ("alpha_pattern", "--alpha-pattern", &args.alpha_pattern),
    ];
    for (key, flag, entries) in patterns {
        if entries.is_empty() {
            continue;
        }
        let mut values = Map::new();
        for entry in entries {
            let (pattern, value) = entry
                .rsplit_once('=')
                .with_context(|| format!("{flag}: `{entry}` has no `=`"))?;
            let value: Number = serde_json::from_str(value)
                .with_context(|| format!("{flag}: `{value}` is no number"))?;
            values.insert(pattern.to_owned(), Value::Number(value));
        }
        map.insert(key.into(), Value::Object(values));
    }
    Ok(map)
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The modules that were chosen by flags, or `None` for the method's own choice.
fn targets(args: &TrainArgs) -> Result<Option<TargetSpec>> {
    let restricted = args.exclude_modules.is_some() || args.layers.is_some();
    let modules = match &args.target_modules {
        Some(text) => Targets::parse_cli(text)?,
        None if restricted || !args.modules_to_save.is_empty() => Targets::Unspecified,
        None => return Ok(None),
    };
    let mut spec = TargetSpec::new(modules);
    spec.exclude = match args
        .exclude_modules
        .as_deref()
        .map(Targets::parse_cli)
        .transpose()?
    {
        None => None,
        Some(Targets::List(names)) => Some(Exclude::List(names)),
        Some(Targets::Regex(regex)) => Some(Exclude::Regex(regex)),
        Some(_) => bail!("--exclude-modules: give names or a regular expression"),
    };
    spec.layers_to_transform = args.layers.as_deref().map(layers).transpose()?;
    spec.modules_to_save = args.modules_to_save.clone();
    Ok(Some(spec))
}

/// `0,1,5-9`
fn layers(text: &str) -> Result<Vec<usize>> {
    const MOST: usize = 4096;
    let mut layers = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.trim()
                .parse::<usize>()
                .with_context(|| format!("--layers: `{part}` is no layer"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last >= MOST {
            bail!("--layers: `{part}` is no range of layers");
        }
        layers.extend(first..=last);
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::layers;

    #[test]
    fn layers_are_numbers_and_ranges() {
        assert_eq!(layers("0,1,5-7").unwrap(), [0, 1, 5, 6, 7]);
        for bad in ["", "a", "3-1", "1-99999999999", "-1"] {
            assert!(
                layers(bad).unwrap_err().to_string().contains("--layers"),
                "{bad}"
            );
        }
    }
}
