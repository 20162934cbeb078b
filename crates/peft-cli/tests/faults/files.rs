//! Files as other programs write them, and broken ones.

use std::fs;
use std::path::Path;

use peft_run::core::format::AdapterFile;
use serde_json::Value;

use crate::common::{Workspace, done, goldens, peft, refused, stdout};
use crate::{copy, edit, predict, train};

#[test]
fn a_nan_in_the_base_is_no_answer() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    work.train("out", &["--steps", "1", "--threads", "1"]);
    let path = work.path("model/model.safetensors");
    let mut file = AdapterFile::read(Path::new(&path)).unwrap();
    let name = file
        .tensors
        .keys()
        .find(|name| name.ends_with("0.attention.self.query.weight"));
    let name = name.unwrap().clone();
    file.tensors[&name].bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    file.write(Path::new(&path)).unwrap();
    let merged = work.path("merged");
    for verb in [
        &["predict", "--data", &rows][..],
        &["eval", "--data", &rows],
        &["merge", "--output", &merged],
    ] {
        let base = ["--model", &model, "--adapter", &out, "--any-base"];
        let output = peft(&[verb, &base].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert_eq!(stdout(&output), "");
        assert!(told.contains(&name) && told.contains("NaN"), "{told}");
        assert!(!told.contains("adapter is broken"), "{told}");
    }
    assert!(!Path::new(&merged).exists());
    let fresh = work.path("fresh");
    assert!(refused(&train(&model, &rows, &fresh, &[])).contains(&name));
}

