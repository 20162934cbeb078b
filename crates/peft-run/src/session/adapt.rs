//! Putting the adapter of a run on its model.

use std::{collections::BTreeSet, path::Path};

use peft_core::{
    AttachOptions, AttachReport, DefaultTargets, LoadedAdapter, Method, NameMap, PhaseSpec, Site,
    SiteKind, attach, is_saved, load_adapter, matched_modules, resolve_sites, saved_with_biases,
};
use peft_format::{AdapterConfig, TargetModules, TargetSpec, targets::Exclude};
use peft_methods::Entry;
use peft_models::{Description, HeadKind, Model, ModelFolder, ModelLayout, Network, Role};
use serde_json::{Map, Value};

use super::{
    defaults::{fill, of_model},
    names::expect_matches,
    phases::probe_batches,
    probe::Probe,
};
use crate::{
    RunConfig, RunError,
    open::{expect_covered, fit_adapter, read_with_method, saved_as_one},
};

/// A model with adapters, the configuration to save and what was attached.
pub type AdaptedModel = (Model, AdapterConfig, AttachReport);

/// The configuration with the defaults that depend on the method and the model. An adapter to
/// continue from has its own settings and targets.
pub fn resolve(config: &RunConfig, folder: &ModelFolder, entry: &Entry) -> RunConfig {
    let mut config = config.clone();
    if config.adapter.is_none() {
        let mut settings = entry.defaults_at(config.learning_rate);
        settings.extend(config.method_config);
        config.method_config = settings;
        config.method_config = of_model(config.method_config, folder, entry);
        // What follows from the model may say what is adapted.
        if let Ok(method) = (entry.build)(&config.method_config) {
            resolve_targets(&mut config, folder, method.as_ref());
        }
    }
    config
}

/// Where nothing is said, the targets that a method adapts by itself; of `all-linear`, those in the layers that are named.
pub fn resolve_targets(config: &mut RunConfig, folder: &ModelFolder, method: &dyn Method) {
    let asked = match config.target_modules {
        TargetModules::Unspecified => method.default_targets(),
        TargetModules::AllLinear => DefaultTargets::AllLinear,
        TargetModules::List(_) | TargetModules::Regex(_) => return,
    };
    if method.adapts_weights() {
        let sites = &folder.description().layout().sites;
        // What is wrong with its own targets is told where adapters are made.
        let own = match config.target_modules {
            TargetModules::Unspecified => method.own_targets(sites, folder.head_modules()),
            _ => Ok(None),
        };
        // Layers by a pattern are no plain numbers.
        let layers = match config.layers_pattern.as_slice() {
            [] => config.layers.as_slice(),
            _ => &[],
        };
        config.target_modules = match own {
            Ok(Some(paths)) => TargetModules::List(paths),
            _ => targets_in(folder, asked, layers),
        };
    }
}

/// What a method adapts by itself in some layers (none named: in all). Beside a regular expression and beside `all-linear` PEFT
/// allows no layers, so there the modules of these layers are listed by their whole names.
pub(super) fn targets_in(
    folder: &ModelFolder,
    targets: DefaultTargets,
    layers: &[usize],
) -> TargetModules {
    let modules = default_targets(folder.description(), targets);
    let by_name = matches!(modules, TargetModules::List(_) | TargetModules::Unspecified);
    if layers.is_empty() || by_name {
        return modules;
    }
    let sites = folder.description().layout().sites;
    let spec = TargetSpec::new(modules.clone());
    let heads = folder.head_modules();
    let Ok(mut found) = resolve_sites(sites.clone(), &spec, SiteKind::LINEAR, heads) else {
        return modules;
    };
    let inside = |path: &String| {
        let site = sites.iter().find(|site| &site.path == path);
        let layer = site.and_then(Site::layer);
        layer.is_some_and(|layer| layers.contains(&layer))
    };
    // Where none is inside, the layers are refused where the names are checked.
    if found.matched.iter().any(inside) {
        found.matched.retain(inside);
    }
    TargetModules::List(found.matched)
}

/// What a family calls the targets that a method adapts by itself.
pub fn default_targets(description: &Description, targets: DefaultTargets) -> TargetModules {
    match targets {
        DefaultTargets::Attention => description.default_targets(),
        DefaultTargets::FeedForward => description.targets(Role::FEED_FORWARD),
        DefaultTargets::KeysValuesInner => description.targets(Role::KEYS_VALUES_INNER),
        DefaultTargets::Inner => description.targets(Role::INNER),
        DefaultTargets::Norms => description.norms(),
        DefaultTargets::AllLinear => TargetModules::AllLinear,
        DefaultTargets::Named(names) => {
            TargetModules::List(names.iter().map(|&name| name.to_owned()).collect())
        }
    }
}

