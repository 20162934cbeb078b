//! A checkpoint and an adapter of random values, in the layout of BERT.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use peft_format::{Dtype, Metadata, SafetensorsWriter, TensorSpec};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::files;

/// Sizes of a model, and the rank of its adapter.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shape {
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub vocab: usize,
    pub positions: usize,
    pub rank: usize,
    /// Bytes after which a new file begins.
    pub shard: u64,
}

impl Shape {
    /// The widths and the vocabulary of Llama-3.2-3B.
    pub const THREE_B: Self = Self {
        hidden: 3072,
        intermediate: 8192,
        layers: 32,
        heads: 24,
        vocab: 128_256,
        positions: 512,
        rank: 16,
        shard: 2_000_000_000,
    };
    /// To see that it runs.
    pub const TINY: Self = Self {
        hidden: 64,
        intermediate: 128,
        layers: 2,
        heads: 4,
        vocab: 300,
        positions: 32,
        rank: 4,
        shard: 60_000,
    };

    /// The linear layers of a block: name, outputs, inputs.
    fn linears(&self) -> [(&'static str, usize, usize); 6] {
        let (d, wide) = (self.hidden, self.intermediate);
        [
            ("attention.self.query", d, d),
            ("attention.self.key", d, d),
            ("attention.self.value", d, d),
            ("attention.output.dense", d, d),
            ("intermediate.dense", wide, d),
            ("output.dense", d, wide),
        ]
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.hidden;
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        for (table, rows) in [
            ("word", self.vocab),
            ("position", self.positions),
            ("token_type", 2),
        ] {
            add(format!("embeddings.{table}_embeddings.weight"), &[rows, d]);
        }
        let mut norms = vec!["embeddings.LayerNorm".to_owned()];
        for layer in 0..self.layers {
            let block = format!("encoder.layer.{layer}");
            for (name, outputs, inputs) in self.linears() {
                add(format!("{block}.{name}.weight"), &[outputs, inputs]);
                add(format!("{block}.{name}.bias"), &[outputs]);
            }
            norms
                .extend(["attention.output", "output"].map(|at| format!("{block}.{at}.LayerNorm")));
        }
        add("pooler.dense.weight".into(), &[d, d]);
        add("pooler.dense.bias".into(), &[d]);
        for norm in norms {
            add(format!("{norm}.weight"), &[d]);
            add(format!("{norm}.bias"), &[d]);
        }
        all
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.positions,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "pad_token_id": 0,
        })
    }
}

/// What a generated checkpoint holds.
#[derive(Debug)]
pub struct Written {
    pub tensor_bytes: u64,
    pub shards: usize,
    pub largest: String,
    pub largest_bytes: u64,
}

/// Writes a model folder: a sharded bf16 checkpoint of values up to 0.035 in size.
pub fn base(shape: &Shape, folder: &Path) -> Result<Written> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let size = |shape: &[usize]| 2 * shape.iter().product::<usize>() as u64;
    let mut shards: Vec<Vec<TensorSpec>> = Vec::new();
    let (mut filled, mut total, mut largest) = (u64::MAX, 0, (String::new(), 0));
    for (name, dims) in shape.tensors() {
        let bytes = size(&dims);
        if filled.saturating_add(bytes) > shape.shard {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        total += bytes;
        if bytes > largest.1 {
            largest = (name.clone(), bytes);
        }
        if let Some(shard) = shards.last_mut() {
            shard.push(TensorSpec::new(name, Dtype::BF16, dims));
        }
    }
    let (count, mut weight_map) = (shards.len(), Map::new());
    for (index, specs) in shards.into_iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", index + 1);
        weight_map.extend((specs.iter()).map(|spec| (spec.name.clone(), file.clone().into())));
        write(&folder.join(&file), specs, index as u64, 0.035)?;
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    for (name, value) in [
        ("model.safetensors.index.json", index),
        ("config.json", shape.config()),
    ] {
        files::write_atomic(&folder.join(name), value.to_string().as_bytes())?;
    }
    Ok(Written {
        tensor_bytes: total,
        shards: count,
        largest: largest.0,
        largest_bytes: largest.1,
    })
}

