//! What a run would train and cost, from the headers of its files.

mod calibrate;
mod footprint;
mod memory;
mod modules;
mod room;
mod time;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use indexmap::IndexMap;
use peft_config::Problems;
use peft_core::{
    AdapterSpec, Fields, HostTensor, Method, NameMap, Site, add_others, is_saved, resolve_sites,
    saved_beside_whole, shared_key, widest,
};
use peft_format::{
    Dtype, TensorInfo, TensorSpec,
    adapter::{adapter_size, bias_key, join_key},
};
use peft_models::{HeadKind, HeadState, ModelFolder, ModelLayout};
use serde::Serialize;

pub(crate) use self::calibrate::machine;
pub use self::{
    calibrate::{Rates, calibrate},
    footprint::{Footprint, SiteValues},
    memory::MemoryPlan,
    modules::{ModuleGroup, Unmatched},
    time::TimePlan,
};
use self::{
    modules::groups,
    work::{Work, shares_table},
};
use crate::{
    DeviceChoice, RunConfig, RunError, TaskFile,
    objective::{has_labels, head_kind, labelling, objective, outputs},
    open::fit_run,
    prepared::longest,
    session::{Choice, Data, EVAL_BATCH, Source, resolve, warm_up_steps},
    text::tokenizer,
};

/// Bytes of a value of the computation.
const VALUE: usize = 4;

/// What is planned is memory of the CPU.
fn cpu() -> Result<Device, RunError> {
    Ok(DeviceChoice::Cpu.select()?.device)
}

/// What a run would train, and an estimate of what it costs.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The method.
    pub method: String,
    /// Adapted modules.
    pub targets: usize,
    /// The same, those of all layers together.
    pub modules: Vec<ModuleGroup>,
    /// Linear layers that stay as they are.
    pub left_alone: Vec<ModuleGroup>,
    /// Targets that no module answers to: training would refuse them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<Unmatched>,
    /// Values trained in adapters.
    pub trainable_parameters: usize,
    /// Values trained in full modules: the head.
    pub head_parameters: usize,
    /// Values of the model, adapters included.
    pub total_parameters: usize,
    /// Size of the adapter's weight file.
    pub adapter_bytes: u64,
    /// Outputs of the head; without data, two labels are assumed where nothing tells.
    pub outputs: usize,
    /// Modules that the checkpoint lacks and that start at random.
    pub created: Vec<String>,
    /// The rows, where they were read.
    #[serde(flatten)]
    pub data: Option<DataPlan>,
    /// Tokens of the largest batch; without data, all its rows are as long as allowed.
    pub batch_tokens: usize,
    /// Steps of a warm-up, which come before the others.
    #[serde(skip_serializing_if = "is_none")]
    pub warm_up_steps: u64,
    /// Where memory goes.
    pub memory: MemoryPlan,
    /// Bytes of the base's weights by the types in which they are kept.
    pub weights: BTreeMap<String, usize>,
    /// How long a step takes; unknown on a machine that was not calibrated.
    pub time: Option<TimePlan>,
}

/// The rows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataPlan {
    /// Rows that training uses.
    pub rows: usize,
    /// Rows that select.
    pub selection_rows: usize,
    /// Optimiser steps to come.
    pub steps: u64,
    /// Rows that were cut to the maximum length.
    pub truncated_rows: usize,
    /// Rows of a language model that were left out, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

fn is_none(steps: &u64) -> bool {
    *steps == 0
}

/// Rows that training does not see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// How many.
    pub rows: usize,
    /// How many for each cause.
    pub because: String,
}

/// Plan a run without loading its model: from the checkpoint's headers, and from its rows, if data is
/// named. Nothing is written, and no output need be named.
///
/// # Errors
/// Those that the run would end with before its first step, but for targets that match nothing
/// beside others that do: those are in the plan.
pub fn plan(config: &RunConfig) -> Result<Plan, RunError> {
    Problems::check(config.plan_problems())?;
    let mut folder = ModelFolder::open(&config.model)?;
    if config.new_head {
        folder.drop_head();
    }
    let config = &resolve(config, &folder, peft_methods::by_name(&config.method)?);
    fit_run(&mut folder, config)?;
    config.base_options().apply(&mut folder, &cpu()?)?;
    let made = |head: HeadKind, data: Option<&Data>| {
        let created = folder.check(&folder.layout(head)?)?;
        let choice = Choice::of(config, &folder, head, &created)?;
        Plan::of(config, &folder, &choice, head, data)
    };
    if config.data.as_os_str().is_empty() {
        return made(head(config, &folder)?, None);
    }
    let tokenizer = tokenizer(&config.model)?;
    let max_length = longest(config, &folder);
    let data = Data::load(config, &folder, &tokenizer, max_length)?;
    made(data.task.head(), Some(&data))
}