/// What a run trains, as far as it is known before the model is loaded.
pub struct Choice {
    /// The method.
    pub method: Box<dyn Method>,
    /// Where its adapters come from.
    pub source: Source,
    /// Modules trained and saved in full, by the checkpoint's names.
    pub saved: Vec<String>,
}

/// Where adapters come from.
pub enum Source {
    /// New ones on these targets.
    Fresh(TargetSpec),
    /// An adapter to continue from.
    Continued(Box<LoadedAdapter>),
}

impl Choice {
    /// What is trained and saved in full, biases by themselves included, by the checkpoint's names; `is_adapted`
    /// tells the modules with adapters.
    pub fn full(&self, layout: &ModelLayout, is_adapted: impl Fn(&str) -> bool) -> Vec<String> {
        let bias = match &self.source {
            Source::Fresh(spec) => &spec.bias,
            Source::Continued(loaded) => &loaded.config.target().bias,
        };
        saved_with_biases(&self.saved, bias, &layout.parameter_names(), is_adapted)
    }

    /// What a configuration asks for; `created` are the modules of the head that the checkpoint lacks.
    pub fn of(
        config: &RunConfig,
        folder: &ModelFolder,
        head: HeadKind,
        created: &[String],
    ) -> Result<Self, RunError> {
        let to_save = heads_to_save(folder, head, created)?;
        match &config.adapter {
            Some(path) => Self::continued(config, path, folder, head, to_save),
            None => {
                let entry = peft_methods::by_name(&config.method)?;
                let method = (entry.build)(&config.method_config)?;
                Self::fresh(config, method, folder, head, to_save)
            }
        }
    }

    /// What a configuration asks for, with a method of the caller's own.
    pub fn own(
        config: &RunConfig,
        method: Box<dyn Method>,
        folder: &ModelFolder,
        head: HeadKind,
        created: &[String],
    ) -> Result<Self, RunError> {
        let to_save = heads_to_save(folder, head, created)?;
        Self::fresh(config, method, folder, head, to_save)
    }

    /// An adapter to continue from.
    fn continued(
        config: &RunConfig,
        path: &Path,
        folder: &ModelFolder,
        head: HeadKind,
        mut to_save: Vec<String>,
    ) -> Result<Self, RunError> {
        let (method, mut loaded) = read_with_method(path)?;
        fit_adapter(folder, &mut loaded)?;
        loaded.spread(method.as_ref(), &folder.description().layout().sites)?;
        let asked = peft_methods::by_name(&config.method)?.read_as();
        if !method.name().eq_ignore_ascii_case(asked) {
            return Err(RunError::setting(
                "`method`",
                format!("the adapter to continue from is {}", method.name()),
                "give the same method, or start afresh without `adapter`",
            ));
        }
        expect_covered(path, folder, head, method.as_ref(), &loaded)?;
        let entry = peft_methods::by_name(method.name())?;
        let mut settings = loaded.config.fields_as_saved();
        let mut given = config.method_config.clone();
        if let Some(parts) = given.get("parts").cloned() {
            // Each part as it was when the adapter was trained: with what it left to its method and the model.
            let own = of_model(Map::from_iter([("parts".to_owned(), parts)]), folder, entry);
            given.extend(own);
            if let (Some(given), Some(saved)) = (given.get_mut("parts"), settings.get("parts")) {
                fill(given, saved.clone());
            }
        }
        settings.extend(given);
        // With what concerns training only, which no adapter's file holds.
        let merged = (entry.build)(&settings)?;
        let merged = merged.of_files().unwrap_or(merged);
        expect_settings(config, entry, &method.config(), &merged.config())?;
        let method = merged;
        if target_spec(config) != TargetSpec::new(TargetModules::Unspecified) {
            return Err(RunError::setting(
                "`adapter`",
                "targets, layers or modules to save are given, too",
                "leave them out, for an adapter keeps its own, or start afresh without it",
            ));
        }
        let mut saved = loaded.config.modules_to_save().to_vec();
        to_save.retain(|name| !saved.contains(name));
        saved.extend(to_save);
        Ok(Self {
            method,
            source: Source::Continued(Box::new(loaded)),
            saved,
        })
    }

