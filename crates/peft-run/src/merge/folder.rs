//! The folder around the merged tensors.

use std::path::Path;

use peft_format::Dtype;
use peft_models::{HeadKind, ModelFolder};
use peft_train::{HeadNeed, Objective};
use serde_json::{Map, Value};

use crate::{RunError, TaskFile, event::fault};

/// Files of a model folder that a merged folder needs, too.
const COPIED: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
];

/// Copy the tokenizer's files.
pub fn copy_tokenizer(model: &Path, output: &Path) -> Result<(), RunError> {
    for name in COPIED {
        let from = model.join(name);
        if from.is_file() {
            let to = output.join(name);
            std::fs::copy(&from, &to).map_err(|error| fault(&to, &error))?;
        }
    }
    Ok(())
}

/// Refuse to replace a folder that holds anything but a model.
pub fn expect_replaceable(output: &Path) -> Result<(), RunError> {
    if !output.exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(output).map_err(|error| fault(output, &error))?;
    for entry in entries {
        let name = entry.map_err(|error| fault(output, &error))?.file_name();
        let known = name.to_str().is_some_and(|name| {
            ["config.json", "model.safetensors"].contains(&name) || COPIED.contains(&name)
        });
        if !known {
            return Err(RunError::setting(
                "`output`",
                format!(
                    "{} holds other things, such as {}",
                    output.display(),
                    name.display()
                ),
                "give a new folder: an existing one would be replaced as a whole",
            ));
        }
    }
    Ok(())
}

/// `config.json` of the merged model, with its labels.
pub fn write_config(
    folder: &ModelFolder,
    output: &Path,
    task: Option<&TaskFile>,
    dtype: Option<Dtype>,
) -> Result<(), RunError> {
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|error| fault(&path, &error))?;
    let mut config: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| RunError::File {
            path: path.clone(),
            problem: error.to_string(),
            fix: "fetch the file again".into(),
        })?;
    let objective = task.map(TaskFile::objective);
    config.insert(
        "architectures".into(),
        vec![architecture(folder, objective.as_deref())].into(),
    );
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
    if let (Some(task), Some(objective)) = (task, &objective)
        && let HeadNeed::Sequence { .. } = objective.head()
    {
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
        if let Some(kind) = objective.problem_type() {
            config.insert("problem_type".into(), kind.into());
        }
    }
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    let to = output.join("config.json");
    Ok(peft_format::atomic::write_atomic_bytes(
        &to,
        text.as_bytes(),
    )?)
}

/// Hugging Face's class of the merged model: that of the base's family for the objective.
fn architecture(folder: &ModelFolder, objective: Option<&dyn Objective>) -> String {
    let suffix = objective.map(|objective| objective.class_suffix());
    let description = folder.description();
    let own = match description.head {
        HeadKind::Sequence { .. } => "ForSequenceClassification",
        HeadKind::Language => "ForCausalLM",
    };
    description.class_name(suffix.unwrap_or(own))
}
