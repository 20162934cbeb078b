//! An adapter written into its base.

mod change;
mod folder;
mod places;

use std::{collections::BTreeSet, path::Path};

use burn::tensor::{Device, TensorData};
use peft_core::{HostTensorExt, LoadedAdapter};
use peft_format::{
    BlockType, Dtype, Metadata, ModelWriter, TensorSpec, atomic::AtomicDir, writer::SHARD_SIZE,
};
use peft_models::{HeadState, ModelFolder};
use serde::Serialize;

use self::folder::{REPORT, copy_tokenizer, expect_replaceable, write_config};
pub(crate) use self::{
    change::{LOSS_LIMIT, Rounding, round},
    places::{
        Adapted, Places, adapted_sites, change, head_of, loses_bias, saved_outputs, target_of,
    },
};
use crate::{
    BaseFile, RunError, TaskFile,
    objective::{labelling, task_of_type},
    open::{expect_covered, fit_adapter, fit_tie, infer_task, read_with_method},
    sidecar,
};

/// What [`merge`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct MergeOptions<'a> {
    /// Hugging Face model folder or GGUF file: the base.
    pub model: &'a Path,
    /// Adapter folder.
    pub adapter: &'a Path,
    /// Folder to write.
    pub output: &'a Path,
    /// Type of every floating-point tensor of the merged model; each its own, unless set.
    pub dtype: Option<Dtype>,
    /// Bytes of tensors that a file of the merged model holds at most.
    pub max_shard_size: u64,
    /// Write even if rounding swallows more than a twentieth of a change.
    pub allow_loss: bool,
    /// Merge even into another base than the one the adapter was trained on.
    pub any_base: bool,
    /// Replace what an earlier merge wrote.
    pub overwrite: bool,
    /// Where to compute.
    pub device: &'a Device,
}

impl<'a> MergeOptions<'a> {
    /// A merge in the checkpoint's own types and files of 5 GB, without loss and into the right base only.
    pub fn new(model: &'a Path, adapter: &'a Path, output: &'a Path, device: &'a Device) -> Self {
        Self {
            model,
            adapter,
            output,
            dtype: None,
            max_shard_size: SHARD_SIZE,
            allow_loss: false,
            any_base: false,
            overwrite: false,
            device,
        }
    }
}

/// What merging did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MergeReport {
    /// Weights changed by the adapter.
    pub merged: usize,
    /// Parameters replaced or added in full: the head.
    pub replaced: usize,
    /// Files that the merged weights are in.
    pub files: usize,
    /// Types of the merged weights.
    pub dtypes: Vec<String>,
    /// Types in which the base holds its quantised tensors: these were decoded and are written as
    /// floats, for nothing is quantised again. Empty for a base of floats.
    pub dequantised: Vec<String>,
    /// Largest error of a stored weight against the exact sum, relative to the largest weight of
    /// its tensor: what rounding to the checkpoint's type cost.
    pub relative_error: f64,
    /// Largest part of a weight's change that rounding swallowed, as a share of the change's norm.
    pub lost_share: f64,
    /// The same of all changes together.
    pub lost_share_overall: f64,
    /// The weight that lost most; none where nothing was lost.
    pub lost_most: Option<String>,
    /// Largest change of a weight.
    pub largest_change: f64,
}

/// Write a model with its adapter merged in as a model folder, one tensor at a time: in one file, or in several
/// with an index where it is large, as Hugging Face's tools do.
///
/// The sum is formed in f32 (f64 for f64 checkpoints) and rounded once to the type that is written. A
/// quantised base (GGUF, NF4) becomes a folder of floats, in f32 unless another type is asked for.
///
/// # Errors
/// If the adapter belongs to another base, it or the base is not finite, or it would lose more than a
/// twentieth of a change in rounding; if files cannot be read or written, or the folder to write holds
/// anything but a merge that may be replaced. An existing folder is kept then.
pub fn merge(options: &MergeOptions) -> Result<MergeReport, RunError> {
    merge_watched(options, &mut |_, _| ())
}

/// As [`merge`]; `done` is told before every tensor, and at the end, how many bytes of how many are written.
///
/// # Errors
/// As [`merge`].
pub fn merge_watched(
    options: &MergeOptions,
    done: &mut dyn FnMut(u64, u64),
) -> Result<MergeReport, RunError> {
    written(options, done).map_err(|error| error.of_adapter(options.adapter))
}

