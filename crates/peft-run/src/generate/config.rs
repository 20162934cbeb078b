//! How tokens are chosen, and when a text ends.

use std::path::Path;

use peft_data::TextTokenizer;

use super::fields::Fields;
use crate::{RunError, sidecar::object, text};

/// Name of the file with a model's own settings.
const NAME: &str = "generation_config.json";
/// Tokens of an answer where neither a file nor the caller says how many.
const MAX_TOKENS: usize = 256;
/// `top_k` of transformers where a file says nothing.
const TOP_K: usize = 50;

/// How the next token is chosen from the scores of all, and when a text ends. Names and defaults are those of
/// transformers' `GenerationConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a text, each by itself.
    pub eos_token_ids: Vec<u32>,
    /// Tokens generated at most.
    pub max_tokens: usize,
    /// Tokens generated before a text may end.
    pub min_tokens: usize,
    /// The same with the tokens of the prompt.
    pub min_length: usize,
    /// Tokens that are never chosen.
    pub suppress_tokens: Vec<u32>,
    /// Whether tokens are drawn by their probabilities; else the one with the highest score is taken, of equal
    /// ones the first.
    pub do_sample: bool,
    /// Divisor of the scores; for draws only.
    pub temperature: f64,
    /// How many of the highest scores may be drawn; 0 for all of them.
    pub top_k: usize,
    /// The likeliest tokens may be drawn that reach this probability together.
    pub top_p: f64,
    /// Tokens less likely than this part of the likeliest one are not drawn.
    pub min_p: f64,
    /// Tokens of typical surprisal may be drawn that reach this probability together (Meister et al. 2022).
    pub typical_p: f64,
    /// Tokens less likely than this are not drawn; 0 for no limit (Hewitt et al. 2022).
    pub epsilon_cutoff: f64,
    /// The same, lower where the scores leave much open: `min(η, √η · exp(−entropy))`.
    pub eta_cutoff: f64,
    /// Divides the scores of tokens that occur already where they are positive, and multiplies them elsewhere
    /// (Keskar et al. 2019); the prompt counts. It changes what is taken without draws, too.
    pub repetition_penalty: f64,
    /// No so many tokens in succession occur twice; 0 allows it.
    pub no_repeat_ngram_size: usize,
    /// Texts that end a text where they would begin.
    pub stop: Vec<String>,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            eos_token_ids: Vec::new(),
            max_tokens: MAX_TOKENS,
            min_tokens: 0,
            min_length: 0,
            suppress_tokens: Vec::new(),
            do_sample: false,
            temperature: 1.0,
            top_k: TOP_K,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            epsilon_cutoff: 0.0,
            eta_cutoff: 0.0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            stop: Vec::new(),
            seed: 0,
        }
    }
}

impl GenerationConfig {
    /// The settings of a model: those of `generation_config.json`, else transformers' defaults. Which tokens end
    /// a text is said there, else in `config.json` or by the metadata of a GGUF file, else by the tokenizer.
    ///
    /// # Errors
    /// If a file is broken, or a setting makes no sense.
    pub fn of_model(model: &Path, tokenizer: &TextTokenizer) -> Result<Self, RunError> {
        let own = match model.is_dir() {
            true => object(&model.join(NAME))?,
            false => None,
        };
        let own = own.unwrap_or_default();
        let fields = Fields {
            path: &model.join(NAME),
            map: &own,
        };
        fields.expect_known()?;
        let mut ends = fields.ids("eos_token_id")?;
        if ends.is_none() && model.is_dir() {
            let path = model.join("config.json");
            let map = object(&path)?.unwrap_or_default();
            let fields = Fields {
                path: &path,
                map: &map,
            };
            ends = fields.ids("eos_token_id")?;
        }
        if ends.is_none() {
            ends = text::of_gguf(model)?.map(|read| read.ends);
        }
        let defaults = Self::default();
        let config = Self {
            eos_token_ids: ends.unwrap_or_else(|| tokenizer.eos_id().into_iter().collect()),
            max_tokens: fields.count("max_new_tokens")?.unwrap_or(MAX_TOKENS),
            min_tokens: fields.count("min_new_tokens")?.unwrap_or(0),
            min_length: fields.count("min_length")?.unwrap_or(0),
            suppress_tokens: fields.ids("suppress_tokens")?.unwrap_or_default(),
            do_sample: fields.flag("do_sample")?.unwrap_or(false),
            temperature: fields.number("temperature")?.unwrap_or(1.0),
            top_k: fields.count("top_k")?.unwrap_or(TOP_K),
            top_p: fields.number("top_p")?.unwrap_or(1.0),
            min_p: fields.number("min_p")?.unwrap_or(0.0),
            typical_p: fields.number("typical_p")?.unwrap_or(1.0),
            epsilon_cutoff: fields.number("epsilon_cutoff")?.unwrap_or(0.0),
            eta_cutoff: fields.number("eta_cutoff")?.unwrap_or(0.0),
            repetition_penalty: fields.number("repetition_penalty")?.unwrap_or(1.0),
            no_repeat_ngram_size: fields.count("no_repeat_ngram_size")?.unwrap_or(0),
            ..defaults
        };
        config.check().map_err(|error| match error {
            RunError::Setting {
                setting, problem, ..
            } => fields.fault(format!("{setting}: {problem}")),
            other => other,
        })?;
        Ok(config)
    }

