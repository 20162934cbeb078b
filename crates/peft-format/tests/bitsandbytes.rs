//! NF4 weights as bitsandbytes stores them.

use std::path::{Path, PathBuf};

use peft_format::blocks::nf4::{CODEBOOK, NestedScales, Nf4, dynamic_map};
use peft_format::{BlockType, Checkpoint, Dtype, Metadata, SafetensorsWriter, TensorSpec};
use serde_json::json;

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

type Part = (String, Dtype, Vec<usize>, Vec<u8>);

fn floats(name: &str, values: &[f32]) -> Part {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    (
        format!("{NAME}{name}"),
        Dtype::F32,
        vec![values.len()],
        bytes,
    )
}

fn bytes(name: &str, values: &[u8]) -> Part {
    let shape = vec![values.len(), 1];
    (format!("{NAME}{name}"), Dtype::U8, shape, values.to_vec())
}

fn write(dir: &Path, parts: &[Part]) -> PathBuf {
    let path = dir.join("model.safetensors");
    let specs = parts.iter().map(|p| TensorSpec::new(&p.0, p.1, &*p.2));
    let mut writer = SafetensorsWriter::create(&path, specs.collect(), &Metadata::new()).unwrap();
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        let part = parts.iter().find(|p| p.0 == name).unwrap();
        writer.write(&name, &part.3).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn wave() -> Vec<f32> {
    (0..24 * 32)
        .map(|i| 0.5 * (0.37 * i as f32).sin())
        .collect()
}

/// The parts of one weight, `[24, 32]`.
fn parts(nested: bool) -> (Nf4, Vec<Part>) {
    let mut coded = Nf4::encode(&wave());
    let mut state = json!({
        "quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [24, 32],
    });
    let mut parts = vec![bytes("", &coded.codes), floats(".quant_map", &CODEBOOK)];
    if nested {
        let scales = NestedScales::encode(&coded.absmax);
        state["nested_blocksize"] = json!(256);
        state["nested_dtype"] = json!("float32");
        state["nested_offset"] = json!(scales.offset);
        parts.push(bytes(".absmax", &scales.codes));
        parts.push(floats(".nested_absmax", &scales.absmax));
        parts.push(floats(".nested_quant_map", &dynamic_map()));
        coded.absmax = scales.decode();
    } else {
        parts.push(floats(".absmax", &coded.absmax));
    }
    let state = state.to_string();
    parts.push(bytes(".quant_state.bitsandbytes__nf4", state.as_bytes()));
    (coded, parts)
}

#[test]
fn weights_are_read_with_and_without_nesting() {
    for nested in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (coded, parts) = parts(nested);
        let checkpoint = Checkpoint::open(&write(dir.path(), &parts)).unwrap();
        let weight = checkpoint.nf4(NAME).unwrap().unwrap();
        assert_eq!(weight.shape, [24, 32]);
        assert_eq!(weight.absmax, coded.absmax);
        assert!(weight.codes.is_mapped());
        let values = checkpoint.to_f32(NAME).unwrap();
        assert_eq!(values, coded.decode(24 * 32));
        for (found, expected) in values.iter().zip(wave()) {
            assert!((found - expected).abs() < 0.08, "{found} {expected}");
        }
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), [NAME]);
        assert!(checkpoint.is_quantised());
        let info = checkpoint.info(NAME).unwrap();
        assert_eq!((info.dtype, info.shape), (Dtype::F32, vec![24, 32]));
        let stored_as = checkpoint.stored_as(NAME).unwrap();
        let in_file: usize = parts.iter().map(|part| part.3.len()).sum();
        assert_eq!(stored_as, ("NF4".to_owned(), in_file));
        // Rows of half a block are decoded.
        let stored = checkpoint.stored(NAME).unwrap();
        assert_eq!((stored.kind, stored.to_f32()), (BlockType::F32, values));
    }
}

#[test]
fn rows_of_whole_blocks_are_blocks() {
    for nested in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (coded, mut parts) = parts(nested);
        let state = parts.last_mut().unwrap();
        let text = String::from_utf8(state.3.clone()).unwrap();
        let text = text.replace("[24,32]", "[12,64]");
        assert!(text.contains("[12,64]"));
        *state = bytes(".quant_state.bitsandbytes__nf4", text.as_bytes());
        let checkpoint = Checkpoint::open(&write(dir.path(), &parts)).unwrap();
        let stored = checkpoint.stored(NAME).unwrap();
        assert_eq!(
            (stored.kind, stored.shape.as_slice()),
            (BlockType::Nf4, [12, 64].as_slice())
        );
        assert_eq!(stored.to_f32(), coded.decode(24 * 32));
        checkpoint.release();
        assert_eq!(checkpoint.to_f32(NAME).unwrap(), stored.to_f32());
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refused = |change: &dyn Fn(&mut Vec<Part>), words: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let (_, mut parts) = parts(true);
        change(&mut parts);
        let checkpoint = Checkpoint::open(&write(dir.path(), &parts)).unwrap();
        let message = checkpoint.nf4(NAME).unwrap_err().to_string();
        for word in [&["model.safetensors"], words].concat() {
            assert!(message.contains(word), "{word} is not in: {message}");
        }
    };
    let state = |text: &str| bytes(".quant_state.bitsandbytes__nf4", text.as_bytes());
    let set = |part: Part| {
        move |parts: &mut Vec<Part>| {
            parts.retain(|p| p.0 != part.0);
            parts.push(part.clone());
        }
    };
    let without = |ending: &'static str| {
        move |parts: &mut Vec<Part>| parts.retain(|p| !p.0.ends_with(ending))
    };
    refused(
        &set(bytes("", &[0; 3])),
        &["up_proj.weight", "384 elements of U8"],
    );
    refused(
        &set(floats(".quant_map", &[0.0; 15])),
        &["quant_map", "16 elements"],
    );
    refused(&set(bytes(".absmax", &[0; 3])), &["absmax", "12 elements"]);
    refused(
        &set(floats(".nested_absmax", &[0.0; 2])),
        &["nested_absmax", "1 elements"],
    );
    refused(&without(".quant_map"), &["quant_map"]);
    refused(&without(".nested_quant_map"), &["nested_quant_map"]);
    refused(&set(state("{}")), &["quant_type"]);
    refused(&set(state("[")), &["JSON"]);
    let with = |more: &str| state(&format!(r#"{{"quant_type":"nf4",{more}}}"#));
    refused(&set(with(r#""blocksize":64"#)), &["`shape`"]);
    refused(
        &set(with(r#""shape":[4294967296,4294967296]"#)),
        &["`shape`"],
    );
    refused(
        &set(with(r#""shape":[24,32],"blocksize":0"#)),
        &["`blocksize`"],
    );
    let nested = r#""shape":[24,32],"blocksize":64,"nested_blocksize":256"#;
    refused(&set(with(nested)), &["nested_offset"]);
    refused(
        &|parts| parts.push(bytes(".quant_state.bitsandbytes__fp4", b"{}")),
        &["FP4"],
    );
}

#[test]
fn other_weights_are_not_nf4() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&write(dir.path(), &[floats("", &[1.0, 2.0])])).unwrap();
    assert!(checkpoint.nf4(NAME).unwrap().is_none());
    let stored = checkpoint.stored(NAME).unwrap();
    assert_eq!(stored.to_f32(), [1.0, 2.0]);
    assert!(stored.bytes.is_mapped());
}