fn written(
    options: &MergeOptions,
    done: &mut dyn FnMut(u64, u64),
) -> Result<MergeReport, RunError> {
    let mut folder = ModelFolder::open(options.model)?;
    let (method, mut loaded) = read_with_method(options.adapter)?;
    if !options.any_base {
        BaseFile::expect(options.adapter, &folder)?;
    }
    fit_tie(&mut folder, &loaded)?;
    fit_adapter(&folder, &mut loaded)?;
    let stored = TaskFile::read(options.adapter)?;
    let checkpoint = folder.checkpoint();
    let head = head_of(&folder, Some(&loaded), stored.as_ref());
    let layout = folder.layout(head)?;
    loaded.spread(method.as_ref(), &layout.sites)?;
    let merged = merged_task(&folder, &loaded, stored.as_ref())?;
    let places = Places::find(&folder, &layout, method.as_ref(), &loaded)?;
    expect_covered(options.adapter, &folder, head, method.as_ref(), &loaded)?;
    let output = options.output;
    if output.exists()
        && std::fs::canonicalize(output).ok() == std::fs::canonicalize(options.model).ok()
    {
        return Err(RunError::setting(
            "`output`",
            "it is the model's own folder",
            "give another folder",
        ));
    }
    expect_replaceable(output, options.overwrite)?;
    let staged = AtomicDir::create(output)?;
    let specs = specs(&folder, &places, options.dtype);
    let size = |spec: &TensorSpec| {
        let values: usize = spec.shape.iter().product();
        (values * spec.dtype.bitsize() / 8) as u64
    };
    let (mut written, all): (u64, u64) = (0, specs.iter().map(size).sum());
    let mut writer = ModelWriter::create(
        staged.path(),
        specs,
        &Metadata::from_iter([("format".to_owned(), "pt".to_owned())]),
        options.max_shard_size,
    )?;
    let mut total = Rounding::default();
    let mut worst: Option<(String, Dtype, f64)> = None;
    let mut report = MergeReport {
        merged: 0,
        replaced: places.replaced.len(),
        files: writer.files(),
        dtypes: Vec::new(),
        dequantised: dequantised(&folder),
        relative_error: 0.0,
        lost_share: 0.0,
        lost_share_overall: 0.0,
        lost_most: None,
        largest_change: 0.0,
    };
    while let Some(spec) = writer.next() {
        done(written, all);
        written += size(spec);
        let (name, dtype) = (spec.name.clone(), spec.dtype);
        if let Some(tensor) = places.replaced.get(&name) {
            let bytes = match dtype == tensor.dtype {
                true => tensor.bytes.clone(),
                false => converted(
                    &name,
                    &tensor.to_float(&name, burn::tensor::FloatDType::F32)?,
                    dtype,
                )?,
            };
            writer.write(&name, &bytes)?;
            continue;
        }
        let change = match places.adapted.get(&name) {
            Some(adapted) => change(
                &folder,
                adapted,
                &loaded,
                method.as_ref(),
                places.widest,
                options.device,
            )?,
            None => None,
        };
        let Some(change) = change else {
            let source = match &places.parted {
                Some((head, table)) if *head == name => table,
                _ => &name,
            };
            let held = checkpoint.info(source).map(|info| info.dtype);
            let bytes = match held == Some(dtype) {
                true => checkpoint.bytes(source)?,
                false => {
                    let values = checkpoint.to_f32(source)?;
                    let shape = [values.len()];
                    converted(&name, &TensorData::new(values, shape), dtype)?.into()
                }
            };
            writer.write(&name, &bytes)?;
            continue;
        };
        if change.loses_bias {
            return Err(RunError::setting(
                "`adapter`",
                format!("it has a bias for the layer of `{name}`, which has none in the base"),
                "keep the adapter beside its base",
            ));
        }
        let (bytes, sums) = change.rounded(dtype);
        if sums.not_finite + sums.overflowed > 0 {
            return Err(no_room(&name, sums.not_finite + sums.overflowed, dtype));
        }
        total.add(&sums);
        let share = sums.lost_share();
        if worst.as_ref().is_none_or(|(_, _, most)| share > *most) {
            worst = Some((name.clone(), dtype, share));
        }
        let shown = dtype.to_string();
        if !report.dtypes.contains(&shown) {
            report.dtypes.push(shown);
        }
        report.merged += 1;
        writer.write(&name, &bytes)?;
    }
    writer.finish()?;
    done(all, all);
    if let Some((name, dtype, share)) = worst {
        let overall = total.lost_share();
        if share.max(overall) > LOSS_LIMIT && !options.allow_loss {
            return Err(RunError::setting(
                "merge",
                format!(
                    "rounding to {dtype} would lose {:.1} % of the adapter's change, of `{name}` {:.1} %",
                    100.0 * overall,
                    100.0 * share
                ),
                "write the merged model in f32 with `dtype` f32, take the loss with `allow_loss`, or \
                 keep the adapter beside its base",
            ));
        }
        report.lost_share = share;
        report.lost_share_overall = overall;
        report.lost_most = (share > 0.0).then_some(name);
        report.relative_error = total.relative_error;
        report.largest_change = total.largest_change;
    }
    copy_tokenizer(&folder, staged.path(), stored.as_ref())?;
    write_config(
        &folder,
        staged.path(),
        merged.as_ref(),
        stored.is_some(),
        options.dtype,
    )?;
    sidecar::write(staged.path(), REPORT, &report)?;
    staged.commit()?;
    Ok(report)
}

