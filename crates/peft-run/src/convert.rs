//! An adapter written as plain LoRA.

use std::path::Path;

use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};
use indexmap::IndexMap;
use peft_core::{HostTensor, HostTensorExt, LoadedAdapter, Method, Site};
use peft_format::{
    AdapterConfig,
    adapter::{PREFIX, join_key},
    save_adapter,
};
use peft_models::ModelFolder;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    BaseFile, RunError, TaskFile, base,
    merge::{Places, head_of, target_of},
    occupied::expect_ours,
    open::read_with_method,
    sidecar, task,
};

/// What a conversion came to, beside the adapter: it says that the folder is ours.
const REPORT: &str = "convert.json";
/// What a conversion writes.
const WRITTEN: [&str; 5] = [
    REPORT,
    "adapter_config.json",
    "adapter_model.safetensors",
    task::NAME,
    base::NAME,
];

/// What [`convert`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ConvertOptions<'a> {
    /// Hugging Face model folder: the base, for the widths of its weights.
    pub model: &'a Path,
    /// Adapter folder.
    pub adapter: &'a Path,
    /// Folder to write.
    pub output: &'a Path,
    /// Convert even with another base than the one the adapter was trained on.
    pub any_base: bool,
    /// Replace what an earlier conversion wrote.
    pub overwrite: bool,
    /// Where to compute.
    pub device: &'a Device,
}

/// What converting did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConvertReport {
    /// Adapted weights.
    pub modules: usize,
    /// Largest rank.
    pub rank: usize,
    /// Values of the LoRA file's factors.
    pub parameters: usize,
    /// Parameters carried over in full: the head.
    pub saved: usize,
    /// Largest error of an update against the adapter's own, relative to the largest of its elements:
    /// what rounding the two factors to `f32` cost.
    pub relative_error: f64,
}

/// A converted weight: its module, and `lora_A` and `lora_B` as files hold them.
struct Factors {
    module: String,
    rank: usize,
    a: HostTensor,
    b: HostTensor,
}

/// Write an adapter whose updates are products of two narrow matrices as plain LoRA, which Hugging Face
/// PEFT and all that reads its files loads: `r` and `lora_alpha` are the product's rank, so the scale is 1.
///
/// The head and other modules saved in full come along, as do the records of the task and the base.
///
/// # Errors
/// If an update is no such product, the adapter belongs to another base, is the folder to write or is
/// not finite; if files cannot be read or written, or the folder to write holds anything but a conversion
/// that may be replaced.
pub fn convert(options: &ConvertOptions) -> Result<ConvertReport, RunError> {
    let folder = ModelFolder::open(options.model)?;
    let (method, loaded) = read_with_method(options.adapter)?;
    if !options.any_base {
        BaseFile::expect(options.adapter, &folder)?;
    }
    let same = |path: &Path| std::fs::canonicalize(path).ok();
    if options.output.exists() && same(options.output) == same(options.adapter) {
        return Err(RunError::setting(
            "`output`",
            "it is the adapter's own folder",
            "give another folder",
        ));
    }
    expect_ours(options.output, &WRITTEN, options.overwrite)?;
    let task = TaskFile::read(options.adapter)?;
    let layout = folder.layout(head_of(&folder, Some(&loaded), task.as_ref()))?;
    let places = Places::find(&folder, &layout, method.as_ref(), &loaded)?;
    let mut report = ConvertReport {
        modules: 0,
        rank: 0,
        parameters: 0,
        saved: loaded.saved.len(),
        relative_error: 0.0,
    };
    let mut all = Vec::new();
    for (name, adapted) in places.adapted.iter().filter(|(_, adapted)| !adapted.bias) {
        let (factors, error) = factors(
            &folder,
            name,
            &adapted.site,
            &loaded,
            method.as_ref(),
            places.widest,
            options,
        )?;
        report.modules += 1;
        report.rank = report.rank.max(factors.rank);
        report.parameters += (factors.a.bytes.len() + factors.b.bytes.len()) / 4;
        report.relative_error = report.relative_error.max(error);
        all.push(factors);
    }
    let config = lora_config(&loaded.config, &all)?;
    let mut tensors = IndexMap::new();
    let mut push = |key: String, tensor: HostTensor| {
        tensors.insert(key, tensor);
    };
    for Factors { module, a, b, .. } in all {
        push(join_key(&module, "lora_A.weight"), a);
        push(join_key(&module, "lora_B.weight"), b);
    }
    for (name, tensor) in &loaded.saved {
        push(format!("{PREFIX}{name}"), tensor.clone());
    }
    save_adapter(options.output, &config, &tensors)?;
    if let Some(task) = task {
        task.write(options.output)?;
    }
    if let Some(base) = BaseFile::read(options.adapter)? {
        base.write(options.output)?;
    }
    sidecar::write(options.output, REPORT, &report)?;
    Ok(report)
}

