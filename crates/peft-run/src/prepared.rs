//! What is costly and the same for several runs of a process.

mod search;

use std::{collections::BTreeMap, sync::Arc};

use burn::tensor::Device;
use peft_config::Problems;
use peft_core::Method;
use peft_data::TextTokenizer;
use peft_format::AdapterConfig;
use peft_models::{Model, ModelFolder};
use serde_json::{Map, Value};

use crate::{
    BaseFile, DeviceChoice, RunConfig, RunError, SelectedDevice, TaskFile,
    checkpoint::{Fingerprint, inputs},
    features::Features,
    open::{fit_run, parts_head},
    session::Data,
    text::tokenizer,
};

pub use search::Metric;

/// A base and its data, opened, hashed, tokenised, split and loaded once, for any number of runs.
///
/// A run on it ([`train_prepared`](crate::train_prepared)) ends in the bits in which it would have ended by
/// itself ([`train`](crate::train)). Clones share everything; so do models of runs at the same time, but for
/// what they train.
#[derive(Debug, Clone)]
pub struct Prepared {
    fixed: Map<String, Value>,
    pub(crate) folder: Arc<ModelFolder>,
    pub(crate) base: BaseFile,
    pub(crate) data: Data,
    pub(crate) model: Model,
    /// Modules that the checkpoint lacks and that were made afresh.
    pub(crate) created: Vec<String>,
    /// Where the model is, for training.
    pub(crate) device: Device,
    pub(crate) choice: DeviceChoice,
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    /// Longest sequence in tokens.
    pub(crate) max_length: usize,
    /// Whether settings beside `tokenizer.json` overrule what it says.
    pub(crate) overruled: bool,
    pub(crate) tokenizer: Arc<TextTokenizer>,
    /// The files behind it, by the settings that name them.
    pub(crate) inputs: BTreeMap<String, Fingerprint>,
    /// What the first adapted block reads of the rows, where that is kept.
    pub(crate) features: Option<Arc<Features>>,
}

impl Prepared {
    /// The settings that decide what is prepared. Runs may differ in all others.
    pub const FIXED: [&str; 22] = [
        "model",
        "data",
        "eval_data",
        "select_data",
        "task",
        "adapter",
        "new_head",
        "text_column",
        "pair_column",
        "label_column",
        "label_separator",
        "loss",
        "data_format",
        "delimiter",
        "no_header",
        "max_length",
        "model_dropout",
        "base_dtype",
        "quantize",
        "compute",
        "seed",
        "device",
    ];

    /// Prepare what the settings of a run name. The folder to write need not be given.
    ///
    /// # Errors
    /// If a setting, the base or the data makes no sense.
    pub fn new(config: &RunConfig) -> Result<Self, RunError> {
        Problems::check(config.prepare_problems())?;
        Self::load(config)
    }

    /// As [`new`](Self::new), of settings that were looked at already.
    pub(crate) fn load(config: &RunConfig) -> Result<Self, RunError> {
        let SelectedDevice {
            device,
            choice,
            kind,
            mut reason,
        } = config.device.select()?.computing(config.compute)?;
        let device = device.autodiff();
        let mut folder = ModelFolder::open(&config.model)?;
        let base = BaseFile::of(&folder)?;
        expect_base(config, &base)?;
        if config.new_head {
            folder.drop_head();
        }
        fit_run(&mut folder, config)?;
        if let Some(dropout) = config.model_dropout {
            folder.set_dropout(dropout);
        }
        config.base_options().apply(&mut folder, &device)?;
        if folder.is_decoded(&device) {
            reason.push_str("; it has no products with quantised weights: they are decoded to f32");
        }
        let tokenizer = tokenizer(&config.model)?;
        let max_length = longest(config, &folder);
        let data = Data::load(config, &folder, &tokenizer, max_length)?;
        let (model, loaded) = Model::load(&folder, data.task.head(), config.seed, &device)?;
        let inputs = inputs(config, &base)?;
        Ok(Self {
            fixed: fixed(config, max_length),
            folder: Arc::new(folder),
            base,
            data,
            model,
            created: loaded.created,
            device,
            choice,
            kind,
            reason,
            max_length,
            overruled: tokenizer.is_overruled(),
            tokenizer: Arc::new(tokenizer),
            inputs,
            features: None,
        })
    }

