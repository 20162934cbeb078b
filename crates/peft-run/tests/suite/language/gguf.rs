//! A tiny Llama in a GGUF file: the model of its folder, trained on, merged, and what is no base.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::FloatDType;
use peft_run::{
    BaseFile, MergeOptions, RunError,
    core::format::{
        AdapterConfig, BlockType, Checkpoint,
        gguf::{GgufTensorSpec, GgufValue, GgufWriter},
    },
    data::TextTokenizer,
    merge, open, plan, tokenizer, train, verify,
};

use super::{
    Texts, load,
    runs::{adapter_bytes, config, measured},
};
use crate::{common::*, resume::Stop};

/// The width, that of the feed-forward layers, and how matrices are stored.
#[derive(Clone, Copy)]
struct Sizes {
    width: usize,
    hidden: usize,
    kind: BlockType,
}

/// As the tiny Llama of the goldens has it.
const TINY: Sizes = Sizes {
    width: 16,
    hidden: 24,
    kind: BlockType::F32,
};

/// Rows of whole blocks.
const BLOCKS: Sizes = Sizes {
    width: 32,
    hidden: 64,
    kind: BlockType::Q8_0,
};

const LAYERS: usize = 2;
const HEADS: usize = 4;
const KEY_HEADS: usize = 2;
const VOCABULARY: usize = 32;

impl Sizes {
    /// Hugging Face's name, the file's name and the shape of every tensor.
    fn tensors(&self) -> Vec<(String, String, Vec<usize>)> {
        let (width, keys) = (self.width, self.width / HEADS * KEY_HEADS);
        let mut all = vec![
            ("model.embed_tokens", "token_embd", vec![VOCABULARY, width]),
            ("model.norm", "output_norm", vec![width]),
            ("lm_head", "output", vec![VOCABULARY, width]),
        ]
        .into_iter()
        .map(|(hf, own, shape)| (format!("{hf}.weight"), format!("{own}.weight"), shape))
        .collect::<Vec<_>>();
        for layer in 0..LAYERS {
            for (hf, own, shape) in [
                ("input_layernorm", "attn_norm", vec![width]),
                ("post_attention_layernorm", "ffn_norm", vec![width]),
                ("self_attn.q_proj", "attn_q", vec![width, width]),
                ("self_attn.k_proj", "attn_k", vec![keys, width]),
                ("self_attn.v_proj", "attn_v", vec![keys, width]),
                ("self_attn.o_proj", "attn_output", vec![width, width]),
                ("mlp.gate_proj", "ffn_gate", vec![self.hidden, width]),
                ("mlp.up_proj", "ffn_up", vec![self.hidden, width]),
                ("mlp.down_proj", "ffn_down", vec![width, self.hidden]),
            ] {
                all.push((
                    format!("model.layers.{layer}.{hf}.weight"),
                    format!("blk.{layer}.{own}.weight"),
                    shape,
                ));
            }
        }
        all
    }

    /// Write the file with `values` of Hugging Face's tensors.
    fn write(&self, path: &Path, context: u32, values: impl Fn(&str, usize) -> Vec<f32>) {
        let tensors = self.tensors();
        let kind = |shape: &[usize]| match shape {
            [_, _] => self.kind,
            _ => BlockType::F32,
        };
        let specs = tensors.iter().map(|(_, own, shape)| GgufTensorSpec {
            name: own.clone(),
            kind: kind(shape),
            shape: shape.clone(),
        });
        let metadata = self.metadata(context);
        let mut writer = GgufWriter::create(path, &metadata, specs.collect()).unwrap();
        for (hf, own, shape) in &tensors {
            let mut values = values(hf, shape.iter().product());
            let heads = match own.rsplit('.').nth(1) {
                Some("attn_q") => HEADS,
                Some("attn_k") => KEY_HEADS,
                _ => 0,
            };
            if heads > 0 {
                values = interleaved(&values, heads, shape[0], shape[1]);
            }
            let bytes = kind(shape).encode(&values).unwrap();
            writer.write(own, &bytes).unwrap();
        }
        writer.finish().unwrap();
    }