impl Plan {
    pub(crate) fn of(
        config: &RunConfig,
        folder: &ModelFolder,
        choice: &Choice,
        head: HeadKind,
        data: Option<&Data>,
    ) -> Result<Self, RunError> {
        let description = folder.describe(head)?;
        let layout = description.layout();
        let created = folder.check(&layout)?;
        let (matched, unmatched) = targets(folder, &layout, choice)?;
        let mut specs: Vec<Option<AdapterSpec>> = Vec::with_capacity(layout.sites.len());
        let mut evaluations = Vec::with_capacity(layout.sites.len());
        // A parameter that several adapters share counts once.
        let (mut known, mut copies) = (BTreeSet::new(), 0);
        for site in &layout.sites {
            let target = site.target(site.path.clone());
            let wanted = matched.contains(&site.path);
            let spec = wanted.then(|| choice.method.describe(&target));
            specs.push(spec.transpose()?);
            let evaluation = wanted.then(|| choice.method.evaluation(&target));
            evaluations.push(evaluation.transpose()?.flatten());
            if wanted {
                for (name, values) in choice.method.tied(&target)? {
                    copies += if known.insert(name) { 0 } else { values };
                }
            }
        }
        let adapted = layout.sites.iter().zip(&specs);
        let widest = widest(adapted.filter_map(|(site, spec)| spec.as_ref().map(|_| site)));
        let shared = choice.method.describe_shared(widest);
        let full = choice.full(&layout, |module| matched.iter().any(|path| path == module));
        let saved: Vec<&(String, Vec<usize>)> = layout
            .parameters
            .iter()
            .filter(|(name, _)| is_saved(name, &full))
            .collect();
        let size = |shape: &[usize]| shape.iter().product::<usize>();
        let twice = description.parts().map(|(_, part)| part);
        let twice = twice.filter(|part| shares_table(folder, part));
        let shared_values: usize = twice.map(|part| size(&part.shape)).sum();
        let adapters = specs.iter().flatten();
        let all: usize = adapters.map(|spec| spec.cost.parameters).sum();
        let trainable = all - copies;
        let head_parameters: usize = saved.iter().map(|(_, shape)| size(shape)).sum();
        let before = choice.method.rows_before();
        let work = Work::new(config, folder, &description, &specs, &full, before, data)?;
        let rates = Rates::cached(config.device, config.compute);
        let data = data.map(|data| DataPlan {
            rows: data.fit.len(),
            selection_rows: data.select.len(),
            steps: config.total_steps(data.fit.len()),
            truncated_rows: data.loaded.truncated_rows,
            left_out: data.loaded.causal.as_ref().and_then(|causal| {
                Some(LeftOut {
                    rows: causal.left_out(),
                    because: causal.left_out_because()?,
                })
            }),
        });
        let steps = data.as_ref().map(|data| data.steps).or(config.steps);
        let rows = data.as_ref().map(|data| data.rows);
        let warm_up_steps = warm_up_steps(&choice.phases(), config, rows);
        Ok(Self {
            method: choice.method.name().to_owned(),
            targets: matched.len(),
            modules: groups(&layout, &specs, &evaluations, true),
            left_alone: groups(&layout, &specs, &evaluations, false),
            unmatched,
            trainable_parameters: trainable,
            head_parameters,
            total_parameters: layout.values() - shared_values + trainable,
            adapter_bytes: adapter_size(file_tensors(
                choice.method.as_ref(),
                &layout,
                &description.names(),
                &specs,
                &shared,
                &saved,
            )?)?,
            outputs: outputs(head),
            created,
            data,
            batch_tokens: work.largest.tokens,
            weights: work.types.clone(),
            warm_up_steps,
            memory: MemoryPlan::of(&work, trainable, head_parameters, EVAL_BATCH),
            time: rates.map(|rates| {
                let all = steps.map(|steps| steps + warm_up_steps);
                TimePlan::of(&work, trainable + head_parameters, rates, all)
            }),
        })
    }

    /// Share of all values that is trained.
    pub fn trained_share(&self) -> f64 {
        (self.trainable_parameters + self.head_parameters) as f64 / self.total_parameters as f64
    }
}

