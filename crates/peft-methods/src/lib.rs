#![warn(missing_docs)]
//! Every adapter method of the workspace, by name.
//!
//! Adding a method is one entry here; nothing else names it.

mod head;

use peft_core::{AdapterError, Method, format::AdapterConfig};
use peft_lowrank::{LoraConfig, LoraMethod};
use serde_json::{Map, Value};

pub use head::HeadMethod;

/// One method: what it is called and how it is configured.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name on the command line.
    pub name: &'static str,
    /// `peft_type` in `adapter_config.json`.
    pub peft_type: &'static str,
    /// A line about it, with its paper.
    pub summary: &'static str,
    /// The keys of `adapter_config.json` that it understands.
    pub keys: &'static [&'static str],
    /// Learning rate of adapters that does well without tuning.
    pub learning_rate: f64,
    /// The settings that do well without tuning.
    pub defaults: fn() -> Map<String, Value>,
    /// The method of such settings.
    pub build: Build,
}

/// Makes a method of its settings.
pub type Build = fn(&Map<String, Value>) -> Result<Box<dyn Method>, AdapterError>;

/// All methods that adapt weights.
pub const METHODS: &[Entry] = &[Entry {
    name: "lora",
    peft_type: "LORA",
    summary: "low-rank adaptation (2106.09685), rank-stabilised with use_rslora (2312.03732)",
    keys: LoraConfig::KEYS,
    learning_rate: 2e-3,
    defaults: || LoraConfig::default().to_json(),
    build: |map| Ok(Box::new(LoraMethod::from_json(map)?)),
}];

/// Training without an adapter, which [`METHODS`] and what goes through them leave out.
pub const HEAD: Entry = Entry {
    name: HeadMethod::NAME,
    peft_type: HeadMethod::PEFT_TYPE,
    summary: "no adapter: only the head is trained, at its own rate, for comparison",
    keys: &[],
    learning_rate: 2e-3,
    defaults: Map::new,
    build: |_| Ok(Box::new(HeadMethod)),
};

/// The method called `name` on the command line.
///
/// # Errors
/// If there is none; the error names those that exist.
pub fn by_name(name: &str) -> Result<&'static Entry, AdapterError> {
    find(name, |entry| entry.name)
}

/// The method of a `peft_type`.
///
/// # Errors
/// If there is none; the error names those that exist.
pub fn by_peft_type(peft_type: &str) -> Result<&'static Entry, AdapterError> {
    find(peft_type, |entry| entry.peft_type)
}

/// The method of an adapter's configuration.
///
/// # Errors
/// If it is not known, or the configuration asks of it what it cannot do.
pub fn from_config(config: &AdapterConfig) -> Result<Box<dyn Method>, AdapterError> {
    let entry = by_peft_type(config.peft_type())?;
    config.reject_unsupported(entry.keys)?;
    (entry.build)(config.fields())
}

fn find(wanted: &str, key: fn(&Entry) -> &'static str) -> Result<&'static Entry, AdapterError> {
    let same = |entry: &&Entry| key(entry).eq_ignore_ascii_case(wanted);
    let all = || METHODS.iter().chain([&HEAD]);
    all().find(same).ok_or_else(|| AdapterError::Config {
        method: wanted.to_owned(),
        problem: "no such method".into(),
        fix: format!(
            "choose one of {}",
            all().map(key).collect::<Vec<_>>().join(", ")
        ),
    })
}