    /// Keep what the frozen blocks below the first adapted one come to, in up to so many bytes of memory: later passes over the
    /// data, and later runs that adapt no block below, do not compute it again. The runs' bits stay the same.
    ///
    /// In training this helps where the model itself has no dropout ([`model_dropout`](RunConfig::model_dropout) 0), else in
    /// evaluation only; with products in another type than f32 nothing is kept.
    #[must_use]
    pub fn keeping_hidden_states(self, bytes: usize) -> Self {
        let features = (bytes > 0).then(|| Arc::new(Features::new(bytes)));
        Self { features, ..self }
    }

    /// Bytes of hidden states that are kept by now.
    pub fn hidden_state_bytes(&self) -> usize {
        self.features
            .as_ref()
            .map_or(0, |features| features.bytes())
    }

    /// Refuse a run whose settings ask for something else than what is prepared.
    ///
    /// # Errors
    /// [`RunError::NotPrepared`] with the first such setting; [`RunError::OtherBase`] if the run continues
    /// an adapter of another base.
    pub fn expect_fits(&self, config: &RunConfig) -> Result<(), RunError> {
        let mut asked = fixed(config, longest(config, &self.folder));
        // What was chosen may be asked for by its name.
        if config.device == self.choice {
            asked.insert("device".into(), self.fixed["device"].clone());
        }
        for key in Self::FIXED {
            if self.fixed.get(key) != asked.get(key) {
                let shown = |value: Option<&Value>| match value {
                    None | Some(Value::Null) => "nothing".to_owned(),
                    Some(value) => value.to_string(),
                };
                return Err(RunError::NotPrepared {
                    setting: key.to_owned(),
                    prepared: shown(self.fixed.get(key)),
                    asked: shown(asked.get(key)),
                });
            }
        }
        if config.adapter.is_none() && parts_head(&self.folder, config)? != self.folder.is_parted()
        {
            let told = |parted| match parted {
                true => "the table of tokens and the head apart",
                false => "the table of tokens and the head as one",
            };
            let parted = self.folder.is_parted();
            return Err(RunError::NotPrepared {
                setting: "target_modules".into(),
                prepared: told(parted).into(),
                asked: told(!parted).into(),
            });
        }
        expect_base(config, &self.base)
    }

    /// What is predicted, with the names of its labels.
    pub fn task(&self) -> &TaskFile {
        &self.data.task
    }

    /// Rows to learn from.
    pub fn rows(&self) -> usize {
        self.data.fit.len()
    }
}

/// The longest sequence of a run: what is asked for, as far as the model has positions beside those that the method puts
/// before it.
pub(crate) fn longest(config: &RunConfig, folder: &ModelFolder) -> usize {
    // Settings that make no method are refused where it is made.
    let method = match &config.adapter {
        Some(path) => AdapterConfig::read(path)
            .ok()
            .and_then(|config| peft_methods::from_config(&config).ok()),
        None => peft_methods::by_name(&config.method)
            .ok()
            .and_then(|entry| (entry.build)(&config.method_config).ok()),
    };
    let before = method.map_or(0, |method| taken(method.as_ref(), folder));
    let room = folder.config().max_length().saturating_sub(before);
    config.max_length.min(room)
}

/// Positions of a model that a method's adapters take before those of a sequence.
pub(crate) fn taken(method: &dyn Method, folder: &ModelFolder) -> usize {
    let positions = match folder.config().is_causal() {
        true => method.positions_before(),
        false => 0,
    };
    method.rows_before() + positions
}

/// The settings that decide what is prepared, as they were given but for the length.
fn fixed(config: &RunConfig, max_length: usize) -> Map<String, Value> {
    let all = serde_json::to_value(config).unwrap_or_default();
    let of = |key: &&str| {
        (
            (*key).to_owned(),
            all.get(*key).cloned().unwrap_or_default(),
        )
    };
    let mut fixed: Map<String, Value> = Prepared::FIXED.iter().map(of).collect();
    fixed.insert("max_length".into(), max_length.into());
    fixed
}

/// Refuse to continue an adapter of another base.
fn expect_base(config: &RunConfig, base: &BaseFile) -> Result<(), RunError> {
    if let (Some(adapter), false) = (&config.adapter, config.any_base)
        && let Some(recorded) = BaseFile::read(adapter)?
    {
        recorded.expect_same(adapter, base)?;
    }
    Ok(())
}
