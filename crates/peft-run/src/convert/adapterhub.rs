//! Bottleneck modules for AdapterHub's library.

use std::{collections::BTreeMap, path::Path};

use peft_core::{Fields, LoadedAdapter, Method, SiteKind};
use peft_format::{
    HostTensor,
    adapterhub::{AdapterHubFolder, AdapterHubHead},
};
use peft_models::{HeadKind, ModelConfig, ModelFolder, ModelLayout};
use serde_json::{Map, Value};

use super::ConvertReport;
use crate::{RunError, TaskFile, merge::head_of, open::read_with_method};

/// Model types whose modules the library and this one put at the same places, and whether norms follow the parts of
/// their blocks.
const MODELS: [(&str, bool); 6] = [
    ("bert", true),
    ("roberta", true),
    ("xlm-roberta", true),
    ("electra", true),
    ("llama", false),
    ("mistral", false),
];

/// What an adapter stands beside.
pub struct Base<'a> {
    pub folder: &'a ModelFolder,
    pub layout: &'a ModelLayout,
    pub task: Option<&'a TaskFile>,
}

fn refuse(problem: String, fix: &str) -> RunError {
    RunError::setting("`adapter`", problem, fix)
}

/// A setting of the adapter.
fn text<'a>(settings: &'a Map<String, Value>, key: &str) -> &'a str {
    settings
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl Base<'_> {
    /// Write the folder's files.
    pub fn write(
        &self,
        method: &dyn Method,
        loaded: &LoadedAdapter,
        folder: &Path,
    ) -> Result<ConvertReport, RunError> {
        let config = self.folder.config();
        let kind = config.model_type();
        let Some((_, norm_follows)) = MODELS.iter().find(|(known, _)| *known == kind) else {
            let known: Vec<&str> = MODELS.iter().map(|(known, _)| *known).collect();
            return Err(RunError::setting(
                "`to`",
                format!(
                    "bottleneck modules of a `{kind}` model have other places in AdapterHub's library"
                ),
                format!(
                    "keep the adapter in the form that it has; the models are {}",
                    known.join(", ")
                ),
            ));
        };
        if !["bottleneck", "parallel"].contains(&method.name()) {
            return Err(refuse(
                format!(
                    "{} makes no bottleneck modules, which AdapterHub's library loads",
                    method.name()
                ),
                "keep the adapter in the form that it has, or train the method bottleneck or parallel",
            ));
        }
        let slots = self.layout.sites.iter();
        let slots = slots.filter(|site| site.kind == SiteKind::Slot).cloned();
        let slots: Vec<_> = slots.collect();
        loaded.expect_places(&slots, &self.layout.parameter_names())?;
        let settings = method.config();
        let number = |key: &str| settings.get(key).and_then(Value::as_f64);
        let reads = text(&settings, "reads");
        let loaded = &self.placed(loaded, reads, *norm_follows)?;
        let size = self.size(loaded)?;
        let written = AdapterHubFolder {
            model_type: kind.to_owned(),
            model_class: self.class(loaded),
            model_name: loaded.config.base_model_name_or_path().map(str::to_owned),
            hidden_size: self.width(),
            norm_follows: *norm_follows,
            parallel: reads == "residual",
            normed: *norm_follows && reads == "normed",
            non_linearity: text(&settings, "non_linearity").to_owned(),
            scaling: number("scaling").unwrap_or(1.0),
            size,
            modules: loaded
                .modules
                .iter()
                .map(|(path, fields)| (path.clone(), fields.clone().into_iter().collect()))
                .collect(),
            head: self.head(loaded)?,
        };
        written.write(folder)?;
        let errors = errors(loaded, folder)?;
        let values = |tensor: &HostTensor| tensor.shape.iter().product::<usize>();
        let tensors = loaded.modules.values().flat_map(|fields| fields.values());
        Ok(ConvertReport {
            modules: loaded.modules.len(),
            rank: size,
            parameters: tensors.map(values).sum(),
            saved: loaded.saved.len(),
            relative_error: errors.values().copied().fold(0.0, f64::max),
            refused_by_peft: None,
            errors,
        })
    }

    /// The adapter with its modules where the library has such: beside a feed-forward part a module is what it is after
    /// it, unless it reads what the part reads behind a norm of its own.
    fn placed(
        &self,
        loaded: &LoadedAdapter,
        reads: &str,
        norm_follows: bool,
    ) -> Result<LoadedAdapter, RunError> {
        let mut placed = loaded.clone();
        placed.modules.clear();
        for (module, fields) in &loaded.modules {
            let (block, slot) = module.rsplit_once('.').unwrap_or(("", module));
            let place = match slot {
                "after_attention" | "after_feed_forward" => module.clone(),
                "beside_feed_forward" if norm_follows || reads != "residual" => {
                    format!("{block}.after_feed_forward")
                }
                _ => {
                    return Err(refuse(
                        format!(
                            "its module `{module}` stands where AdapterHub's library puts none in such a model"
                        ),
                        "keep the adapter in the form that it has, or train it with `target_modules` after_feed_forward",
                    ));
                }
            };
            if placed.modules.insert(place, fields.clone()).is_some() {
                return Err(refuse(
                    format!(
                        "it has two modules at the feed-forward part of `{block}`, and AdapterHub's library one"
                    ),
                    "keep the adapter in the form that it has",
                ));
            }
        }
        Ok(placed)
    }

    fn width(&self) -> usize {
        match self.folder.config() {
            ModelConfig::Encoder(config) => config.hidden_size,
            ModelConfig::Decoder(config) => config.hidden_size,
            ModelConfig::Mamba(config) => config.hidden_size,
        }
    }

    /// The width of the modules, which the library's settings have once.
    fn size(&self, loaded: &LoadedAdapter) -> Result<usize, RunError> {
        let biases = loaded.modules.values();
        let sizes =
            biases.filter_map(|fields| fields.get("adapter_down.bias")?.shape.first().copied());
        let sizes: std::collections::BTreeSet<usize> = sizes.collect();
        match sizes.into_iter().collect::<Vec<_>>()[..] {
            [size] => Ok(size),
            ref sizes => Err(refuse(
                format!(
                    "its modules have {} widths, and AdapterHub's settings have one",
                    sizes.len()
                ),
                "keep the adapter in the form that it has",
            )),
        }
    }

    /// The class of transformers.
    fn class(&self, loaded: &LoadedAdapter) -> String {
        let description = self.folder.description();
        let ending = match (self.task, head_of(self.folder, Some(loaded), self.task)) {
            (Some(task), _) => task.objective().class_suffix(),
            (None, HeadKind::Language) => "ForCausalLM",
            (None, _) => "ForSequenceClassification",
        };
        description.class_name(ending)
    }

    fn head(&self, loaded: &LoadedAdapter) -> Result<Option<AdapterHubHead>, RunError> {
        let Some(first) = loaded.saved.keys().next() else {
            return Ok(None);
        };
        let head = head_of(self.folder, Some(loaded), self.task);
        let heads = self.folder.describe(head)?.head_modules;
        let of_head = |name: &String| {
            heads.iter().any(|head| {
                name.strip_prefix(*head)
                    .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        if let Some(other) = loaded.saved.keys().find(|name| !of_head(name)) {
            return Err(refuse(
                format!(
                    "`{other}` is saved in full (`modules_to_save`), and AdapterHub's folders hold modules and a head alone"
                ),
                "keep the adapter in the form that it has",
            ));
        }
        let Some(task) = self.task else {
            return Err(refuse(
                format!("it has a head (`{first}`), and no `task.json` says what of"),
                "give the folder as `peft train` wrote it",
            ));
        };
        Ok(Some(AdapterHubHead {
            labels: task.labels.clone(),
            outputs: task.outputs(),
            tensors: loaded
                .saved
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.clone()))
                .collect(),
        }))
    }
}

/// What reading the folder back gives, against what was to be written: of each module the largest difference of its values,
/// relative to the largest of them.
fn errors(loaded: &LoadedAdapter, folder: &Path) -> Result<BTreeMap<String, f64>, RunError> {
    let (_, back) = read_with_method(folder)?;
    let values = |fields: &Fields<HostTensor>| -> Option<Vec<f32>> {
        let all: Option<Vec<Vec<f32>>> = fields.values().map(HostTensor::to_f32).collect();
        Some(all?.concat())
    };
    let error = |path: &String, own: &Fields<HostTensor>| {
        let (own, back) = (values(own)?, values(back.modules.get(path)?)?);
        let apart = own.iter().zip(&back).map(|(a, b)| f64::from(a - b).abs());
        let largest = own
            .iter()
            .fold(f64::MIN_POSITIVE, |most, a| most.max(f64::from(a.abs())));
        (own.len() == back.len()).then(|| apart.fold(0.0, f64::max) / largest)
    };
    let modules = loaded.modules.iter();
    // What did not come back at all is as far off as can be.
    let errors =
        modules.map(|(path, own)| (path.clone(), error(path, own).unwrap_or(f64::INFINITY)));
    Ok(errors.collect())
}