    /// New adapters.
    fn fresh(
        config: &RunConfig,
        method: Box<dyn Method>,
        folder: &ModelFolder,
        head: HeadKind,
        to_save: Vec<String>,
    ) -> Result<Self, RunError> {
        let mut spec = target_spec(config);
        let untargeted = TargetSpec {
            modules_to_save: spec.modules_to_save.clone(),
            bias: spec.bias.clone(),
            ..TargetSpec::new(TargetModules::Unspecified)
        };
        if !method.adapts_weights() && spec != untargeted {
            return Err(RunError::setting(
                "`target_modules`",
                format!("{} adapts no modules", method.name()),
                "leave targets and layers out, or choose another method",
            ));
        }
        let description = folder.describe(head)?;
        let layout = description.layout();
        let own = method.own_targets(&layout.sites, description.head_modules)?;
        if let Some(paths) = &own {
            let own = TargetSpec {
                modules: TargetModules::List(paths.clone()),
                ..untargeted
            };
            if spec != own {
                return Err(RunError::setting(
                    "`target_modules`",
                    format!(
                        "the parts of {} have targets and layers of their own",
                        method.name()
                    ),
                    "give them there",
                ));
            }
        }
        // A head that is the table of tokens is saved as that.
        let as_one = saved_as_one(folder, &spec.modules_to_save);
        if let Some(tied) = folder.tied_head().filter(|_| !folder.is_parted()) {
            let head = format!("{}.weight", tied.head);
            let own = |module: &String| !is_saved(&head, std::slice::from_ref(module));
            spec.modules_to_save.retain(own);
        }
        expect_matches(&spec, method.as_ref(), &layout, description.head_modules)?;
        spec.modules_to_save = as_one;
        spec.modules_to_save.extend(to_save);
        // What is trained in full has no adapters beside, and whole names that mean nothing else are no typing errors here.
        if let (Some(own), TargetModules::List(paths)) = (&own, &mut spec.modules) {
            paths.retain(|path| !own.contains(path) || !is_saved(path, &spec.modules_to_save));
        }
        Ok(Self {
            method,
            saved: spec.modules_to_save.clone(),
            source: Source::Fresh(spec),
        })
    }

    /// Put adapters of a method on the model: the run's own, or that of a warm-up.
    pub fn adapt(
        &self,
        method: &dyn Method,
        model: Model,
        names: &NameMap,
        probe: Probe,
    ) -> Result<AdaptedModel, RunError> {
        let heads = model.description().head_modules;
        let mut spec = match &self.source {
            Source::Fresh(spec) => spec.clone(),
            Source::Continued(loaded) => {
                let mut adapter_config = loaded.config.clone();
                adapter_config.set("modules_to_save", self.saved.clone())?;
                let loading = load_adapter(model, loaded, method, names, probe.device);
                let (model, mut report) = loading.map_err(|error| {
                    let path = probe.config.adapter.as_deref().unwrap_or(Path::new(""));
                    RunError::from(error).of_adapter(path)
                })?;
                let layout = model.description().layout();
                let full = self.full(&layout, |module| loaded.modules.contains_key(module));
                let (model, values) = peft_core::train_modules(model, names, &full);
                report.saved_parameters = values;
                return Ok((model, adapter_config, report));
            }
        };
        let gradients = match probe_batches(&method.phases()) {
            0 => None,
            batches => {
                let modules = matched_modules(&model, &spec, method.site_kinds(), names, heads)?;
                Some(probe.weight_gradients(&model, names, &modules, method, batches)?)
            }
        };
        let matched = match method.adapts_weights() {
            true => matched_modules(&model, &spec, method.site_kinds(), names, heads)?.len(),
            false => 0,
        };
        let options = AttachOptions {
            targets: &spec,
            names,
            modules_to_save: &spec.modules_to_save,
            heads,
            seed: probe.config.seed,
            gradients: gradients.as_ref(),
        };
        let (model, report) = attach(model, method, &options)?;
        // Old PEFT knows neither `all-linear` nor exclusions, and a shared budget may leave modules out:
        // say what they came to.
        let beside: BTreeSet<String> = method
            .also_adapts(&model.description().layout().sites)?
            .into_iter()
            .collect();
        let left_out = report.targets.len() < matched + beside.len();
        if spec.modules == TargetModules::AllLinear || spec.exclude.is_some() || left_out {
            let paths = report
                .targets
                .iter()
                .map(|t| t.target.path.clone())
                .filter(|path| !beside.contains(path))
                .collect();
            spec = TargetSpec {
                modules_to_save: spec.modules_to_save,
                bias: spec.bias,
                ..TargetSpec::new(TargetModules::List(paths))
            };
        }
        let adapter_config = configuration(method, &spec, probe)?;
        Ok((model, adapter_config, report))
    }

