//! An adapter written into its base.

use std::path::Path;

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData},
};
use half::{bf16, f16};
use peft_core::{HostTensor, Target};
use peft_format::{Dtype, SafetensorsWriter, TensorSpec, atomic::AtomicDir};
use peft_models::{ModelFolder, SequenceModel};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{TaskFile, TrainError, event::fault, open::read_with_method};

/// Files of a model folder that a merged folder needs, too.
const COPIED: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
];

/// What merging did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MergeReport {
    /// Weights changed by the adapter.
    pub merged: usize,
    /// Parameters replaced or added in full: the head.
    pub replaced: usize,
    /// Largest error of a stored weight against the exact sum, relative to the largest weight of
    /// its tensor: what rounding to the checkpoint's type cost.
    pub relative_error: f64,
    /// Largest part of a change that rounding swallowed, as a share of the change's norm.
    pub lost_share: f64,
    /// Largest change of a weight.
    pub largest_change: f64,
}

/// Write `model` with `adapter` merged in as a model folder at `output`, one tensor at a time.
///
/// The sum is formed in f32 (f64 for f64 checkpoints) and rounded once to the checkpoint's type.
///
/// # Errors
/// If the adapter belongs to another base, is not finite, or would be lost in rounding; if files
/// cannot be read or written. An existing folder is kept then.
pub fn merge(
    model: &Path,
    adapter: &Path,
    output: &Path,
    device: &Device,
) -> Result<MergeReport, TrainError> {
    let folder = ModelFolder::open(model)?;
    let (method, loaded) = read_with_method(adapter)?;
    let task = TaskFile::read(adapter)?;
    let names = SequenceModel::tensor_names(&folder);
    let checkpoint = folder.checkpoint();

    let linears: Vec<String> = names.linears.clone();
    let parameters: Vec<String> = names.parameters.clone();
    loaded.expect_places(&linears, &parameters)?;

    // What the merged file holds: the checkpoint's tensors under their own names, and the adapter's
    // full modules.
    let prefix = names.prefix;
    let stored_name = |name: &str| -> Option<String> {
        let bare = name.strip_prefix(prefix);
        [Some(name), bare]
            .into_iter()
            .flatten()
            .find(|n| checkpoint.contains(n))
            .map(str::to_owned)
    };
    let mut replaced: std::collections::BTreeMap<String, &HostTensor> = Default::default();
    for (name, tensor) in &loaded.saved {
        replaced.insert(stored_name(name).unwrap_or_else(|| name.clone()), tensor);
    }
    let mut adapted: std::collections::BTreeMap<String, String> = Default::default();
    for module in loaded.modules.keys() {
        let weight = format!("{module}.weight");
        let Some(stored) = stored_name(&weight) else {
            return Err(TrainError::setting(
                "--model",
                format!("the checkpoint has no `{weight}`"),
                "give the base that the adapter was trained on",
            ));
        };
        adapted.insert(stored, module.clone());
    }
    let mut specs: Vec<TensorSpec> = Vec::new();
    for name in checkpoint.names() {
        let held = checkpoint.info(name).map(|info| (info.dtype, info.shape));
        let replacement = replaced.get(name).map(|t| (t.dtype, t.shape.clone()));
        if let Some((dtype, shape)) = replacement.or(held) {
            specs.push(TensorSpec::new(name, dtype, shape));
        }
    }
    for (name, tensor) in &replaced {
        if !checkpoint.contains(name) {
            specs.push(TensorSpec::new(
                name.clone(),
                tensor.dtype,
                tensor.shape.clone(),
            ));
        }
    }
    if output.exists() && std::fs::canonicalize(output).ok() == std::fs::canonicalize(model).ok() {
        return Err(TrainError::setting(
            "--output",
            "it is the model's own folder",
            "give another folder",
        ));
    }
    expect_replaceable(output)?;
    let staged = AtomicDir::create(output)?;
    let metadata = peft_format::Metadata::from_iter([("format".to_owned(), "pt".to_owned())]);
    let file = staged.path().join("model.safetensors");
    let mut writer = SafetensorsWriter::create(&file, specs, &metadata)?;
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    let mut report = MergeReport {
        merged: 0,
        replaced: replaced.len(),
        relative_error: 0.0,
        lost_share: 0.0,
        largest_change: 0.0,
    };
    for name in order {
        if let Some(tensor) = replaced.get(&name) {
            writer.write(&name, &tensor.bytes)?;
            continue;
        }
        let Some(module) = adapted.get(&name) else {
            writer.write(&name, &checkpoint.bytes(&name)?)?;
            continue;
        };
        let Some(info) = checkpoint.info(&name) else {
            continue;
        };
        let base = HostTensor {
            dtype: info.dtype,
            shape: info.shape,
            bytes: checkpoint.bytes(&name)?.into_owned(),
        };
        let &[out_features, in_features] = base.shape.as_slice() else {
            return Err(TrainError::setting(
                "--model",
                format!("`{name}` has shape {:?}, not that of a matrix", base.shape),
                "give the base that the adapter was trained on",
            ));
        };
        let dtype = match base.dtype {
            Dtype::F64 => FloatDType::F64,
            _ => FloatDType::F32,
        };
        let target = Target {
            path: module.clone(),
            in_features,
            out_features,
            dtype,
        };
        let Some(adapter) = loaded.restore(method.as_ref(), &target, device)? else {
            continue;
        };
        let weight = base.to_float(&name, dtype)?;
        let weight = Tensor::<2>::from_data(weight, (device, dtype.into())).transpose();
        let sum = adapter.effective(weight.clone()).transpose().into_data();
        let bytes = round(&sum, base.dtype);
        let before = weight.transpose().into_data();
        measure(&mut report, &before, &sum, &bytes, base.dtype);
        report.merged += 1;
        if report.lost_share > 0.5 {
            return Err(TrainError::setting(
                "merge",
                format!(
                    "rounding `{name}` to {:?} would lose {:.0} % of the adapter's change",
                    base.dtype,
                    100.0 * report.lost_share
                ),
                "keep the adapter beside its base, or merge into an f32 checkpoint",
            ));
        }
        writer.write(&name, &bytes)?;
    }
    writer.finish()?;
    for name in COPIED {
        let from = model.join(name);
        if from.is_file() {
            let to = staged.path().join(name);
            std::fs::copy(&from, &to).map_err(|error| fault(&to, &error))?;
        }
    }
    write_config(model, staged.path(), task.as_ref(), &folder)?;
    staged.commit()?;
    Ok(report)
}

