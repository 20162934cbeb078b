//! The folder around the merged tensors.

use std::path::Path;

use peft_format::{
    Dtype,
    gguf::tokenizer::GgufTokenizer,
    writer::{INDEX_NAME, MODEL_NAME, is_shard},
};
use peft_models::ModelFolder;
use peft_train::HeadNeed;
use serde_json::{Map, Value};

use crate::{RunError, TaskFile, event::fault, occupied::expect_ours, sidecar::object, text};

/// Files of a model folder that a merged folder needs, too.
const COPIED: [&str; 13] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spm.model",
    "spiece.model",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
];
const TOKENIZER_CONFIG: &str = COPIED[1];

/// What a merge came to, beside the merged model: it says that the folder is ours.
pub const REPORT: &str = "merge.json";

/// Copy the tokenizer's files, or write those that say what a GGUF file says. The longest sequence that the
/// adapter was trained on is the merged model's (`model_max_length`).
pub fn copy_tokenizer(
    folder: &ModelFolder,
    output: &Path,
    trained: Option<&TaskFile>,
) -> Result<(), RunError> {
    if let Some(read) = text::of_gguf(folder.path())? {
        return write_tokenizer(read, output, trained);
    }
    for name in COPIED {
        let from = folder.path().join(name);
        if from.is_file() {
            let to = output.join(name);
            std::fs::copy(&from, &to).map_err(|error| fault(&to, &error))?;
        }
    }
    let Some(task) = trained else { return Ok(()) };
    let path = folder.path().join(TOKENIZER_CONFIG);
    let mut config = object(&path)?.unwrap_or_default();
    config.insert("model_max_length".into(), task.max_length.into());
    write_json(&output.join(TOKENIZER_CONFIG), &config.into())
}

/// A GGUF file's tokenizer in Hugging Face's files.
fn write_tokenizer(
    read: GgufTokenizer,
    output: &Path,
    trained: Option<&TaskFile>,
) -> Result<(), RunError> {
    let mut settings = read.settings;
    // Hugging Face has no such role; its generation settings list all tokens that end an answer.
    settings.remove("eot_token");
    if let Some(task) = trained {
        settings.insert("model_max_length".into(), task.max_length.into());
    }
    let mut generation = Map::new();
    for (key, id) in [("bos_token_id", read.bos), ("pad_token_id", read.pad)] {
        if let Some(id) = id {
            generation.insert(key.to_owned(), id.into());
        }
    }
    if !read.ends.is_empty() {
        generation.insert("eos_token_id".to_owned(), read.ends.into());
    }
    for (name, value) in [
        ("tokenizer.json", read.json),
        (TOKENIZER_CONFIG, settings.into()),
        ("generation_config.json", generation.into()),
    ] {
        write_json(&output.join(name), &value)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<(), RunError> {
    let text = format!("{value:#}\n");
    Ok(peft_format::atomic::write_atomic_bytes(
        path,
        text.as_bytes(),
    )?)
}

/// Refuse to replace a folder, unless it is one that a merge wrote and it may.
pub fn expect_replaceable(output: &Path, overwrite: bool) -> Result<(), RunError> {
    let own = [REPORT, "config.json", MODEL_NAME, INDEX_NAME];
    let shards: Vec<String> = match output.is_dir() {
        true => files_of(output)?,
        false => Vec::new(),
    };
    let shards = shards.iter().map(String::as_str);
    let names: Vec<&str> = own.into_iter().chain(COPIED).chain(shards).collect();
    expect_ours(output, &names, overwrite)
}

/// The files of a folder that hold a part of a model's weights.
fn files_of(folder: &Path) -> Result<Vec<String>, RunError> {
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| fault(folder, &error))? {
        let name = entry.map_err(|error| fault(folder, &error))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if is_shard(&name) {
            shards.push(name);
        }
    }
    Ok(shards)
}

/// The base's `config.json`, or what it would be of a GGUF file.
fn fields(folder: &ModelFolder) -> Result<Map<String, Value>, RunError> {
    let Some(model) = folder.checkpoint().gguf() else {
        let config = object(&folder.path().join("config.json"))?;
        let mut config = config.unwrap_or_default();
        // What was quantised is written in floats.
        if config.shift_remove("quantization_config").is_some()
            && folder.checkpoint().is_quantised()
        {
            set_dtype(&mut config, Dtype::F32);
        }
        return Ok(config);
    };
    let mut config = model.config().clone();
    // Whatever types the file mixes, this one has room for all of them.
    set_dtype(&mut config, Dtype::F32);
    Ok(config)
}

/// Say which type the weights have: loaders go by this key, which transformers renamed.
fn set_dtype(config: &mut Map<String, Value>, dtype: Dtype) {
    let key = match config.contains_key("dtype") {
        true => "dtype",
        false => "torch_dtype",
    };
    let name = match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        _ => "float32",
    };
    config.insert(key.into(), name.into());
}

/// `config.json` of the merged model: its labels are those of the head that it has, its class that of its
/// head. A model without a head stays what its configuration says.
///
/// `task` is the adapter's, `declared` whether a file of ours tells it, and not the head alone.
pub fn write_config(
    folder: &ModelFolder,
    output: &Path,
    task: Option<&TaskFile>,
    declared: bool,
    dtype: Option<Dtype>,
) -> Result<(), RunError> {
    let mut config = fields(folder)?;
    if let Some(dtype) = dtype {
        set_dtype(&mut config, dtype);
    }
    if folder.is_parted() {
        config.insert("tie_word_embeddings".into(), false.into());
    }
    if let Some(task) = task {
        let objective = task.objective();
        let class = folder.description().class_name(objective.class_suffix());
        config.insert("architectures".into(), vec![class].into());
        if let HeadNeed::Sequence { .. } | HeadNeed::Tokens { .. } = objective.head() {
            set_labels(&mut config, task);
            if let (Some(kind), true) = (objective.problem_type(), declared) {
                config.insert("problem_type".into(), kind.into());
            }
        }
    }
    write_json(&output.join("config.json"), &config.into())
}

fn set_labels(config: &mut Map<String, Value>, task: &TaskFile) {
    let labels: Vec<String> = match task.labels.is_empty() {
        true => vec!["LABEL_0".to_owned()],
        false => task.labels.clone(),
    };
    let named = labels.iter().enumerate();
    let id2label: Map<_, _> = named
        .clone()
        .map(|(i, l)| (i.to_string(), l.clone().into()))
        .collect();
    let label2id: Map<_, _> = named.map(|(i, l)| (l.clone(), i.into())).collect();
    config.insert("id2label".into(), id2label.into());
    config.insert("label2id".into(), label2id.into());
    // The number follows from the names; one from before would contradict them.
    for key in ["num_labels", "_num_labels"] {
        config.remove(key);
    }
}