    /// The phases of the run. An adapter to continue from is made already.
    pub fn phases(&self) -> Vec<PhaseSpec> {
        match &self.source {
            Source::Fresh(_) => self.method.phases(),
            Source::Continued(_) => vec![PhaseSpec::Train],
        }
    }

    /// The configuration of the run's adapters as far as it is known before they are made.
    pub fn configuration(&self, probe: Probe) -> Result<AdapterConfig, RunError> {
        match &self.source {
            Source::Fresh(spec) => configuration(self.method.as_ref(), spec, probe),
            Source::Continued(loaded) => Ok(loaded.config.clone()),
        }
    }
}

fn configuration(
    method: &dyn Method,
    spec: &TargetSpec,
    probe: Probe,
) -> Result<AdapterConfig, RunError> {
    let mut spec = spec.clone();
    // Files of the model as a whole say no targets where those are the method's own: PEFT knows none for them.
    if let (false, DefaultTargets::Named(names), TargetModules::List(targets)) = (
        method.whole_names().is_empty(),
        method.default_targets(),
        &spec.modules,
    ) && targets == names
    {
        spec.modules = TargetModules::Unspecified;
    }
    let mut builder = AdapterConfig::builder(method.peft_type())
        .task_type(Some(probe.objective.task_type()))
        .base_model(Some(&probe.config.model.to_string_lossy()))
        .target(&spec);
    for (key, value) in method.config() {
        builder = builder.field(&key, value);
    }
    Ok(builder.build()?)
}

/// Refuse settings of the method that an adapter to continue from has otherwise, or that only concern how it
/// would start. `own` are the adapter's, `merged` those with what is given.
fn expect_settings(
    config: &RunConfig,
    entry: &Entry,
    own: &Map<String, Value>,
    merged: &Map<String, Value>,
) -> Result<(), RunError> {
    const FIX: &str = "leave it out, or start afresh without `adapter`";
    let shown = |value: Option<&Value>| value.map_or("its default".to_owned(), Value::to_string);
    let defaults = entry.settings();
    let is_default = |key: &str, value: &Value| {
        let setting = defaults.iter().find(|one| one.key == key);
        setting.is_some_and(|one| one.default.as_ref() == Some(value))
    };
    for (key, value) in &config.method_config {
        if own.get(key) != merged.get(key) {
            let problem = format!(
                "the adapter to continue from has {}, and {} is given",
                shown(own.get(key)),
                value
            );
            return Err(RunError::setting(format!("`{key}`"), problem, FIX));
        }
        let told = merged.contains_key(key) || is_default(key, value);
        if !told && !entry.training_keys.contains(&key.as_str()) {
            let problem = "it concerns how an adapter starts, and this one is continued";
            return Err(RunError::setting(format!("`{key}`"), problem, FIX));
        }
    }
    if own != merged {
        return Err(RunError::setting(
            "`adapter`",
            "the settings given for the method are not the adapter's",
            "leave them out, for an adapter keeps its own, or start afresh without it",
        ));
    }
    Ok(())
}

/// The modules of the head that an objective trains, and others that the checkpoint lacks.
fn heads_to_save(
    folder: &ModelFolder,
    head: HeadKind,
    created: &[String],
) -> Result<Vec<String>, RunError> {
    let description = folder.describe(head)?;
    let heads = description.modules_to_save();
    let mut to_save: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let in_head = |name: &str| {
        heads
            .iter()
            .any(|head| name == *head || name.starts_with(&format!("{head}.")))
    };
    to_save.extend(created.iter().filter(|name| !in_head(name)).cloned());
    Ok(to_save)
}

/// The targets that a configuration names.
pub fn target_spec(config: &RunConfig) -> TargetSpec {
    let (layers, pattern) = (&config.layers, &config.layers_pattern);
    TargetSpec {
        modules: config.target_modules.clone(),
        exclude: match &config.exclude_modules {
            TargetModules::List(names) => Some(Exclude::List(names.clone())),
            TargetModules::Regex(regex) => Some(Exclude::Regex(regex.clone())),
            TargetModules::AllLinear | TargetModules::Unspecified => None,
        },
        layers_to_transform: (!layers.is_empty()).then(|| layers.clone()),
        layers_pattern: (!pattern.is_empty()).then(|| pattern.clone()),
        modules_to_save: config.modules_to_save.clone(),
        // What is no such word was refused with the settings.
        bias: config.bias.parse().unwrap_or_default(),
    }
}