    fn metadata(&self, context: u32) -> Vec<(&'static str, GgufValue)> {
        let number = |value: usize| GgufValue::U32(value as u32);
        let letters = ('a'..='z').map(String::from);
        let tokens = ["<unk>", "<s>", "</s>", "\u{120}"].map(String::from);
        let tokens = tokens.into_iter().chain(letters);
        let tokens = tokens.chain([".".into(), "th".into()]).collect();
        let mut types = vec![1; VOCABULARY];
        types[..3].fill(3);
        vec![
            ("general.architecture", "llama".into()),
            ("llama.block_count", number(LAYERS)),
            ("llama.context_length", GgufValue::U32(context)),
            ("llama.embedding_length", number(self.width)),
            ("llama.feed_forward_length", number(self.hidden)),
            ("llama.attention.head_count", number(HEADS)),
            ("llama.attention.head_count_kv", number(KEY_HEADS)),
            (
                "llama.attention.layer_norm_rms_epsilon",
                GgufValue::F32(1e-5),
            ),
            ("llama.rope.freq_base", GgufValue::F32(1e4)),
            ("llama.rope.dimension_count", number(self.width / HEADS)),
            ("tokenizer.ggml.model", "gpt2".into()),
            ("tokenizer.ggml.pre", "gpt-2".into()),
            ("tokenizer.ggml.tokens", GgufValue::Strings(tokens)),
            ("tokenizer.ggml.token_type", GgufValue::I32s(types)),
            (
                "tokenizer.ggml.merges",
                GgufValue::Strings(vec!["t h".into()]),
            ),
            ("tokenizer.ggml.bos_token_id", GgufValue::U32(1)),
            ("tokenizer.ggml.eos_token_id", GgufValue::U32(2)),
            ("tokenizer.ggml.unknown_token_id", GgufValue::U32(0)),
            ("tokenizer.ggml.add_bos_token", GgufValue::Bool(true)),
            (
                "tokenizer.chat_template",
                "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}".into(),
            ),
        ]
    }
}

/// Rows of `q` and `k` as llama.cpp's conversion orders them: halves of a head's channels by turns.
fn interleaved(values: &[f32], heads: usize, rows: usize, columns: usize) -> Vec<f32> {
    let half = rows / heads / 2;
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, place) = (row / (2 * half), row % (2 * half));
        let from = head * 2 * half + place % 2 * half + place / 2;
        out.extend(&values[from * columns..(from + 1) * columns]);
    }
    out
}

/// The tiny Llama of the goldens as a file.
fn tiny(dir: &Path) -> PathBuf {
    let path = dir.join("tiny.gguf");
    let checkpoint = Checkpoint::open(&goldens().join("llama_tiny")).unwrap();
    TINY.write(&path, 64, |name, _| checkpoint.to_f32(name).unwrap());
    path
}

/// A quantised model of no sense that can learn, for a context of so many tokens.
pub fn blocks(dir: &Path, context: u32) -> PathBuf {
    let path = dir.join("blocks.gguf");
    BLOCKS.write(&path, context, |name, len| {
        let phase = name.bytes().map(u32::from).sum::<u32>() as f32;
        let values = (0..len).map(|i| (1.7 * i as f32 + phase).sin());
        match name.contains("norm") {
            true => values.map(|v| 1.0 + 0.1 * v).collect(),
            false => values.map(|v| 0.3 * v).collect(),
        }
    });
    path
}

pub fn texts(dir: &Path) -> PathBuf {
    let path = dir.join("texts.jsonl");
    let words = ["cat", "dog", "owl", "fox", "hen", "pig"];
    let rows = (0..60).map(|row| {
        let text = format!("the {} ran.", words[(row + row / 7) % words.len()]);
        serde_json::json!({ "text": text }).to_string() + "\n"
    });
    fs::write(&path, rows.collect::<String>()).unwrap();
    path
}

#[test]
fn a_gguf_file_is_the_model_of_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let device = cpu();
    let (file, folder) = (tiny(dir.path()), goldens().join("llama_tiny"));
    let cases = json("causal/cases.json");
    let texts = Texts::of(cases["sequences"].as_array().unwrap());
    let wanted = texts.logits(&load(&folder, FloatDType::F32, &device), &device);
    // The file itself, and the folder in which it is alone.
    for path in [&file, dir.path()] {
        let found = texts.logits(&load(path, FloatDType::F32, &device), &device);
        assert_eq!(found, wanted, "{}", path.display());
        let (own, other) = (tokenizer(path).unwrap(), TextTokenizer::from_dir(&folder));
        let other = other.unwrap();
        for text in ["the cat.", "a</s>b", "th e"] {
            let ids = |tokenizer: &TextTokenizer| tokenizer.encode(text, None, 64).unwrap().ids;
            assert_eq!(ids(&own), ids(&other), "{text}");
        }
        assert_eq!((own.bos_id(), own.eos_id()), (Some(1), Some(2)));
        assert_eq!(own.turn_end_ids(), [2]);
        let template = peft_run::chat_template(path, &own).unwrap();
        assert!(template.is_some());
    }
    // Two files: which is meant?
    fs::copy(&file, dir.path().join("other.gguf")).unwrap();
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("other.gguf") && error.contains("tiny.gguf"),
        "{error}"
    );
}

