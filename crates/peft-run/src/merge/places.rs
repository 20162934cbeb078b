//! Which tensors of a checkpoint an adapter changes.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::{
    AdapterError, DynAdapter, HostTensor, HostTensorExt, LoadedAdapter, Method, Site, SiteKind,
    Target,
};
use peft_format::Dtype;
use peft_models::{HeadKind, HeadState, ModelFolder, ModelLayout};

use super::change::Change;
use crate::{
    RunError, TaskFile, blame,
    objective::{CAUSAL, labelling, task_of_type},
};

/// Where the tensors of an adapter go in a checkpoint.
pub struct Places<'a> {
    /// What is adapted of each tensor, by the checkpoint's name of it.
    pub adapted: BTreeMap<String, Adapted>,
    /// Tensors that replace the checkpoint's, or join them: the head.
    pub replaced: BTreeMap<String, &'a HostTensor>,
    /// The largest widths of the adapted sites: of an input, and of an output.
    pub widest: [usize; 2],
    /// The tensor of a head that is written by itself though the checkpoint has it in one with its table: its
    /// name, and the checkpoint's of the table.
    pub parted: Option<(String, String)>,
}

/// What an adapter changes of a checkpoint's tensor.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// The adapted site, by the checkpoint's names.
    pub site: Site,
    /// Whether the tensor is the bias beside the adapted weight, of which the adapter implies a change.
    pub bias: bool,
    /// The checkpoint's tensor that is changed: of another name for a head that it has in one with its table.
    pub source: String,
}

impl<'a> Places<'a> {
    /// # Errors
    /// If the adapter has tensors that this base has no place for, or modules in slots, which change no
    /// tensor.
    pub fn find(
        folder: &'a ModelFolder,
        layout: &ModelLayout,
        method: &dyn Method,
        loaded: &'a LoadedAdapter,
    ) -> Result<Self, RunError> {
        let sites = adapted_sites(layout, method);
        loaded.expect_places(&sites, &layout.parameter_names())?;
        let parted = folder.tied_head().filter(|_| folder.is_parted());
        let parted = parted.and_then(|tied| {
            let head = format!("{}.weight", tied.head);
            let table = folder.find(&head)?;
            Some((head, table))
        });
        let head = parted.as_ref().map(|(head, _)| head.clone());
        // What the checkpoint calls a tensor, and what the merged folder does.
        let stored = |name: &str| {
            let source = folder.find(name)?;
            let written = match head.as_deref() == Some(name) {
                true => name.to_owned(),
                false => source.clone(),
            };
            Some((written, source))
        };
        let mut places = Self {
            adapted: BTreeMap::new(),
            replaced: BTreeMap::new(),
            widest: loaded.widest(&sites),
            parted,
        };
        for (name, tensor) in &loaded.saved {
            let written = stored(name).map_or_else(|| name.clone(), |(written, _)| written);
            places.replaced.insert(written, tensor);
        }
        let found = |site: &&Site| loaded.modules.contains_key(&site.path);
        for site in sites.iter().filter(found) {
            let path = &site.path;
            let parameter = match site.kind {
                SiteKind::Slot => {
                    return Err(RunError::setting(
                        "`adapter`",
                        format!(
                            "{} inserts a module at `{path}`, which changes no weight: it cannot be merged, nor written as LoRA",
                            method.name()
                        ),
                        "keep the adapter beside its base",
                    ));
                }
                kind if kind.is_module() => format!("{path}.weight"),
                _ => path.clone(),
            };
            let Some((name, source)) = stored(&parameter) else {
                return Err(RunError::setting(
                    "`model`",
                    format!("the checkpoint has no `{parameter}`"),
                    "give the base that the adapter was trained on",
                ));
            };
            let of = |bias, source| Adapted {
                site: site.clone(),
                bias,
                source,
            };
            places.adapted.insert(name, of(false, source));
            if let Some(bias) = bias_beside(site)
                && let Some((name, source)) = stored(&bias)
            {
                places.adapted.entry(name).or_insert(of(true, source));
            }
        }
        Ok(places)
    }
}

/// The bias beside a weight that an adapter may imply a change of: a linear layer's or a norm's.
fn bias_beside(site: &Site) -> Option<String> {
    match site.kind {
        SiteKind::Parameter => Some(format!("{}.bias", site.path.strip_suffix(".weight")?)),
        kind => kind.is_linear().then(|| format!("{}.bias", site.path)),
    }
}

/// The sites of a base that a method may have adapted, by the checkpoint's names.
pub fn adapted_sites(layout: &ModelLayout, method: &dyn Method) -> Vec<Site> {
    let sites = layout.sites.iter();
    let sites = sites.filter(|site| method.site_kinds().contains(&site.kind));
    sites.cloned().collect()
}

