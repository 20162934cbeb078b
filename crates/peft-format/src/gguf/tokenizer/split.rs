//! How byte-level BPE cuts a text into words, by `tokenizer.ggml.pre`.

use serde_json::{Value as Json, json};

use crate::error::{Result, shorten};
use crate::gguf::GgufFile;

/// The split of cl100k with up to three digits a word, as Llama 3 has it.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// As [`LLAMA3`] but with every digit a word.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's: words end before a capital.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// o200k's, of Phi-4-mini.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names of all splits, for messages.
const KNOWN: &str = "gpt-2, mpt, olmo, smollm, starcoder, refact, command-r, llama-bpe, dbrx, qwen2, tekken, gpt-4o";

/// A split and what else goes with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    rule: Rule,
    /// Words that are tokens stay whole, whatever the merges would make of them.
    pub ignore_merges: bool,
    /// Texts begin with BOS unless the file says otherwise.
    pub begins: bool,
    /// Texts are normalised to NFC first, as the Hugging Face tokenizers of these families do.
    pub composed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// GPT-2's, which the library has built in.
    Gpt2,
    /// Every digit alone, then GPT-2's.
    Digits,
    Pattern(&'static str),
}

impl Split {
    pub fn read(file: &GgufFile) -> Result<Self> {
        let key = "tokenizer.ggml.pre";
        let expected = format!("one of {KNOWN}");
        let name = file.required(key, &expected, file.text(key)?)?;
        Self::from_name(name)
            .ok_or_else(|| file.field(key, expected, format!("`{}`", shorten(name))))
    }

    fn from_name(name: &str) -> Option<Self> {
        let split = |rule| Self {
            rule,
            ignore_merges: false,
            begins: false,
            composed: false,
        };
        Some(match name {
            "gpt-2" => split(Rule::Gpt2),
            "mpt" | "olmo" => Self {
                composed: true,
                ..split(Rule::Gpt2)
            },
            "smollm" | "starcoder" | "refact" | "command-r" => split(Rule::Digits),
            "llama-bpe" | "llama3" | "llama-v3" => Self {
                ignore_merges: true,
                begins: true,
                ..split(Rule::Pattern(LLAMA3))
            },
            "dbrx" => split(Rule::Pattern(LLAMA3)),
            "qwen2" | "deepseek-r1-qwen" => Self {
                composed: true,
                ..split(Rule::Pattern(QWEN2))
            },
            "tekken" => Self {
                ignore_merges: true,
                begins: true,
                ..split(Rule::Pattern(TEKKEN))
            },
            "gpt-4o" => split(Rule::Pattern(GPT4O)),
            _ => return None,
        })
    }

    /// The `pre_tokenizer`, which also writes bytes in GPT-2's alphabet.
    pub fn json(self) -> Json {
        let bytes = |use_regex: bool| {
            json!({
                "type": "ByteLevel",
                "add_prefix_space": false,
                "trim_offsets": false,
                "use_regex": use_regex,
            })
        };
        match self.rule {
            Rule::Gpt2 => bytes(true),
            Rule::Digits => json!({
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes(true)],
            }),
            Rule::Pattern(pattern) => json!({
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split",
                        "pattern": {"Regex": pattern},
                        "behavior": "Isolated",
                        "invert": false,
                    },
                    bytes(false),
                ],
            }),
        }
    }
}