/// Refuse to replace a folder that holds anything but a model.
fn expect_replaceable(output: &Path) -> Result<(), TrainError> {
    if !output.exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(output).map_err(|error| fault(output, &error))?;
    for entry in entries {
        let name = entry.map_err(|error| fault(output, &error))?.file_name();
        let known = name.to_str().is_some_and(|name| {
            ["config.json", "model.safetensors"].contains(&name) || COPIED.contains(&name)
        });
        if !known {
            return Err(TrainError::setting(
                "--output",
                format!(
                    "{} holds other things, such as {}",
                    output.display(),
                    name.display()
                ),
                "give a new folder: an existing one would be replaced as a whole",
            ));
        }
    }
    Ok(())
}

/// `config.json` of the merged model, with its labels.
fn write_config(
    model: &Path,
    output: &Path,
    task: Option<&TaskFile>,
    folder: &ModelFolder,
) -> Result<(), TrainError> {
    let path = model.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|error| fault(&path, &error))?;
    let mut config: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| TrainError::File {
            path: path.clone(),
            problem: error.to_string(),
            fix: "fetch the file again".into(),
        })?;
    config.insert(
        "architectures".into(),
        vec![folder.config().architecture()].into(),
    );
    if let Some(task) = task {
        let labels: Vec<String> = match task.labels.is_empty() {
            true => vec!["LABEL_0".to_owned()],
            false => task.labels.clone(),
        };
        let named = labels.iter().enumerate();
        let id2label: Map<_, _> = named
            .clone()
            .map(|(i, l)| (i.to_string(), l.clone().into()))
            .collect();
        let label2id: Map<_, _> = named.map(|(i, l)| (l.clone(), i.into())).collect();
        config.insert("id2label".into(), id2label.into());
        config.insert("label2id".into(), label2id.into());
        config.insert("problem_type".into(), task.task.problem_type().into());
    }
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    let to = output.join("config.json");
    Ok(peft_format::atomic::write_atomic_bytes(
        &to,
        text.as_bytes(),
    )?)
}

/// The values in a checkpoint's type, rounded to nearest even.
fn round(values: &TensorData, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values
            .iter::<f32>()
            .flat_map(|v| f16::from_f32(v).to_le_bytes())
            .collect(),
        Dtype::BF16 => values
            .iter::<f32>()
            .flat_map(|v| bf16::from_f32(v).to_le_bytes())
            .collect(),
        Dtype::F64 => values.iter::<f64>().flat_map(f64::to_le_bytes).collect(),
        _ => values.iter::<f32>().flat_map(f32::to_le_bytes).collect(),
    }
}

/// How far the stored values are from the sum.
fn measure(
    report: &mut MergeReport,
    before: &TensorData,
    sum: &TensorData,
    stored: &[u8],
    dtype: Dtype,
) {
    let read: Box<dyn Iterator<Item = f64>> = match dtype {
        Dtype::F16 => Box::new(
            stored
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()),
        ),
        Dtype::BF16 => Box::new(
            stored
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()),
        ),
        _ => Box::new(sum.iter::<f64>()),
    };
    let (mut worst, mut largest, mut change, mut lost) = (0f64, 0f64, 0f64, 0f64);
    for ((old, exact), stored) in before.iter::<f64>().zip(sum.iter::<f64>()).zip(read) {
        worst = worst.max((stored - exact).abs());
        largest = largest.max(exact.abs());
        change += (exact - old).powi(2);
        lost += (stored - exact).powi(2);
        report.largest_change = report.largest_change.max((exact - old).abs());
    }
    if largest > 0.0 {
        report.relative_error = report.relative_error.max(worst / largest);
    }
    if change > 0.0 {
        report.lost_share = report.lost_share.max((lost / change).sqrt());
    }
}
