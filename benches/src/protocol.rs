//! The commands of a driver.

use peft_run::{BaseDtype, GenerationCompute};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Command {
    Setup(Box<Setup>),
    Run {
        #[serde(default = "default_name")]
        name: String,
        iterations: usize,
        #[serde(default = "yes")]
        sample_memory: bool,
    },
    Drop {
        #[serde(default = "default_name")]
        name: String,
    },
    Energy(Box<Energy>),
    Concentration(Box<Energy>),
    Logits(Logits),
    Quit,
}

/// Shares of the gradient's energy: of which model, on which data.
#[derive(Deserialize)]
pub struct Energy {
    pub model: std::path::PathBuf,
    pub data: std::path::PathBuf,
    pub max_length: usize,
    pub batch: usize,
    /// Batches that a rule may see, and batches that it is judged by.
    pub probe: usize,
    pub held_out: usize,
    /// Numbers of coefficients.
    #[serde(default)]
    pub counts: Vec<usize>,
    /// Shares of a weight's entries.
    #[serde(default)]
    pub shares: Vec<f64>,
    pub targets: Vec<String>,
}

/// A language model's logits behind each of some tokens.
#[derive(Deserialize)]
pub struct Logits {
    pub model: std::path::PathBuf,
    pub ids: Vec<u32>,
}

#[derive(Clone, Deserialize)]
pub struct Setup {
    #[serde(default = "default_name")]
    pub name: String,
    pub case: String,
    #[serde(default = "two")]
    pub threads: usize,
    /// Type in which products are computed.
    #[serde(default)]
    pub compute: GenerationCompute,
    /// Type in which the frozen matrices of a model from a folder are kept.
    pub base_dtype: Option<BaseDtype>,
    #[serde(default)]
    pub batch: usize,
    #[serde(default)]
    pub seq: usize,
    #[serde(default = "train")]
    pub mode: String,
    #[serde(default = "lora")]
    pub adapter: String,
    #[serde(default = "eight")]
    pub rank: usize,
    pub alpha: Option<f64>,
    /// The method's own settings, by their keys in `adapter_config.json`.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Inputs of a single layer, and outputs where there is no other number of them.
    #[serde(default)]
    pub features: usize,
    /// States of a channel of a scan.
    #[serde(default)]
    pub states: usize,
    /// Outputs of a single layer.
    pub outputs: Option<usize>,
    /// Whether a single layer takes AdamW's step, too.
    #[serde(default)]
    pub optimizer: bool,
    #[serde(default)]
    pub model: std::path::PathBuf,
    #[serde(default)]
    pub data: std::path::PathBuf,
    #[serde(default)]
    pub max_length: usize,
    #[serde(default)]
    pub targets: Vec<String>,
    #[serde(default = "yes")]
    pub dropout: bool,
    #[serde(default)]
    pub recompute: bool,
    /// Bytes of weights that stand for a token in a streaming read.
    #[serde(default)]
    pub weight_bytes: u64,
    #[serde(default = "twelve")]
    pub layers: usize,
    #[serde(default)]
    pub seed: u64,
}

impl Setup {
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64)
    }

    pub fn trains(&self) -> bool {
        self.mode == "train"
    }
}

/// What an iteration did.
pub struct Measured {
    /// Not a whole number where something else stands for tokens.
    pub tokens: f64,
    pub loss: Option<f64>,
}

impl Measured {
    pub fn whole(tokens: usize, loss: Option<f64>) -> Self {
        Self {
            tokens: tokens as f64,
            loss,
        }
    }
}

fn default_name() -> String {
    "default".into()
}

fn train() -> String {
    "train".into()
}

fn lora() -> String {
    "lora".into()
}

fn yes() -> bool {
    true
}

fn two() -> usize {
    2
}

fn twelve() -> usize {
    12
}

fn eight() -> usize {
    8
}
