use std::path::PathBuf;

use clap::Args;
use peft_run::{GenerationCompute, GenerationConfig, data::Format};

use super::{AdapterArgs, BaseArgs, ComputeArgs};

const CHOICE: &str = "Sampling";

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Hugging Face model folder, GGUF file, or organisation/name of a model on the hub (organisation/name:Q4_K_M for a GGUF file there).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// Text to continue; may be given several times.
    #[arg(long, value_name = "TEXT", required_unless_present = "data")]
    pub prompt: Vec<String>,
    /// Rows with a text each to continue, or with --chat a conversation (`messages`) to answer: csv, tsv, jsonl,
    /// parquet or text; `-` reads JSON lines from standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub data: Option<PathBuf>,
    /// Column of the text or the conversation [default: messages, else prompt, else text, else the only one].
    #[arg(long, value_name = "NAME", requires = "data", help_heading = "Data")]
    pub text_column: Option<String>,
    /// csv, tsv, jsonl, parquet or text [default: by the file's ending].
    #[arg(long, value_name = "FORMAT", requires = "data", help_heading = "Data")]
    pub data_format: Option<Format>,
    /// Treat each text as a user's message and answer it with the model's chat template.
    #[arg(long)]
    pub chat: bool,
    /// Print one JSON object per text: index, prompt, text, tokens (their number) and finish_reason (stop,
    /// length, context or interrupted).
    #[arg(long)]
    pub json: bool,
    /// Texts computed at a time; does not change the results.
    #[arg(long, default_value_t = 8)]
    pub batch_size: usize,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    #[command(flatten)]
    pub base: BaseArgs,
    #[command(flatten)]
    pub products: GenerationArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
pub struct ChatArgs {
    /// Hugging Face model folder, GGUF file, or organisation/name of a model on the hub (organisation/name:Q4_K_M for a GGUF file there).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Adapter folder.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Continue even if the adapter was trained on another base model.
    #[arg(long)]
    pub any_base: bool,
    /// System message before the first turn.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    #[command(flatten)]
    pub base: BaseArgs,
    #[command(flatten)]
    pub products: GenerationArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// In what type products are computed.
#[derive(Debug, Args)]
pub struct GenerationArgs {
    /// Type in which products are computed on the CPU: f32, bf16 or int8. int8 rounds what is multiplied with a quantised base: faster,
    /// and not the very text of f32.
    #[arg(
        id = "products",
        long = "compute",
        value_name = "TYPE",
        default_value = "f32",
        help_heading = "Compute"
    )]
    pub compute: GenerationCompute,
}

/// How tokens are chosen. What is not given is as the model's generation_config.json has it.
#[derive(Debug, Args)]
pub struct ChoiceArgs {
    /// Largest number of new tokens [default: the model's, else 256].
    #[arg(long, value_name = "N", help_heading = CHOICE)]
    pub max_tokens: Option<usize>,
    /// Sampling temperature; 0 always takes the most likely token [default: the model's, else 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = CHOICE)]
    pub temperature: Option<f64>,
    /// Sample among the N most likely tokens; 0 for all [default: the model's, else 50].
    #[arg(long, value_name = "N", help_heading = CHOICE)]
    pub top_k: Option<usize>,
    /// Sample among the most likely tokens that together reach this probability [default: the model's, else 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = CHOICE)]
    pub top_p: Option<f64>,
    /// Never sample a token less likely than this fraction of the most likely one [default: the model's, else 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = CHOICE)]
    pub min_p: Option<f64>,
    /// Above 1, tokens that already occur become less likely [default: the model's, else 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = CHOICE)]
    pub repetition_penalty: Option<f64>,
    /// Stop before this text; may be given several times.
    #[arg(long, value_name = "TEXT", help_heading = CHOICE)]
    pub stop: Vec<String>,
    /// Random seed of the sampling.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = CHOICE)]
    pub seed: u64,
}

impl ChoiceArgs {
    /// A model's settings, with those that were given.
    pub fn over(&self, model: GenerationConfig) -> GenerationConfig {
        // Whoever says how to draw wants draws.
        let draws = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        let do_sample = match self.temperature {
            Some(temperature) => temperature != 0.0,
            None => model.do_sample || draws,
        };
        GenerationConfig {
            max_tokens: self.max_tokens.unwrap_or(model.max_tokens),
            do_sample,
            temperature: self.temperature.unwrap_or(model.temperature),
            top_k: self.top_k.unwrap_or(model.top_k),
            top_p: self.top_p.unwrap_or(model.top_p),
            min_p: self.min_p.unwrap_or(model.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(model.repetition_penalty),
            stop: self.stop.clone(),
            seed: self.seed,
            ..model
        }
    }
}
