//! Files for the tests: by the crate's writer, or byte by byte where they are to be wrong.

use std::path::{Path, PathBuf};

use peft_format::BlockType;
use peft_format::gguf::{GgufTensorSpec, GgufValue, GgufWriter};

pub type Metadata = Vec<(&'static str, GgufValue)>;

/// A tensor of a test: its values are encoded where the type has an encoder.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub kind: BlockType,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Tensor {
    pub fn new(name: &str, kind: BlockType, shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            name: name.into(),
            kind,
            shape: shape.into(),
            values,
        }
    }

    /// Values that tell every element apart.
    pub fn counted(name: &str, kind: BlockType, shape: &[usize]) -> Self {
        let len = shape.iter().product::<usize>();
        let values = (0..len).map(|i| (0.9 * i as f32).sin()).collect();
        Self::new(name, kind, shape, values)
    }
}

/// Writes a file and returns its path inside the folder.
pub fn write(dir: &Path, metadata: &Metadata, tensors: &[Tensor]) -> PathBuf {
    let path = dir.join("test.gguf");
    let specs = tensors.iter().map(|t| GgufTensorSpec {
        name: t.name.clone(),
        kind: t.kind,
        shape: t.shape.clone(),
    });
    let mut writer = GgufWriter::create(&path, metadata, specs.collect()).unwrap();
    for tensor in tensors {
        let bytes = tensor.kind.encode(&tensor.values).unwrap();
        writer.write(&tensor.name, &bytes).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// Bytes written by hand.
#[derive(Clone, Default)]
pub struct Raw {
    pub bytes: Vec<u8>,
}

impl Raw {
    /// Magic, version and counts.
    pub fn head(version: u32, tensors: u64, entries: u64) -> Self {
        let mut raw = Self {
            bytes: b"GGUF".to_vec(),
        };
        raw.put(&version.to_le_bytes());
        raw.put(&tensors.to_le_bytes());
        raw.put(&entries.to_le_bytes());
        raw
    }

    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    pub fn string(&mut self, text: &[u8]) -> &mut Self {
        self.put(&(text.len() as u64).to_le_bytes()).put(text)
    }

    /// A key, its type and the bytes of its value.
    pub fn entry(&mut self, key: &[u8], kind: u32, value: &[u8]) -> &mut Self {
        self.string(key).put(&kind.to_le_bytes()).put(value)
    }

    /// A tensor description, dimensions in the file's order.
    pub fn tensor(&mut self, name: &[u8], ne: &[u64], kind: u32, offset: u64) -> &mut Self {
        self.string(name).put(&(ne.len() as u32).to_le_bytes());
        for d in ne {
            self.put(&d.to_le_bytes());
        }
        self.put(&kind.to_le_bytes()).put(&offset.to_le_bytes())
    }

    /// Padding up to the data and so many bytes of it.
    pub fn data(&mut self, len: usize) -> &mut Self {
        let start = self.bytes.len().next_multiple_of(32);
        self.bytes.resize(start + len, 0);
        self
    }
}

/// The metadata of a tiny Llama: width 8, 2 heads of 4, 1 of keys, 12 tokens.
pub fn llama_metadata() -> Metadata {
    vec![
        ("general.architecture", "llama".into()),
        ("general.type", "model".into()),
        ("llama.block_count", GgufValue::U32(1)),
        ("llama.context_length", GgufValue::U32(64)),
        ("llama.embedding_length", GgufValue::U32(8)),
        ("llama.feed_forward_length", GgufValue::U32(12)),
        ("llama.attention.head_count", GgufValue::U32(2)),
        ("llama.attention.head_count_kv", GgufValue::U32(1)),
        (
            "llama.attention.layer_norm_rms_epsilon",
            GgufValue::F32(1e-5),
        ),
        ("llama.rope.freq_base", GgufValue::F32(1e5)),
        ("llama.rope.dimension_count", GgufValue::U32(4)),
    ]
}

/// Its tensors, in the names and shapes of the file.
pub fn llama_tensors() -> Vec<Tensor> {
    use BlockType::F32;
    vec![
        Tensor::counted("token_embd.weight", F32, &[12, 8]),
        Tensor::counted("output_norm.weight", F32, &[8]),
        Tensor::counted("blk.0.attn_norm.weight", F32, &[8]),
        Tensor::counted("blk.0.attn_q.weight", F32, &[8, 8]),
        Tensor::counted("blk.0.attn_k.weight", F32, &[4, 8]),
        Tensor::counted("blk.0.attn_v.weight", F32, &[4, 8]),
        Tensor::counted("blk.0.attn_output.weight", F32, &[8, 8]),
        Tensor::counted("blk.0.ffn_norm.weight", F32, &[8]),
        Tensor::counted("blk.0.ffn_gate.weight", F32, &[12, 8]),
        Tensor::counted("blk.0.ffn_up.weight", F32, &[12, 8]),
        Tensor::counted("blk.0.ffn_down.weight", F32, &[8, 12]),
    ]
}
