//! Putting the adapter of a run on its model.

use peft_core::{
    AttachOptions, AttachReport, LoadedAdapter, Method, NameMap, attach, load_adapter,
    matched_modules,
};
use peft_format::{AdapterConfig, TargetSpec, Targets, targets::default_targets};
use peft_models::{ModelFolder, SequenceModel};

use super::probe::Probe;
use crate::{RunConfig, TrainError, open::read_with_method};

/// The model, its method, the configuration to save and what was attached.
pub type AdaptedModel = (SequenceModel, Box<dyn Method>, AdapterConfig, AttachReport);

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
    /// What a configuration asks for; `created` are the modules of the head that the checkpoint lacks.
    pub fn of(
        config: &RunConfig,
        folder: &ModelFolder,
        created: &[String],
    ) -> Result<Self, TrainError> {
        let heads = folder.head_modules();
        let mut to_save: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        let in_head = |name: &str| {
            heads
                .iter()
                .any(|head| name == *head || name.starts_with(&format!("{head}.")))
        };
        to_save.extend(created.iter().filter(|name| !in_head(name)).cloned());

        if let Some(path) = &config.adapter {
            let (method, loaded) = read_with_method(path)?;
            if !method.name().eq_ignore_ascii_case(&config.method) {
                return Err(TrainError::setting(
                    "--method",
                    format!("the adapter to continue from is {}", method.name()),
                    "give the same method, or start afresh without --adapter",
                ));
            }
            let mut saved = loaded.config.modules_to_save().to_vec();
            to_save.retain(|name| !saved.contains(name));
            saved.extend(to_save);
            return Ok(Self {
                method,
                source: Source::Continued(Box::new(loaded)),
                saved,
            });
        }
        let entry = peft_methods::by_name(&config.method)?;
        let mut settings = (entry.defaults)();
        settings.extend(config.method_config.clone());
        if let Some(key) = config
            .method_config
            .keys()
            .find(|key| !entry.keys.contains(&key.as_str()))
        {
            return Err(TrainError::setting(
                key.clone(),
                format!("{} has no such setting", entry.name),
                format!("its settings are {}", entry.keys.join(", ")),
            ));
        }
        let method = (entry.build)(&settings)?;
        let mut spec = config
            .targets
            .clone()
            .unwrap_or(TargetSpec::new(Targets::Unspecified));
        if spec.modules == Targets::Unspecified {
            // Layers or exclusions may be given without saying what they restrict.
            spec.modules = family_targets(&folder.config().model_type);
        }
        spec.modules_to_save.extend(to_save);
        Ok(Self {
            method,
            saved: spec.modules_to_save.clone(),
            source: Source::Fresh(spec),
        })
    }

    /// Put the adapters on the model.
    pub fn adapt(
        self,
        config: &RunConfig,
        model: SequenceModel,
        names: &NameMap,
        probe: Probe,
    ) -> Result<AdaptedModel, TrainError> {
        let heads = model.head_modules();
        let method = self.method;
        let mut spec = match self.source {
            Source::Fresh(spec) => spec,
            Source::Continued(loaded) => {
                let mut adapter_config = loaded.config.clone();
                adapter_config.set("modules_to_save", self.saved.clone())?;
                let (model, mut report) =
                    load_adapter(model, &loaded, method.as_ref(), names, probe.device)?;
                let (model, values) = peft_core::train_modules(model, names, &self.saved);
                report.saved_parameters = values;
                return Ok((model, method, adapter_config, report));
            }
        };
        let gradients = match method.gradient_batches() {
            0 => None,
            batches => {
                let modules = matched_modules(&model, &spec, names, heads)?;
                Some(probe.weight_gradients(&model, names, &modules, batches)?)
            }
        };
        let options = AttachOptions {
            targets: &spec,
            names,
            modules_to_save: &spec.modules_to_save,
            heads,
            seed: config.seed,
            gradients: gradients.as_ref(),
        };
        let (model, report) = attach(model, method.as_ref(), &options)?;
        // Old PEFT knows neither `all-linear` nor exclusions: say what they came to.
        if spec.modules == Targets::AllLinear || spec.exclude.is_some() {
            let paths = report
                .targets
                .iter()
                .map(|t| t.target.path.clone())
                .collect();
            spec = TargetSpec {
                modules_to_save: spec.modules_to_save,
                ..TargetSpec::new(Targets::List(paths))
            };
        }
        let mut builder = AdapterConfig::builder(method.peft_type())
            .task_type(Some("SEQ_CLS"))
            .base_model(Some(&config.model.to_string_lossy()))
            .target(&spec);
        for (key, value) in method.config() {
            builder = builder.field(&key, value);
        }
        Ok((model, method, builder.build()?, report))
    }
}

/// Queries and values, by the names of the family.
pub fn family_targets(model_type: &str) -> Targets {
    default_targets(model_type).unwrap_or_else(|| {
        let names: &[&str] = match model_type {
            "distilbert" => &["q_lin", "v_lin"],
            _ => &["query", "value"],
        };
        Targets::List(names.iter().map(|name| (*name).to_owned()).collect())
    })
}
