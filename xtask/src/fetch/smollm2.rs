//! SmolLM2-135M-Instruct as a Hugging Face folder in f32, whole or its first blocks: the weights that ours and
//! Hugging Face's libraries start from alike.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use peft_format::{
    Checkpoint, Dtype, Metadata, SafetensorsWriter, TensorSpec,
    gguf::{GgufFile, tokenizer},
};
use peft_hub::{SMOLLM2, smollm2_files};
use serde_json::{Map, Value};

use crate::files;

/// The GGUF file below the cache.
pub const FILE: &str = "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

const WEIGHTS: &str = "model.safetensors";

/// The GGUF file, fetched where it is not in the cache.
pub fn file(cache: &Path) -> Result<PathBuf> {
    let folder = SMOLLM2.ensure(cache, || smollm2_files(&super::sources(cache)))?;
    let (name, _) = SMOLLM2.files[0];
    Ok(folder.join(name))
}

/// Name of the folder that [`folder`] makes.
pub fn folder_name(blocks: Option<usize>) -> String {
    match blocks {
        Some(blocks) => format!("smollm2-f32-{blocks}-blocks"),
        None => "smollm2-f32".to_owned(),
    }
}

/// The folder in f32 of the first `blocks` of 30, or of all: decoded blocks, `q_proj` and `k_proj` in Hugging
/// Face's order of rows.
pub fn folder(cache: &Path, blocks: Option<usize>) -> Result<PathBuf> {
    let folder = cache.join(folder_name(blocks));
    let weights = folder.join(WEIGHTS);
    if weights.is_file() {
        return Ok(folder);
    }
    let from = file(cache)?;
    let checkpoint = Checkpoint::open(&from)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let config = config(&checkpoint, blocks)?;
    files::write_atomic(&folder.join("config.json"), &json(&config.into())?)?;
    let read = tokenizer::read(&GgufFile::open(&from)?)?;
    let mut settings = read.settings;
    // Hugging Face has no such role.
    settings.remove("eot_token");
    files::write_atomic(&folder.join("tokenizer.json"), &json(&read.json)?)?;
    files::write_atomic(
        &folder.join("tokenizer_config.json"),
        &json(&settings.into())?,
    )?;
    // Last: a folder with weights is whole.
    write(&checkpoint, blocks, &weights)?;
    Ok(folder)
}

fn json(value: &Value) -> Result<Vec<u8>> {
    Ok((serde_json::to_string_pretty(value)? + "\n").into_bytes())
}

fn config(checkpoint: &Checkpoint, blocks: Option<usize>) -> Result<Map<String, Value>> {
    let mut config = checkpoint
        .config()?
        .context("the GGUF file describes no model")?;
    config.insert("torch_dtype".into(), "float32".into());
    config.insert("architectures".into(), vec!["LlamaForCausalLM"].into());
    if let Some(blocks) = blocks {
        let key = "num_hidden_layers";
        let all = config.get(key).and_then(Value::as_u64).unwrap_or(0);
        if blocks == 0 || blocks as u64 > all {
            bail!("the model has {all} blocks; its first {blocks} cannot be taken");
        }
        config.insert(key.into(), blocks.into());
    }
    Ok(config)
}

/// The number in `model.layers.N.`, if the tensor is of a block.
fn block(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("model.layers.")?.split_once('.')?;
    number.parse().ok()
}

fn write(checkpoint: &Checkpoint, blocks: Option<usize>, path: &Path) -> Result<()> {
    let kept = |name: &&str| block(name).is_none_or(|block| blocks.is_none_or(|all| block < all));
    let mut tensors = Vec::new();
    for name in checkpoint.names().filter(kept) {
        let info = checkpoint.info(name).context("a tensor that is listed")?;
        tensors.push(TensorSpec::new(name, Dtype::F32, info.shape));
    }
    let metadata = Metadata::from([("format".to_owned(), "pt".to_owned())]);
    let mut writer = SafetensorsWriter::create(path, tensors, &metadata)?;
    let names: Vec<String> = writer.order().map(|tensor| tensor.name.clone()).collect();
    for name in names {
        let values = checkpoint.to_f32(&name)?;
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        writer.write(&name, &bytes)?;
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::block;

    #[test]
    fn names_tell_their_blocks() {
        assert_eq!(block("model.layers.12.mlp.up_proj.weight"), Some(12));
        assert_eq!(block("model.embed_tokens.weight"), None);
    }
}