#[test]
fn a_quantised_base_trains_resumes_and_is_merged_into_floats() {
    let dir = tempfile::tempdir().unwrap();
    let device = cpu();
    let (model, data) = (blocks(dir.path(), 64), texts(dir.path()));
    let whole = dir.path().join("whole");
    let mut settings = config(&model, &data, &whole, "lora");
    settings.steps = Some(30);
    let planned = plan(&settings).unwrap();
    assert_eq!(planned.targets, 7 * LAYERS);
    train(&settings, &mut ()).unwrap();
    let written = AdapterConfig::read(&whole).unwrap();
    assert_eq!(written.base_model_name_or_path(), model.to_str());
    let base = BaseFile::read(&whole).unwrap().unwrap();
    assert_eq!(base.model, model.to_str().unwrap());
    assert_eq!(base.fingerprint.tensors, 9 * LAYERS + 3);

    // The same in parts; a file with other metadata is another input.
    let parts = dir.path().join("parts");
    settings.output = parts.clone();
    let stopped = train(&settings, &mut Stop::after(11)).unwrap_err();
    assert!(matches!(stopped, RunError::Interrupted { .. }), "{stopped}");
    settings.resume = true;
    let original = fs::read(&model).unwrap();
    blocks(dir.path(), 63);
    let error = train(&settings, &mut ()).unwrap_err().to_string();
    assert!(error.contains("(metadata)"), "{error}");
    fs::write(&model, original).unwrap();
    train(&settings, &mut ()).unwrap();
    assert_eq!(adapter_bytes(&whole), adapter_bytes(&parts));

    let (_, before) = measured(&model, None, &data);
    let (_, after) = measured(&model, Some(&whole), &data);
    assert!(after.loss < before.loss - 0.3, "{after:?} {before:?}");
    let report = verify(&model, &whole, &device).unwrap();
    assert!(report.is_good(), "{:?}", report.problems);

    let merged = dir.path().join("merged");
    let report = merge(&MergeOptions::new(&model, &whole, &merged, &device)).unwrap();
    assert_eq!(report.dequantised, ["Q8_0"]);
    assert_eq!(report.dtypes, ["F32"]);
    let names = fs::read_dir(&merged).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        name.into_string().unwrap()
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    let expected = [
        "config.json",
        "generation_config.json",
        "merge.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names, expected);
    let (_, dense) = measured(&merged, None, &data);
    assert!(
        (dense.loss - after.loss).abs() < 1e-5,
        "{dense:?} {after:?}"
    );
    let generation: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(merged.join("generation_config.json")).unwrap()).unwrap();
    assert_eq!(generation["eos_token_id"], serde_json::json!([2]));
    let own = tokenizer(&merged).unwrap();
    assert!(peft_run::chat_template(&merged, &own).unwrap().is_some());
    // In half precision, if asked.
    let mut options = MergeOptions::new(&model, &whole, &merged, &device);
    options.dtype = Some(peft_run::core::format::Dtype::BF16);
    options.allow_loss = true;
    options.overwrite = true;
    assert_eq!(merge(&options).unwrap().dtypes, ["BF16"]);
    let checkpoint = Checkpoint::open(&merged).unwrap();
    let name = "model.embed_tokens.weight";
    let dtype = checkpoint.info(name).unwrap().dtype;
    assert_eq!(dtype, peft_run::core::format::Dtype::BF16);
}

#[test]
fn what_is_no_base_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let device = cpu();
    let path = dir.path().join("x.gguf");
    let opened = |adapter: Option<&Path>| {
        let error = open(&peft_run::OpenOptions {
            model: &path,
            adapter,
            any_base: false,
            task: None,
            base: peft_run::BaseOptions::default(),
            device: &device,
        });
        error.unwrap_err().to_string()
    };
    let written = |entries: &[(&'static str, GgufValue)]| {
        let writer = GgufWriter::create(&path, entries, Vec::new()).unwrap();
        writer.finish().unwrap();
    };
    written(&[("general.architecture", "falcon".into())]);
    let error = opened(None);
    assert!(
        error.contains("falcon") && error.contains("qwen2"),
        "{error}"
    );
    written(&[
        ("general.architecture", "llama".into()),
        ("split.count", GgufValue::U32(3)),
    ]);
    let error = opened(None);
    assert!(error.contains("llama-gguf-split --merge"), "{error}");
    written(&[
        ("general.architecture", "llama".into()),
        ("general.type", "adapter".into()),
    ]);
    let error = opened(None);
    assert!(error.contains("`adapter`"), "{error}");
    fs::write(
        &path,
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    )
    .unwrap();
    let error = opened(None);
    assert!(error.contains("git lfs pull"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = opened(None);
    assert!(error.contains("x.gguf"), "{error}");
    // A model where an adapter should be.
    let model = blocks(dir.path(), 64);
    fs::copy(&model, &path).unwrap();
    let error = opened(Some(&model));
    assert!(error.contains("it is a GGUF file"), "{error}");
}
