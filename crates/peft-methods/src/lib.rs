#![warn(missing_docs)]
//! Every adapter method of the workspace, by name.
//!
//! Adding a method is one entry here; nothing else names it.

use peft_core::{AdapterError, Method, format::AdapterConfig};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_spectral::{
    C3aConfig, C3aMethod, FourierFtConfig, FourierFtMethod, SdctftMethod, SelectedConfig,
    SshMethod, WaveFtConfig, WaveFtMethod,
};
use serde_json::{Map, Value};

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

/// Learning rate of coefficients in an orthonormal basis; methods of other normalisations rescale it
/// themselves.
const SPECTRAL_RATE: f64 = 2e-2;

/// All methods.
pub const METHODS: &[Entry] = &[
    Entry {
        name: "lora",
        peft_type: "LORA",
        summary: "low-rank adaptation (2106.09685), rank-stabilised with use_rslora (2312.03732)",
        keys: LoraConfig::KEYS,
        learning_rate: 2e-3,
        defaults: || LoraConfig::default().to_json(),
        build: |map| Ok(Box::new(LoraMethod::from_json(map)?)),
    },
    Entry {
        name: "sdctft",
        peft_type: "SDCTFT",
        summary: "selective discrete cosine transform (2410.09103)",
        keys: SelectedConfig::KEYS,
        learning_rate: SPECTRAL_RATE,
        defaults: SdctftMethod::defaults,
        build: |map| Ok(Box::new(SdctftMethod::from_json(map)?)),
    },
    Entry {
        name: "ssh",
        peft_type: "SSH",
        summary: "sparse spectrum by the discrete Hartley transform (2502.05539)",
        keys: SelectedConfig::KEYS,
        learning_rate: SPECTRAL_RATE,
        defaults: SshMethod::defaults,
        build: |map| Ok(Box::new(SshMethod::from_json(map)?)),
    },
    Entry {
        name: "fourierft",
        peft_type: "FOURIERFT",
        summary: "random frequencies of the discrete Fourier transform (2405.03003)",
        keys: FourierFtConfig::KEYS,
        learning_rate: SPECTRAL_RATE,
        defaults: FourierFtMethod::defaults,
        build: |map| Ok(Box::new(FourierFtMethod::from_json(map)?)),
    },
    Entry {
        name: "waveft",
        peft_type: "WAVEFT",
        summary: "random coefficients of a wavelet transform (2505.12532)",
        keys: WaveFtConfig::KEYS,
        learning_rate: SPECTRAL_RATE,
        defaults: WaveFtMethod::defaults,
        build: |map| Ok(Box::new(WaveFtMethod::from_json(map)?)),
    },
    Entry {
        name: "c3a",
        peft_type: "C3A",
        summary: "circular convolution: circulant blocks (2407.19342)",
        keys: C3aConfig::KEYS,
        learning_rate: SPECTRAL_RATE,
        defaults: C3aMethod::defaults,
        build: |map| Ok(Box::new(C3aMethod::from_json(map)?)),
    },
];

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
    METHODS
        .iter()
        .find(same)
        .ok_or_else(|| AdapterError::Config {
            method: wanted.to_owned(),
            problem: "no such method".into(),
            fix: format!(
                "choose one of {}",
                METHODS.iter().map(key).collect::<Vec<_>>().join(", ")
            ),
        })
}
