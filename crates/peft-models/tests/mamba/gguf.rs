//! Mamba-2 in the form that llama.cpp's conversion gives it.

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use peft_core::format::{
    BlockType, Checkpoint,
    gguf::{GgufTensorSpec, GgufValue, GgufWriter},
};
use peft_models::{HeadKind, Model, ModelFolder};
use serde_json::json;

use super::common::{IDS, folder, logits};

/// Names of a file's tensors, and Hugging Face's.
const NAMES: [(&str, &str); 9] = [
    ("backbone.embeddings", "token_embd"),
    ("backbone.norm_f", "output_norm"),
    ("lm_head", "output"),
    ("backbone.layers", "blk"),
    ("mixer.in_proj", "ssm_in"),
    ("mixer.conv1d", "ssm_conv1d"),
    ("mixer.dt_bias", "ssm_dt.bias"),
    ("mixer.norm", "ssm_norm"),
    ("mixer.out_proj", "ssm_out"),
];

/// Writes a file of 4 heads in so many groups, the other sizes as below.
fn write(from: &Checkpoint, path: &Path, groups: usize) {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for name in from.names() {
        let mut shape = from.info(name).unwrap().shape;
        let mut values = from.to_f32(name).unwrap();
        let own = NAMES
            .iter()
            .fold(name.to_owned(), |name, (hf, own)| name.replace(hf, own));
        let own = own.replace(".norm.", ".attn_norm.");
        let own = own
            .replace("mixer.A_log", "ssm_a")
            .replace("mixer.D", "ssm_d");
        match own.rsplit_once("ssm_").map(|(_, part)| part) {
            Some("conv1d.weight") => drop(shape.remove(1)),
            Some("a" | "d") => shape.push(1),
            Some("norm.weight") => shape = vec![groups, shape[0] / groups],
            _ => {}
        }
        if own.ends_with("ssm_a") {
            values.iter_mut().for_each(|value| *value = -value.exp());
        }
        tensors.push((own, shape, values));
    }
    let number = |value: usize| GgufValue::U32(value as u32);
    let metadata = [
        ("general.architecture", "mamba2".into()),
        ("mamba2.block_count", number(2)),
        ("mamba2.context_length", number(1 << 20)),
        ("mamba2.embedding_length", number(8)),
        ("mamba2.feed_forward_length", number(0)),
        ("mamba2.attention.head_count", number(0)),
        ("mamba2.ssm.conv_kernel", number(4)),
        ("mamba2.ssm.inner_size", number(16)),
        ("mamba2.ssm.state_size", number(3)),
        ("mamba2.ssm.time_step_rank", number(4)),
        ("mamba2.ssm.group_count", number(groups)),
        (
            "mamba2.attention.layer_norm_rms_epsilon",
            GgufValue::F32(1e-5),
        ),
    ];
    let specs = tensors.iter().map(|(name, shape, _)| GgufTensorSpec {
        name: name.clone(),
        kind: BlockType::F32,
        shape: shape.clone(),
    });
    let mut writer = GgufWriter::create(path, &metadata, specs.collect()).unwrap();
    for (name, _, values) in &tensors {
        let bytes = BlockType::F32.encode(values).unwrap();
        writer.write(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_file_has_the_logits_of_its_folder() {
    let device = Device::flex();
    for (groups, tied) in [(1, true), (2, false), (4, true)] {
        let config = json!({
            "model_type": "mamba2", "vocab_size": 32, "hidden_size": 8, "state_size": 3,
            "num_hidden_layers": 2, "expand": 2, "conv_kernel": 4, "num_heads": 4, "head_dim": 4,
            "n_groups": groups, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": tied,
        });
        let (temp, folder) = folder(&config, HeadKind::Language, FloatDType::F64);
        let path = temp.path().join("model.gguf");
        write(folder.checkpoint(), &path, groups);
        let mut file = ModelFolder::open(&path).unwrap();
        file.set_dtype(FloatDType::F64);
        assert_eq!(file.config(), folder.config());
        let [wanted, found] = [&folder, &file].map(|folder| {
            let (model, report) = Model::load(folder, HeadKind::Language, 0, &device).unwrap();
            assert!(report.unused.is_empty(), "{report:?}");
            logits(&model, &[&IDS, &[3, 4]], &device)
        });
        // Logarithms come back from single precision.
        for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
            assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        }
    }
}
