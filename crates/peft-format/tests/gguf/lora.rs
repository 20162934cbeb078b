//! LoRA adapters in GGUF form.

use std::fs;
use std::path::Path;

use indexmap::IndexMap;
use peft_format::BlockType;
use peft_format::LoraPair;
use peft_format::gguf::{Architecture, GgufFile, GgufLora, GgufModel, GgufValue, HeadCounts};

use crate::build::{Tensor, write};

const HEADS: HeadCounts = HeadCounts {
    query: 2,
    key_value: 1,
};

fn pair(rank: usize, columns: usize, rows: usize, scale: f32) -> LoraPair {
    let values = |len: usize| (0..len).map(|i| i as f32).collect();
    LoraPair {
        rank,
        a: values(rank * columns),
        b: values(rows * rank),
        scale,
    }
}

fn example(second: f32) -> GgufLora {
    GgufLora {
        architecture: Architecture::Llama,
        pairs: IndexMap::from([
            (
                "model.layers.0.self_attn.q_proj".to_owned(),
                pair(2, 8, 8, 2.0),
            ),
            (
                "model.layers.0.mlp.down_proj".to_owned(),
                pair(2, 12, 8, second),
            ),
        ]),
    }
}

pub fn write_example(path: &Path) {
    example(2.0).write(path, HEADS).unwrap();
}

#[test]
fn the_file_is_as_llama_cpp_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lora.gguf");
    write_example(&path);
    let file = GgufFile::open(&path).unwrap();
    let text = |key| file.text(key).unwrap().unwrap();
    assert_eq!(text("general.type"), "adapter");
    assert_eq!(text("general.architecture"), "llama");
    assert_eq!(text("adapter.type"), "lora");
    assert_eq!(file.float("adapter.lora.alpha").unwrap(), Some(4.0));
    let names: Vec<&str> = file.tensors().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "blk.0.attn_q.weight.lora_a",
            "blk.0.attn_q.weight.lora_b",
            "blk.0.ffn_down.weight.lora_a",
            "blk.0.ffn_down.weight.lora_b",
        ]
    );
    let shape = |name| file.tensor(name).unwrap().shape.clone();
    assert_eq!(shape(names[0]), [2, 8]);
    assert_eq!(shape(names[1]), [8, 2]);
    // Rows of a head of 4 alternate between its halves: 0 2 1 3, then the second head.
    let rows = [0, 2, 1, 3, 4, 6, 5, 7].map(|r| [2 * r, 2 * r + 1]);
    let expected: Vec<f32> = rows.iter().flatten().map(|&v| v as f32).collect();
    assert_eq!(file.to_f32(names[1]).unwrap(), expected);
    // Only q and k are reordered, and of them only B.
    assert_eq!(file.to_f32(names[0]).unwrap(), pair(2, 8, 8, 1.0).a);
    assert_eq!(file.to_f32(names[3]).unwrap(), pair(2, 12, 8, 1.0).b);
}

#[test]
fn adapters_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lora.gguf");
    let adapter = example(2.0);
    adapter.write(&path, HEADS).unwrap();
    assert_eq!(GgufLora::read(&path, HEADS).unwrap(), adapter);
    // Another scale goes into B.
    example(0.5).write(&path, HEADS).unwrap();
    let read = GgufLora::read(&path, HEADS).unwrap();
    let pair = &read.pairs["model.layers.0.mlp.down_proj"];
    assert_eq!(pair.scale, 2.0);
    assert_eq!(pair.b[3], 3.0 * 0.5 / 2.0);
}

#[test]
fn what_llama_cpp_would_not_load_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lora.gguf");
    let with = |module: &str, pair: LoraPair| GgufLora {
        architecture: Architecture::Llama,
        pairs: IndexMap::from([(module.to_owned(), pair)]),
    };
    let q = "model.layers.0.self_attn.q_proj";
    let cases = [
        (
            with("model.embed_tokens", pair(2, 8, 8, 1.0)),
            "a matrix of a block",
        ),
        (
            with("model.layers.0.mixer", pair(2, 8, 8, 1.0)),
            "a matrix of a block",
        ),
        (with(q, pair(2, 8, 8, 0.0)), "scale other than 0"),
        (with(q, pair(2, 8, 6, 1.0)), "whole heads"),
        (with(q, pair(0, 8, 8, 1.0)), "whole heads"),
    ];
    for (adapter, word) in cases {
        let message = adapter.write(&path, HEADS).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
        assert!(!path.exists());
    }
}

#[test]
fn other_files_are_no_adapters() {
    let dir = tempfile::tempdir().unwrap();
    let f32 = BlockType::F32;
    let a = |rank| Tensor::counted("blk.0.attn_q.weight.lora_a", f32, &[rank, 8]);
    let b = || Tensor::counted("blk.0.attn_q.weight.lora_b", f32, &[8, 2]);
    let kinds = |kind: &str, more: &[(&'static str, GgufValue)]| {
        let own = [
            ("general.type", kind.into()),
            ("general.architecture", "llama".into()),
            ("adapter.type", "lora".into()),
        ];
        own.into_iter()
            .chain(more.iter().cloned())
            .collect::<Vec<_>>()
    };
    let alora = ("adapter.alora.invocation_tokens", GgufValue::U32s(vec![1]));
    let cases = [
        (
            kinds("model", &[]),
            vec![a(2), b()],
            "`general.type` is `model`",
        ),
        (kinds("adapter", &[alora]), vec![a(2), b()], "aLoRA"),
        (kinds("adapter", &[]), vec![a(3), b()], "the rank of A"),
        (kinds("adapter", &[]), vec![a(2)], "lora_b"),
        (kinds("adapter", &[]), vec![b()], "lora_a"),
        (
            kinds("adapter", &[]),
            vec![Tensor::counted("token_embd.weight", f32, &[8, 2])],
            "token_embd.weight",
        ),
    ];
    for (metadata, tensors, word) in cases {
        let path = write(dir.path(), &metadata, &tensors);
        let message = GgufLora::read(&path, HEADS).unwrap_err().to_string();
        assert!(message.contains(word), "{word}: {message}");
    }
    // An alpha that is missing is a scale of 1.
    let path = write(dir.path(), &kinds("adapter", &[]), &[a(2), b()]);
    let read = GgufLora::read(&path, HEADS).unwrap();
    assert_eq!(read.pairs[0].scale, 1.0);
    let message = GgufModel::open(&path).unwrap_err().to_string();
    assert!(message.contains("adapter"), "{message}");
    assert!(fs::exists(path).unwrap());
}
