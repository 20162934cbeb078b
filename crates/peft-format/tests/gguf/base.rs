//! A file as the base of adapters: where it is looked for, what identifies it, what it is said to hold.

use std::fs;

use peft_format::gguf::{self, tokenizer};
use peft_format::summary::CheckpointSummary;
use peft_format::{AdapterConfig, BlockType, Checkpoint, Fingerprint};
use serde_json::json;

use crate::build::{Metadata, Tensor, llama_metadata, llama_tensors, write};
use crate::tokenizers::{byte_level, sentencepiece};

/// A file of quantised matrices, 32 wide, whose codes are those of `scale`.
fn quantised(dir: &std::path::Path, kind: BlockType, scale: f32) -> std::path::PathBuf {
    let mut metadata = llama_metadata();
    for (key, value) in &mut metadata {
        match *key {
            "llama.embedding_length" | "llama.feed_forward_length" => {
                *value = gguf::GgufValue::U32(32);
            }
            "llama.rope.dimension_count" => *value = gguf::GgufValue::U32(16),
            _ => {}
        }
    }
    let tensors = llama_tensors().into_iter().map(|tensor| {
        let shape = match (tensor.name.as_str(), tensor.shape.len()) {
            ("token_embd.weight", _) => vec![12, 32],
            ("blk.0.attn_k.weight" | "blk.0.attn_v.weight", _) => vec![16, 32],
            (_, 2) => vec![32, 32],
            _ => vec![32],
        };
        let kind = if shape.len() == 2 {
            kind
        } else {
            BlockType::F32
        };
        let mut tensor = Tensor::counted(&tensor.name, kind, &shape);
        tensor.values.iter_mut().for_each(|v| *v *= scale);
        tensor
    });
    write(dir, &metadata, &tensors.collect::<Vec<_>>())
}

#[test]
fn a_folder_with_one_file_is_that_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = quantised(dir.path(), BlockType::Q8_0, 1.0);
    for path in [&file, dir.path()] {
        assert_eq!(gguf::locate(path).unwrap().as_ref(), Some(&file));
        assert!(Checkpoint::open(path).unwrap().gguf().is_some());
    }
    // By its first bytes, whatever its name.
    let other = tempfile::tempdir().unwrap();
    let renamed = other.path().join("model");
    fs::copy(&file, &renamed).unwrap();
    assert_eq!(gguf::locate(&renamed).unwrap(), Some(renamed.clone()));
    fs::write(&renamed, "no model").unwrap();
    assert_eq!(gguf::locate(&renamed).unwrap(), None);
    // With a configuration beside it, it is a folder without its weights.
    fs::write(dir.path().join("config.json"), "{}").unwrap();
    assert_eq!(gguf::locate(dir.path()).unwrap(), None);
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("test.gguf") && error.contains("path of the GGUF"),
        "{error}"
    );
    fs::remove_file(dir.path().join("config.json")).unwrap();
    fs::copy(&file, dir.path().join("b-00002-of-00002.gguf")).unwrap();
    let error = gguf::locate(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("b-00002-of-00002.gguf, test.gguf"),
        "{error}"
    );
}

#[test]
fn pointers_and_models_for_adapters_are_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let pointer = dir.path().join("x.gguf");
    let text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    fs::write(&pointer, text).unwrap();
    for error in [
        Checkpoint::open(&pointer).unwrap_err(),
        gguf::GgufFile::open(&pointer).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.contains("git lfs pull"), "{error}");
    }
    // So is a pointer in the place of other weights.
    let other = dir.path().join("model.safetensors");
    fs::write(&other, text).unwrap();
    let error = Checkpoint::open(&other).unwrap_err().to_string();
    assert!(error.contains("git lfs pull"), "{error}");
    let model = quantised(dir.path(), BlockType::Q8_0, 1.0);
    let error = AdapterConfig::read(&model).unwrap_err().to_string();
    assert!(error.contains("it is a GGUF file"), "{error}");
}

#[test]
fn blocks_are_what_identifies_and_sums_up_a_file() {
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let of = |dir: usize, kind, scale| {
        let file = quantised(dirs[dir].path(), kind, scale);
        (
            Fingerprint::of(&Checkpoint::open(&file).unwrap()).unwrap(),
            file,
        )
    };
    let (first, file) = of(0, BlockType::Q8_0, 1.0);
    let (again, _) = of(1, BlockType::Q8_0, 1.0);
    let (scaled, _) = of(2, BlockType::Q8_0, 1.1);
    let (other, _) = of(3, BlockType::Q4_0, 1.0);
    assert_eq!(first, again);
    assert!(first.hash != scaled.hash && first.hash != other.hash);
    let matrices: usize = 12 * 32 + 2 * 16 * 32 + 5 * 32 * 32;
    let bytes = (matrices / 32 * 34 + 3 * 32 * 4) as u64;
    assert_eq!(first.bytes, bytes);
    let summary = CheckpointSummary::read(&file).unwrap();
    assert_eq!(summary.model_type.as_deref(), Some("llama"));
    assert_eq!(summary.architectures, ["LlamaForCausalLM"]);
    assert_eq!(summary.totals.bytes, bytes);
    assert_eq!(summary.totals.dtypes["Q8_0"], matrices as u64);
    assert_eq!(summary.totals.dtypes["F32"], 3 * 32);
    let listed = summary
        .list
        .iter()
        .find(|t| t.name.ends_with("k_proj.weight"));
    let listed = listed.unwrap();
    assert_eq!(
        (listed.dtype.as_str(), &listed.shape[..]),
        ("Q8_0", &[16, 32][..])
    );
}

#[test]
fn settings_are_those_of_a_tokenizer_config() {
    let dir = tempfile::tempdir().unwrap();
    let mut metadata = byte_level("gpt-2");
    metadata.push(("tokenizer.ggml.eot_token_id", gguf::GgufValue::U32(11)));
    metadata.push(("tokenizer.chat_template", "plain".into()));
    let read = |metadata: &Metadata| {
        let file = gguf::GgufFile::open(&write(dir.path(), metadata, &[])).unwrap();
        tokenizer::read(&file).unwrap()
    };
    let settings = read(&metadata).settings;
    let expected = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>", "eos_token": "</s>", "eot_token": "<u>", "chat_template": "plain",
    });
    assert_eq!(json!(settings), expected);
    metadata.push(("tokenizer.chat_template.tool_use", "tools".into()));
    let templates = &read(&metadata).settings["chat_template"];
    let expected = json!([
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "tools"},
    ]);
    assert_eq!(*templates, expected);
    let settings = read(&sentencepiece()).settings;
    assert_eq!(settings["unk_token"], "<unk>");
}