#[test]
fn a_broken_adapter_is_told_of_with_its_folder() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    work.train("out", &["--steps", "1", "--threads", "1"]);
    let path = work.path("out/adapter_model.safetensors");
    let whole = fs::read(&path).unwrap();
    let written = work.path("written");
    for (problem, broken) in [
        ("not finite", [f32::NAN; 1].as_slice()),
        ("has shape", &[0.0; 7]),
    ] {
        let mut file = AdapterFile::read(Path::new(&out)).unwrap();
        let name = file.tensors.keys().find(|name| name.contains("lora_B"));
        let name = name.unwrap().clone();
        let tensor = &mut file.tensors[&name];
        let bytes: Vec<u8> = broken
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        match broken.len() {
            1 => tensor.bytes[..4].copy_from_slice(&bytes),
            count => (tensor.bytes, tensor.shape) = (bytes, vec![count, 1]),
        }
        file.write(Path::new(&path)).unwrap();
        for verb in [
            &["predict", "--data", &rows][..],
            &["eval", "--data", &rows],
            &["merge", "--output", &written],
            &["convert", "--output", &written],
        ] {
            let base = ["--model", &model, "--adapter", &out];
            let told = refused(&[verb, &base].concat());
            assert!(told.contains(problem) && told.contains(&out), "{told}");
        }
        assert!(!Path::new(&written).exists());
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_token_without_an_embedding_stops_the_run_before_its_first_step() {
    let work = Workspace::new();
    let [model, data, out] = ["model", "d.csv", "out"].map(|name| work.path(name));
    fs::write(work.path("model/added_tokens.json"), r#"{"<gap>": 99}"#).unwrap();
    let row = |i: usize| match i {
        41 => "the <gap> film,1\n".to_owned(),
        i => format!("good word{},{}\n", 10 + i, i % 2),
    };
    let rows: String = (1..=60).map(row).collect();
    fs::write(&data, "text,label\n".to_owned() + &rows).unwrap();
    let told = refused(&train(&model, &data, &out, &[]));
    assert!(
        told.contains("d.csv: row 41") && told.contains("`<gap>`"),
        "{told}"
    );
    assert!(!Path::new(&out).exists());
}

#[test]
fn adapters_are_read_as_other_programs_write_them() {
    let work = Workspace::new();
    let model = goldens().join("models/bert");
    let model = model.to_str().unwrap();
    let source = goldens().join("adapters/modules_to_save");
    let data = work.path("rows.csv");
    let text = work.path("vocab");
    copy(&goldens().join("models/bert"), &text);
    fs::copy(work.path("model/vocab.txt"), format!("{text}/vocab.txt")).unwrap();
    let _ = model;
    let answer = |adapter: &str| predict(&text, &data, &["--adapter", adapter]);
    let plain = answer(source.to_str().unwrap());
    let rewritten = |name: &str, key: &dyn Fn(&str) -> String| {
        let folder = work.path(name);
        copy(&source, &folder);
        let mut file = AdapterFile::read(&source).unwrap();
        file.tensors = file
            .tensors
            .into_iter()
            .map(|(old, t)| (key(&old), t))
            .collect();
        file.write(&Path::new(&folder).join("adapter_model.safetensors"))
            .unwrap();
        folder
    };
    let named = rewritten("named", &|key| {
        let key = key
            .replace("lora_A.", "lora_A.default.")
            .replace("lora_B.", "lora_B.default.");
        key.replace("classifier.", "classifier.modules_to_save.default.")
    });
    assert_eq!(answer(&named), plain);
    let wrapped = rewritten("wrapped", &|key| format!("module.{key}"));
    assert_eq!(answer(&wrapped), plain);
    let mixed = rewritten("mixed", &|key| {
        let name = if key.contains("query") { "one" } else { "two" };
        key.replace("lora_A.", &format!("lora_A.{name}."))
    });
    let told = refused(&[
        "predict",
        "--model",
        &text,
        "--data",
        &data,
        "--adapter",
        &mixed,
    ]);
    assert!(told.contains("several adapters"), "{told}");

    // In a subfolder of its name, as PEFT saves it, and in the checkpoints of HF's trainer.
    let outer = work.path("outer");
    copy(&source, &format!("{outer}/default"));
    assert_eq!(answer(&outer), plain);
    copy(&source, &format!("{outer}/checkpoint-20"));
    let told = refused(&[
        "predict",
        "--model",
        &text,
        "--data",
        &data,
        "--adapter",
        &outer,
    ]);
    assert!(
        told.contains("several adapters in this folder") && told.contains("checkpoint-20"),
        "{told}"
    );

    // A null means what absence means.
    let [null, gone] = ["null", "gone"].map(|name| {
        let folder = work.path(name);
        copy(&source, &folder);
        edit(&format!("{folder}/adapter_config.json"), |config| {
            config.remove("lora_alpha");
            if name == "null" {
                config.insert("lora_alpha".into(), Value::Null);
            }
        });
        folder
    });
    assert_eq!(answer(&null), answer(&gone));
}

#[test]
fn bases_are_read_as_other_programs_write_them() {
    let work = Workspace::new();
    let [model, rows] = ["model", "rows.csv"].map(|name| work.path(name));
    let weights = Path::new(&model).join("model.safetensors");
    let whole = AdapterFile::read(&weights).unwrap();
    let log =
        |output: &str| fs::read_to_string(work.path(&format!("{output}/metrics.jsonl"))).unwrap();
    let losses = |log: String| -> Vec<Value> {
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|l| l["event"] == "step")
            .map(|l| l["loss"].clone())
            .collect()
    };
    done(&train(&model, &rows, &work.path("plain"), &[]));
    let plain = losses(log("plain"));
    for (name, prefix) in [("compiled", "_orig_mod."), ("parallel", "module.")] {
        let mut file = whole.clone();
        let renamed = file
            .tensors
            .into_iter()
            .map(|(key, t)| (format!("{prefix}{key}"), t));
        file.tensors = renamed.collect();
        file.write(&weights).unwrap();
        done(&train(&model, &rows, &work.path(name), &[]));
        assert_eq!(losses(log(name)), plain, "{name}");
    }
    whole.write(&weights).unwrap();
    // Two texts, and a model that knows one segment only.
    let pairs = work.path("pairs.csv");
    let text: String = (0..40)
        .map(|i| format!("good word{},bad,{}\n", 10 + i, i % 2))
        .collect();
    fs::write(&pairs, "sentence1,sentence2,label\n".to_owned() + &text).unwrap();
    let mut file = whole.clone();
    for (key, tensor) in &mut file.tensors {
        if key.ends_with("token_type_embeddings.weight") {
            tensor.bytes.truncate(tensor.bytes.len() / tensor.shape[0]);
            tensor.shape[0] = 1;
        }
    }
    file.write(&weights).unwrap();
    edit(&format!("{model}/config.json"), |config| {
        config.insert("type_vocab_size".into(), 1.into());
    });
    done(&train(&model, &pairs, &work.path("pairs"), &[]));
    edit(&format!("{model}/config.json"), |config| {
        config.insert("is_decoder".into(), true.into());
    });
    let told = refused(&train(&model, &rows, &work.path("decoder"), &[]));
    assert!(told.contains("`is_decoder`"), "{told}");
    edit(&format!("{model}/config.json"), |config| {
        config.insert("is_decoder".into(), false.into());
    });
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for name in ["vocab.txt", "model.safetensors", "config.json"] {
        fs::write(format!("{model}/{name}"), pointer).unwrap();
        let told = refused(&train(&model, &rows, &work.path("pointer"), &[]));
        assert!(
            told.contains("Git LFS pointer") && told.contains(name),
            "{told}"
        );
    }
}

#[test]
fn a_model_with_a_broken_value_is_told_of() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("model.safetensors");
    let mut bytes = fs::read(goldens().join("models/bert_base/model.safetensors")).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let output = peft(&["inspect", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("NOT FINITE"));
}

#[test]
fn a_converted_adapter_in_a_gguf_file_is_shown() {
    let temp = tempfile::tempdir().unwrap();
    let output = temp.path().join("gguf");
    let (model, adapter) = (
        goldens().join("llama_tiny"),
        goldens().join("causal/adapters/lora_qv"),
    );
    let paths = [&model, &adapter, &output].map(|path| path.to_str().unwrap());
    done(&[
        "convert",
        "--to",
        "gguf",
        "--model",
        paths[0],
        "--adapter",
        paths[1],
        "--output",
        paths[2],
    ]);
    let shown = done(&["inspect", paths[2]]);
    assert!(shown.contains("architecture  llama (lora)"), "{shown}");
}