    /// Refuse what makes no sense.
    ///
    /// # Errors
    /// [`RunError::Setting`], which names the setting.
    pub fn check(&self) -> Result<(), RunError> {
        let fault = |setting: &str, value: f64, expected: &str| {
            let problem = format!("{value} is out of range");
            Err(RunError::setting(
                format!("`{setting}`"),
                problem,
                format!("give {expected}"),
            ))
        };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let part = |value: f64| (0.0..=1.0).contains(&value);
        if self.do_sample && !positive(self.temperature) {
            return fault("temperature", self.temperature, "0 or a number above it");
        }
        if !part(self.top_p) {
            return fault("top_p", self.top_p, "a number from 0 to 1");
        }
        if !part(self.min_p) {
            return fault("min_p", self.min_p, "a number from 0 to 1");
        }
        if !part(self.typical_p) || self.typical_p == 0.0 {
            return fault("typical_p", self.typical_p, "a number above 0, to 1");
        }
        for (name, cutoff) in [
            ("epsilon_cutoff", self.epsilon_cutoff),
            ("eta_cutoff", self.eta_cutoff),
        ] {
            if !(0.0..1.0).contains(&cutoff) {
                return fault(name, cutoff, "a number from 0 to less than 1");
            }
        }
        if !positive(self.repetition_penalty) {
            let value = self.repetition_penalty;
            return fault("repetition_penalty", value, "a number above 0");
        }
        if self.max_tokens == 0 {
            return fault("max_tokens", 0.0, "1 or more");
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(RunError::setting(
                "`stop`",
                "an empty text occurs everywhere",
                "give the text at which to end",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> TextTokenizer {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/goldens/llama_tiny"
        );
        TextTokenizer::from_dir(Path::new(folder)).unwrap()
    }

    fn of(own: Option<&str>, config: &str) -> Result<GenerationConfig, RunError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        if let Some(own) = own {
            std::fs::write(folder.path().join(NAME), own).unwrap();
        }
        GenerationConfig::of_model(folder.path(), &tokenizer())
    }

    #[test]
    fn ends_are_those_of_the_nearest_file() {
        let ends = |own, config| of(own, config).unwrap().eos_token_ids;
        assert_eq!(ends(None, "{}"), [2]);
        assert_eq!(ends(None, r#"{"eos_token_id": [4, 5]}"#), [4, 5]);
        assert_eq!(ends(Some("{}"), r#"{"eos_token_id": 4}"#), [4]);
        let own = r#"{"eos_token_id": [7, 8]}"#;
        assert_eq!(ends(Some(own), r#"{"eos_token_id": 4}"#), [7, 8]);
        assert_eq!(ends(Some(r#"{"eos_token_id": null}"#), "{}"), [2]);
    }

    #[test]
    fn settings_are_read_and_have_transformers_defaults() {
        let own = r#"{"do_sample": true, "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.05,
            "max_new_tokens": 7, "no_repeat_ngram_size": 3, "min_p": null}"#;
        let config = of(Some(own), "{}").unwrap();
        let expected = GenerationConfig {
            eos_token_ids: vec![2],
            do_sample: true,
            temperature: 0.6,
            top_p: 0.9,
            top_k: 50,
            repetition_penalty: 1.05,
            max_tokens: 7,
            no_repeat_ngram_size: 3,
            ..GenerationConfig::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn broken_files_are_named() {
        for (own, told) in [
            ("[", "not JSON"),
            (r#"{"top_k": -1}"#, "`top_k` is -1, expected a whole number"),
            (r#"{"eos_token_id": [1, "x"]}"#, "eos_token_id"),
            (r#"{"top_p": 1.5}"#, "`top_p`: 1.5 is out of range"),
            (r#"{"repetition_penalty": 0.0}"#, "repetition_penalty"),
            (r#"{"do_sample": true, "temperature": 0.0}"#, "temperature"),
            (r#"{"typical_p": 0.0}"#, "typical_p"),
            (r#"{"eta_cutoff": 1.0}"#, "eta_cutoff"),
            (r#"{"num_beams": 4}"#, "`num_beams` is 4"),
            (r#"{"bad_words_ids": [[3]]}"#, "bad_words_ids"),
        ] {
            let error = of(Some(own), "{}").unwrap_err().to_string();
            assert!(error.contains(told) && error.contains(NAME), "{error}");
        }
    }
}