/// The factors of one weight, in `f32`, and how far their product is from the adapter's update.
fn factors(
    folder: &ModelFolder,
    name: &str,
    site: &Site,
    loaded: &LoadedAdapter,
    method: &dyn Method,
    widest: [usize; 2],
    options: &ConvertOptions,
) -> Result<(Factors, f64), RunError> {
    let missing = || {
        let problem = format!("the checkpoint has no `{name}`");
        RunError::setting(
            "`model`",
            problem,
            "give the base that the adapter was trained on",
        )
    };
    let info = folder.checkpoint().info(name).ok_or_else(missing)?;
    let target = target_of(site, info.dtype);
    let module = &site.path;
    let restored = loaded.restore(method, &target, widest, options.device)?;
    let adapter = restored.ok_or_else(missing)?;
    let Some([a, b]) = adapter.low_rank() else {
        return Err(RunError::setting(
            "`adapter`",
            format!("{} has no low-rank form: `{module}`", method.name()),
            "merge it into its base with `peft merge`",
        ));
    };
    let [a, b] = [a, b].map(|factor| factor.cast(FloatDType::F32));
    let product = a.clone().matmul(b.clone()).cast(target.dtype);
    let shape = [target.in_features, target.out_features];
    let zeros = Tensor::<2>::zeros(shape, (options.device, target.dtype.into()));
    let update = adapter.effective(zeros);
    let largest = |tensor: Tensor<2>| tensor.abs().max().into_scalar::<f64>();
    let error = largest(product - update.clone()) / largest(update).max(f64::MIN_POSITIVE);
    let rank = a.dims()[1];
    let stored = |factor: Tensor<2>, suffix: &str| {
        let tensor_name = target.tensor_name(suffix);
        let tensor = HostTensor::from_data(&tensor_name, factor.into_data())?.transposed();
        tensor.to_float(&tensor_name, FloatDType::F32)?;
        Ok::<_, RunError>(tensor)
    };
    let factors = Factors {
        module: module.clone(),
        rank,
        a: stored(a, "lora_A.weight")?,
        b: stored(b, "lora_B.weight")?,
    };
    Ok((factors, error))
}

/// LoRA's configuration of these factors, with the targets and modules of the adapter they come from.
fn lora_config(from: &AdapterConfig, all: &[Factors]) -> Result<AdapterConfig, RunError> {
    let usual = all.first().map_or(1, |factors| factors.rank);
    let patterns: Map<String, Value> = (all.iter())
        .filter(|factors| factors.rank != usual)
        .map(|factors| (factors.module.clone(), factors.rank.into()))
        .collect();
    let mut settings = Map::new();
    settings.insert("r".into(), usual.into());
    settings.insert("lora_alpha".into(), usual.into());
    settings.insert("rank_pattern".into(), patterns.clone().into());
    settings.insert("alpha_pattern".into(), patterns.into());
    let lora = peft_methods::by_name("lora")?;
    let method = (lora.build)(&settings)?;
    let mut builder = AdapterConfig::builder(method.peft_type())
        .task_type(from.task_type())
        .base_model(from.base_model_name_or_path())
        .target(from.target());
    for (key, value) in method.config() {
        builder = builder.field(&key, value);
    }
    Ok(builder.build()?)
}