/// Writes a LoRA adapter of PEFT's form for all linear layers of the blocks; tells its bytes.
pub fn adapter(shape: &Shape, folder: &Path) -> Result<u64> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut specs = Vec::new();
    for layer in 0..shape.layers {
        for (name, outputs, inputs) in shape.linears() {
            let module = format!("base_model.model.bert.encoder.layer.{layer}.{name}");
            for (factor, dims) in [("A", [shape.rank, inputs]), ("B", [outputs, shape.rank])] {
                let name = format!("{module}.lora_{factor}.weight");
                specs.push(TensorSpec::new(name, Dtype::F32, dims));
            }
        }
    }
    let path = folder.join("adapter_model.safetensors");
    write(&path, specs, 1 << 32, 0.03)?;
    let config = json!({
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "r": shape.rank,
        "lora_alpha": 2 * shape.rank,
        "target_modules": r".*\.layer\.\d+\..*(query|key|value|dense)",
        "base_model_name_or_path": "generated",
    });
    let text = config.to_string();
    files::write_atomic(&folder.join("adapter_config.json"), text.as_bytes())?;
    let data = fs::metadata(&path).with_context(|| format!("no {}", path.display()))?;
    Ok(data.len())
}

/// Writes tensors of uniform values between `-most` and `most`.
fn write(path: &Path, specs: Vec<TensorSpec>, key: u64, most: f32) -> Result<()> {
    let metadata = Metadata::from_iter([("format".to_owned(), "pt".to_owned())]);
    let mut writer = SafetensorsWriter::create(path, specs, &metadata)?;
    let order: Vec<TensorSpec> = writer.order().cloned().collect();
    let mut random = crate::study::Random::new(key);
    for spec in order {
        let mut left: usize = spec.shape.iter().product();
        while left > 0 {
            let count = left.min(1 << 20);
            let mut bytes = Vec::with_capacity(4 * count);
            for _ in 0..count {
                let value = most * (random.share() * 2.0 - 1.0) as f32;
                let value = value.to_le_bytes();
                // bf16 is the upper half of f32.
                let cut = if spec.dtype == Dtype::BF16 { 2 } else { 0 };
                bytes.extend_from_slice(&value[cut..]);
            }
            writer.write_part(&spec.name, &bytes)?;
            left -= count;
        }
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use peft_format::Checkpoint;

    use super::*;

    #[test]
    fn the_checkpoint_is_whole_and_in_several_files() {
        let folder = std::env::temp_dir().join(format!("xtask-merge-{}", std::process::id()));
        let shape = Shape::TINY;
        let written = base(&shape, &folder.join("model")).unwrap();
        assert!(written.shards > 2, "{written:?}");
        assert_eq!(
            (written.largest.as_str(), written.largest_bytes),
            ("embeddings.word_embeddings.weight", 2 * 300 * 64)
        );
        let index = folder.join("model/model.safetensors.index.json");
        let checkpoint = Checkpoint::open(&index).unwrap();
        let names: Vec<&str> = checkpoint.names().collect();
        assert_eq!(names.len(), shape.tensors().len());
        let sizes = names
            .iter()
            .map(|name| checkpoint.bytes(name).unwrap().len() as u64);
        assert_eq!(sizes.sum::<u64>(), written.tensor_bytes);
        let values = checkpoint.to_f32("pooler.dense.weight").unwrap();
        let largest = values
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        assert!((0.03..=0.035).contains(&largest), "{largest}");
        let factors = 2 * 4 * (8 * 64 + 2 * (64 + 128)) as u64;
        assert!(adapter(&shape, &folder.join("adapter")).unwrap() > 4 * factors);
        fs::remove_dir_all(&folder).unwrap();
    }
}
