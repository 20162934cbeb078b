//! The folder around the merged tensors.

use std::path::Path;

use peft_format::Dtype;
use peft_models::ModelFolder;
use peft_train::HeadNeed;
use serde_json::{Map, Value};

use crate::{RunError, TaskFile, event::fault, occupied::expect_ours};

/// Files of a model folder that a merged folder needs, too.
const COPIED: [&str; 12] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
];
const TOKENIZER_CONFIG: &str = COPIED[1];

/// What a merge came to, beside the merged model: it says that the folder is ours.
pub const REPORT: &str = "merge.json";

/// Copy the tokenizer's files. The longest sequence that the adapter was trained on is the merged model's
/// (`model_max_length`).
pub fn copy_tokenizer(
    model: &Path,
    output: &Path,
    trained: Option<&TaskFile>,
) -> Result<(), RunError> {
    for name in COPIED {
        let from = model.join(name);
        if from.is_file() {
            let to = output.join(name);
            std::fs::copy(&from, &to).map_err(|error| fault(&to, &error))?;
        }
    }
    let Some(task) = trained else { return Ok(()) };
    let path = model.join(TOKENIZER_CONFIG);
    let mut config = match path.is_file() {
        true => object(&path)?,
        false => Map::new(),
    };
    config.insert("model_max_length".into(), task.max_length.into());
    write_object(&output.join(TOKENIZER_CONFIG), config)
}

fn object(path: &Path) -> Result<Map<String, Value>, RunError> {
    let text = std::fs::read_to_string(path).map_err(|error| fault(path, &error))?;
    serde_json::from_str(&text).map_err(|error| RunError::File {
        path: path.to_owned(),
        problem: error.to_string(),
        fix: "fetch the file again".into(),
    })
}

fn write_object(path: &Path, object: Map<String, Value>) -> Result<(), RunError> {
    let text = format!("{:#}\n", Value::Object(object));
    Ok(peft_format::atomic::write_atomic_bytes(
        path,
        text.as_bytes(),
    )?)
}

/// Refuse to replace a folder, unless it is one that a merge wrote and it may.
pub fn expect_replaceable(output: &Path, overwrite: bool) -> Result<(), RunError> {
    let own = [REPORT, "config.json", "model.safetensors"];
    let names: Vec<&str> = own.into_iter().chain(COPIED).collect();
    expect_ours(output, &names, overwrite)
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
    let mut config = object(&folder.path().join("config.json"))?;
    if let Some(dtype) = dtype {
        // Loaders go by this key; transformers renamed it.
        let key = ["dtype", "torch_dtype"];
        let key = key.into_iter().find(|key| config.contains_key(*key));
        let name = match dtype {
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
            _ => "float32",
        };
        config.insert(key.unwrap_or("torch_dtype").into(), name.into());
    }
    if let Some(task) = task {
        let objective = task.objective();
        let class = folder.description().class_name(objective.class_suffix());
        config.insert("architectures".into(), vec![class].into());
        if let HeadNeed::Sequence { .. } = objective.head() {
            set_labels(&mut config, task);
            if let (Some(kind), true) = (objective.problem_type(), declared) {
                config.insert("problem_type".into(), kind.into());
            }
        }
    }
    write_object(&output.join("config.json"), config)
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
