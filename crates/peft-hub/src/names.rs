//! Names that models had on the hub before every model had an organisation, and those that people write without it.

const KNOWN: &[&str] = &[
    "google-bert/bert-base-uncased",
    "google-bert/bert-base-cased",
    "google-bert/bert-large-uncased",
    "google-bert/bert-large-cased",
    "google-bert/bert-base-multilingual-cased",
    "google-bert/bert-base-multilingual-uncased",
    "google-bert/bert-base-chinese",
    "distilbert/distilbert-base-uncased",
    "distilbert/distilbert-base-cased",
    "distilbert/distilbert-base-multilingual-cased",
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    "distilbert/distilroberta-base",
    "distilbert/distilgpt2",
    "FacebookAI/roberta-base",
    "FacebookAI/roberta-large",
    "FacebookAI/roberta-large-mnli",
    "FacebookAI/xlm-roberta-base",
    "FacebookAI/xlm-roberta-large",
    "albert/albert-base-v1",
    "albert/albert-base-v2",
    "albert/albert-large-v2",
    "almanach/camembert-base",
    "google/electra-small-discriminator",
    "google/electra-base-discriminator",
    "google/electra-large-discriminator",
    "microsoft/deberta-base",
    "microsoft/deberta-v3-xsmall",
    "microsoft/deberta-v3-small",
    "microsoft/deberta-v3-base",
    "microsoft/deberta-v3-large",
    "microsoft/mpnet-base",
    "answerdotai/ModernBERT-base",
    "answerdotai/ModernBERT-large",
    "sentence-transformers/all-MiniLM-L6-v2",
    "sentence-transformers/all-MiniLM-L12-v2",
    "sentence-transformers/all-mpnet-base-v2",
    "sentence-transformers/paraphrase-MiniLM-L3-v2",
    "sentence-transformers/paraphrase-MiniLM-L6-v2",
    "BAAI/bge-small-en-v1.5",
    "BAAI/bge-base-en-v1.5",
    "openai-community/gpt2",
    "openai-community/gpt2-medium",
    "openai-community/gpt2-large",
    "openai-community/gpt2-xl",
    "HuggingFaceTB/SmolLM2-135M",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "HuggingFaceTB/SmolLM2-360M",
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.2-1B-Instruct",
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen/Qwen3-0.6B",
    "google/gemma-3-1b-it",
    "mistralai/Mistral-7B-v0.1",
    "state-spaces/mamba-130m-hf",
];

/// The whole name of a model that was named without its organisation.
pub fn with_organisation(name: &str) -> Option<&'static str> {
    KNOWN.iter().copied().find(|known| {
        let own = known.split_once('/').map_or("", |(_, own)| own);
        own.eq_ignore_ascii_case(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::RepoId;

    #[test]
    fn names_are_found_without_their_organisation() {
        assert_eq!(
            with_organisation("bert-base-uncased"),
            Some("google-bert/bert-base-uncased")
        );
        assert_eq!(
            with_organisation("smollm2-135m"),
            Some("HuggingFaceTB/SmolLM2-135M")
        );
        assert_eq!(with_organisation("my-model"), None);
        for name in KNOWN {
            assert!(name.parse::<RepoId>().is_ok(), "{name}");
        }
    }
}