/// A tensor of the checkpoint, before and after its adapter; none where the adapter does nothing to it.
///
/// # Errors
/// If the adapter does not fit the tensor; [`RunError::BrokenBase`] if the tensor is not finite.
pub fn change(
    folder: &ModelFolder,
    adapted: &Adapted,
    loaded: &LoadedAdapter,
    method: &dyn Method,
    widest: [usize; 2],
    device: &Device,
) -> Result<Option<Change>, RunError> {
    let (checkpoint, name) = (folder.checkpoint(), adapted.source.as_str());
    let Some(info) = checkpoint.info(name) else {
        return Ok(None);
    };
    let mut base = HostTensor {
        dtype: info.dtype,
        shape: info.shape.clone(),
        bytes: checkpoint.bytes(name)?.into_owned(),
    };
    let kind = adapted.site.kind;
    let is_matrix = kind.is_linear() || kind == SiteKind::Embedding;
    if !is_matrix || adapted.bias {
        // Of any rank: a list of values.
        base.shape = vec![info.shape.iter().product()];
    }
    let target = target_of(&adapted.site, info.dtype);
    let Some(adapter) = loaded.restore(method, &target, widest, device)? else {
        return Ok(None);
    };
    if adapted.bias && !adapter.implies_bias() {
        return Ok(None);
    }
    let loses_bias = loses_bias(folder, &adapted.site, &adapter, &target, device);
    let before = base
        .to_float(name, target.dtype)
        .map_err(|error| match error {
            // It is the base's tensor, not the adapter's.
            AdapterError::NotFinite { name, count } => blame::broken(folder, name, count),
            error @ AdapterError::Dtype { .. } => RunError::File {
                path: folder.path().to_owned(),
                problem: error.to_string(),
                fix: "give a base whose weights are numbers of floating point".into(),
            },
            other => other.into(),
        })?;
    let after = match adapted.bias {
        true => {
            let bias = Tensor::<1>::from_data(before.clone(), (device, target.dtype.into()));
            adapter.effective_bias(bias).into_data()
        }
        false => effective(&adapter, &target, before.clone(), device),
    };
    Ok(Some(Change {
        after,
        before,
        stored: base.dtype,
        loses_bias,
    }))
}

/// Whether an adapter has a bias for a layer that has none in the base, which no weight can hold.
pub fn loses_bias(
    folder: &ModelFolder,
    site: &Site,
    adapter: &DynAdapter,
    target: &Target,
    device: &Device,
) -> bool {
    let bias = bias_beside(site).and_then(|bias| folder.find(&bias));
    // What only scales a bias loses nothing where there is none.
    let adds_bias = || {
        let zeros = Tensor::zeros([target.out_features], (device, target.dtype.into()));
        let bias = adapter.effective_bias(zeros).into_data();
        bias.iter::<f64>().any(|value| value != 0.0)
    };
    adapter.implies_bias() && bias.is_none() && adds_bias()
}

/// A site's adapted value in the checkpoint's layout.
fn effective(
    adapter: &DynAdapter,
    target: &Target,
    before: TensorData,
    device: &Device,
) -> TensorData {
    let options = (device, target.dtype.into());
    match target.kind {
        SiteKind::Linear => {
            let weight = Tensor::<2>::from_data(before, options).transpose();
            adapter.effective(weight).transpose().into_data()
        }
        SiteKind::TransposedLinear | SiteKind::Embedding => adapter
            .effective(Tensor::<2>::from_data(before, options))
            .into_data(),
        _ => {
            let values = Tensor::<1>::from_data(before, options);
            adapter.effective_values(values, &target.shape).into_data()
        }
    }
}

/// The target at a site whose values the checkpoint holds in a type.
pub fn target_of(site: &Site, held: Dtype) -> Target {
    Target {
        dtype: match held {
            Dtype::F64 => FloatDType::F64,
            _ => FloatDType::F32,
        },
        ..site.target(site.path.clone())
    }
}

/// The head that a base has with an adapter: that of the adapter's task, where a file tells it, else what the
/// checkpoint or the adapter holds.
pub fn head_of(
    folder: &ModelFolder,
    loaded: Option<&LoadedAdapter>,
    task: Option<&TaskFile>,
) -> HeadKind {
    if let Some(task) = task {
        return task.head();
    }
    let by_type = loaded.and_then(|loaded| task_of_type(loaded.config.task_type()));
    if by_type == Some(CAUSAL) {
        return HeadKind::Language;
    }
    match (
        folder.head_for(labelling(by_type, 1)),
        loaded.and_then(|loaded| saved_outputs(folder, loaded)),
    ) {
        (_, Some(outputs)) | (HeadState::Present { outputs, .. }, _) => labelling(by_type, outputs),
        _ if folder.config().is_causal() => HeadKind::Language,
        // The number of outputs changes nothing.
        _ => labelling(by_type, 1),
    }
}

/// Outputs of the head that the adapter holds, if it does.
pub fn saved_outputs(folder: &ModelFolder, loaded: &LoadedAdapter) -> Option<usize> {
    let layout = folder.layout(labelling(task_of_type(loaded.config.task_type()), 1));
    let classifier = layout.ok()?.heads.pop()?;
    let weight = loaded.saved.get(&format!("{classifier}.weight"))?;
    weight.shape.first().copied()
}