/// The linear layers that carry adapters, and targets without any.
fn targets(
    folder: &ModelFolder,
    layout: &ModelLayout,
    choice: &Choice,
) -> Result<(Vec<String>, Vec<Unmatched>), RunError> {
    let spec = match &choice.source {
        Source::Fresh(_) if !choice.method.adapts_weights() => return Ok(Default::default()),
        Source::Fresh(spec) => spec,
        Source::Continued(loaded) => {
            let mut parameters = layout.parameter_names();
            // Of a head and a table that are one, a file has both.
            let tied = folder.tied_head().filter(|_| !folder.is_parted());
            parameters.extend(tied.map(|tied| format!("{}.weight", tied.head)));
            loaded.expect_places(&layout.sites, &parameters)?;
            return Ok((loaded.modules.keys().cloned().collect(), Vec::new()));
        }
    };
    let sites = layout.sites.iter().cloned();
    let mut resolved = resolve_sites(
        sites,
        spec,
        choice.method.site_kinds(),
        folder.head_modules(),
    )?;
    let mut matched: BTreeSet<String> = resolved.matched.iter().cloned().collect();
    add_others(choice.method.as_ref(), &layout.sites, &mut matched)?;
    matched.retain(|path| !resolved.matched.contains(path));
    resolved.matched.extend(matched);
    let unmatched = resolved.near.map(|near| near.suggestions);
    let unmatched = unmatched.unwrap_or_default().into_iter();
    let unmatched = unmatched.map(|(target, nearest)| Unmatched { target, nearest });
    Ok((resolved.matched, unmatched.collect()))
}

/// What the weight file will hold.
fn file_tensors(
    method: &dyn Method,
    layout: &ModelLayout,
    names: &NameMap,
    specs: &[Option<AdapterSpec>],
    shared: &Fields<TensorInfo>,
    saved: &[&(String, Vec<usize>)],
) -> Result<Vec<TensorSpec>, RunError> {
    let mut tensors = Vec::new();
    for (name, info) in shared {
        tensors.push(TensorSpec::new(
            shared_key(name),
            info.dtype,
            info.shape.clone(),
        ));
    }
    let (whole, modules) = as_whole(method, layout, specs)?;
    for (name, tensor) in &whole {
        tensors.push(TensorSpec::new(
            name.clone(),
            tensor.dtype,
            tensor.shape.clone(),
        ));
    }
    for (site, spec) in layout.sites.iter().zip(specs) {
        if !whole.is_empty() && !modules.contains_key(&site.path) {
            continue;
        }
        for (suffix, info) in spec.iter().flat_map(|spec| &spec.tensors) {
            let key = join_key(method.file_module(&site.path), suffix);
            tensors.push(TensorSpec::new(key, info.dtype, info.shape.clone()));
        }
    }
    let own_key = |module: &str, leaf: &str| match whole.is_empty() {
        true => join_key(module, leaf),
        false => saved_beside_whole(module, leaf),
    };
    for (name, shape) in saved {
        if let Some((module, leaf)) = names.copy_of(name).and_then(|copy| copy.rsplit_once('.')) {
            tensors.push(TensorSpec::new(
                own_key(module, leaf),
                Dtype::F32,
                shape.clone(),
            ));
        }
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        let mut sites = layout.sites.iter().zip(specs);
        let adapted = sites.any(|(site, spec)| spec.is_some() && site.path == module);
        let key = match adapted && leaf == "bias" {
            true => bias_key(module),
            false => own_key(module, leaf),
        };
        tensors.push(TensorSpec::new(key, Dtype::F32, shape.clone()));
    }
    Ok(tensors)
}

/// Tensors of the model as a whole, and those of each module.
type ByWhole = (Fields<HostTensor>, IndexMap<String, Fields<HostTensor>>);

/// What a file holds for the model as a whole, and the modules that it holds by themselves: of tensors of zeros.
fn as_whole(
    method: &dyn Method,
    layout: &ModelLayout,
    specs: &[Option<AdapterSpec>],
) -> Result<ByWhole, RunError> {
    let mut modules = IndexMap::new();
    if method.whole_names().is_empty() {
        return Ok((Fields::new(), modules));
    }
    for (site, spec) in layout.sites.iter().zip(specs) {
        let Some(spec) = spec else { continue };
        let zeros = spec.tensors.iter().map(|(suffix, info)| {
            let tensor = HostTensor {
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: vec![0; info.byte_len().unwrap_or(0)],
            };
            (suffix.clone(), tensor)
        });
        modules.insert(site.path.clone(), zeros.collect());
    }
    let sites = layout.sites.iter();
    let own = sites.filter(|site| method.site_kinds().contains(&site.kind));
    let own: Vec<Site> = own.cloned().collect();
    let whole = method.gather(&mut modules, &own)?;
    Ok((whole, modules))
}

/// The head of the run's task as far as files tell; two labels where they do not.
fn head(config: &RunConfig, folder: &ModelFolder) -> Result<HeadKind, RunError> {
    if !has_labels(config.task) {
        return Ok(head_kind(objective(config.task, 0).as_ref()));
    }
    if let Some(adapter) = &config.adapter
        && let Some(task) = TaskFile::read(adapter)?
    {
        return Ok(task.head());
    }
    let outputs = match folder.head_for(labelling(Some(config.task), 1)) {
        HeadState::Present { outputs, .. } => outputs,
        HeadState::Absent => 2,
    };
    Ok(labelling(Some(config.task), outputs))
}