/// What the merged model predicts: the adapter's task, or what its head is for, or the base's; none for a
/// model without a head, whatever the adapter was trained for.
fn merged_task(
    folder: &ModelFolder,
    loaded: &LoadedAdapter,
    stored: Option<&TaskFile>,
) -> Result<Option<TaskFile>, RunError> {
    let headless = saved_outputs(folder, loaded).is_none()
        && folder.head_for(labelling(task_of_type(loaded.config.task_type()), 1))
            == HeadState::Absent;
    let of_sequences = |task: &&TaskFile| task.outputs() > 0;
    if stored.filter(of_sequences).is_some() && headless {
        return Ok(None);
    }
    if let Some(task) = stored {
        return Ok(Some(task.clone()));
    }
    if saved_outputs(folder, loaded).is_none() {
        return Ok(None);
    }
    infer_task(folder, Some(loaded), None, None).map(Some)
}

/// The types of the quantised tensors of a base.
fn dequantised(folder: &ModelFolder) -> Vec<String> {
    let checkpoint = folder.checkpoint();
    let kinds = checkpoint
        .names()
        .filter_map(|name| checkpoint.quantised(name));
    let kinds: BTreeSet<BlockType> = kinds.collect();
    kinds.iter().map(BlockType::to_string).collect()
}

/// What the merged file holds: the checkpoint's tensors under their own names, and the adapter's full
/// modules.
fn specs(folder: &ModelFolder, places: &Places, dtype: Option<Dtype>) -> Vec<TensorSpec> {
    let checkpoint = folder.checkpoint();
    let mut specs: Vec<TensorSpec> = Vec::new();
    let mut push = |name: &str, held: Dtype, shape: Vec<usize>| {
        let floating = matches!(held, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        let dtype = dtype.filter(|_| floating).unwrap_or(held);
        specs.push(TensorSpec::new(name, dtype, shape));
    };
    for name in checkpoint.names() {
        let held = checkpoint.info(name).map(|info| (info.dtype, info.shape));
        let replacement = places.replaced.get(name);
        let replacement = replacement.map(|t| (t.dtype, t.shape.clone()));
        if let Some((dtype, shape)) = replacement.or(held) {
            push(name, dtype, shape);
        }
    }
    for (name, tensor) in &places.replaced {
        if !checkpoint.contains(name) {
            push(name, tensor.dtype, tensor.shape.clone());
        }
    }
    if let Some((head, table)) = &places.parted
        && !checkpoint.contains(head)
        && !places.replaced.contains_key(head)
        && let Some(info) = checkpoint.info(table)
    {
        push(head, info.dtype, info.shape);
    }
    specs
}

/// Values in another type, if it has room for them.
fn converted(name: &str, values: &TensorData, dtype: Dtype) -> Result<Vec<u8>, RunError> {
    let limit = match dtype {
        Dtype::F16 => f64::from(half::f16::MAX),
        _ => f64::INFINITY,
    };
    let lost = values
        .iter::<f64>()
        .filter(|v| v.is_finite() && v.abs() > limit)
        .count();
    match lost {
        0 => Ok(round(values, dtype)),
        count => Err(no_room(name, count, dtype)),
    }
}

fn no_room(name: &str, count: usize, dtype: Dtype) -> RunError {
    RunError::setting(
        "merge",
        format!("{count} values of `{name}` would be infinite or NaN in {dtype}"),
        "write the merged model in f32 with `dtype` f32; if that fails too, the adapter is broken",
    )
}
