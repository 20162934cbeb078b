//! Faults that users of other tools reported, tried on this one: what is refused, and with which words.

mod common;

use std::fs;
use std::path::Path;

use common::{Workspace, done, goldens, peft, refused, stdout};
use peft_run::core::format::AdapterFile;
use serde_json::Value;

fn copy(from: &Path, to: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), Path::new(to).join(entry.file_name())).unwrap();
        }
    }
}

/// Changes a JSON file.
fn edit(path: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let mut value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(value.as_object_mut().unwrap());
    fs::write(path, value.to_string()).unwrap();
}

fn train<'a>(model: &'a str, data: &'a str, output: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let paths = [
        "train", "--model", model, "--data", data, "--output", output,
    ];
    let quick = ["--steps", "2", "--max-length", "16", "--threads", "1"];
    [&paths[..], &quick, flags].concat()
}

fn predict(model: &str, data: &str, flags: &[&str]) -> Value {
    let out = done(&[&["predict", "--model", model, "--data", data], flags].concat());
    serde_json::from_str(out.lines().next().unwrap()).unwrap()
}

#[test]
fn nothing_is_replaced_that_the_command_did_not_write() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    // Of the user.
    fs::create_dir(&out).unwrap();
    fs::write(work.path("out/README.md"), "my notes").unwrap();
    fs::write(work.path("out/train.log"), "").unwrap();
    let told = refused(&train(&model, &rows, &out, &[]));
    assert!(
        told.contains("`README.md`") && told.contains("--output"),
        "{told}"
    );
    assert_eq!(
        fs::read_to_string(work.path("out/README.md")).unwrap(),
        "my notes"
    );
    assert!(!refused(&train(&model, &rows, &out, &["--overwrite"])).is_empty());
    fs::remove_file(work.path("out/README.md")).unwrap();
    // What a run does not write is in nobody's way.
    done(&train(&model, &rows, &out, &[]));

    let weights = || fs::read(work.path("out/adapter_model.safetensors")).unwrap();
    let before = weights();
    let told = refused(&train(&model, &rows, &out, &["--rank", "4"]));
    assert!(
        told.contains("a finished run of 2 steps") && told.contains("--overwrite"),
        "{told}"
    );
    assert_eq!(weights(), before);
    done(&train(&model, &rows, &out, &["--rank", "4", "--overwrite"]));
    assert_ne!(weights(), before);

    let told = refused(&train(&model, &rows, &model, &[]));
    assert!(told.contains("`config.json`"), "{told}");
    assert!(!Path::new(&work.path("model/run.toml")).exists());
}

#[test]
fn predictions_replace_predictions_and_nothing_else() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    work.train("out", &["--steps", "1", "--threads", "1"]);
    let to = |file: &str, more: &[&str]| -> Vec<String> {
        let fixed = [
            "predict",
            "--model",
            &model,
            "--adapter",
            &out,
            "--data",
            &rows,
        ];
        let all = [&fixed[..], &["--output", file], more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let refuse = |file: &str, more: &[&str]| {
        let all = to(file, more);
        refused(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let run = |file: &str, more: &[&str]| {
        let all = to(file, more);
        done(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let data = fs::read(&rows).unwrap();
    for more in [&[][..], &["--overwrite"]] {
        assert!(refuse(&rows, more).contains("the file of --data"));
    }
    assert_eq!(fs::read(&rows).unwrap(), data);
    let notes = work.path("notes.txt");
    fs::write(&notes, "mine").unwrap();
    assert!(refuse(&notes, &["--overwrite"]).contains("something else"));
    let file = work.path("predicted.jsonl");
    run(&file, &[]);
    let whole = fs::read(&file).unwrap();
    assert!(refuse(&file, &[]).contains("--overwrite"));
    run(&file, &["--overwrite"]);
    assert_eq!(fs::read(&file).unwrap(), whole);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt, symlink};
        run("/dev/null", &[]);
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
        assert_eq!(run("/dev/stdout", &[]).as_bytes(), whole);
        let link = work.path("link");
        symlink(&rows, &link).unwrap();
        assert!(refuse(&link, &["--overwrite"]).contains("the file of --data"));
    }
}

#[test]
fn names_that_match_nothing_are_errors_with_suggestions() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    for (flags, words) in [
        (
            &["--modules-to-save", "clasifier"][..],
            ["--modules-to-save", "classifier"],
        ),
        (&["--rank-pattern", "qery=2"], ["rank_pattern", "query"]),
        (&["--alpha-pattern", "valu=2"], ["alpha_pattern", "value"]),
        (
            &["--exclude-modules", "qery"],
            ["--exclude-modules", "query"],
        ),
        (
            &["--exclude-modules", "key"],
            ["--exclude-modules", "would be adapted"],
        ),
        (&["--layers", "0,7"], ["--layers", "layer 7"]),
        (
            &["--layers", "0", "--layers-pattern", "layer,blok"],
            ["--layers-pattern", "blok"],
        ),
    ] {
        let told = refused(&train(&model, &rows, &out, flags));
        for word in words {
            assert!(told.contains(word), "{told} has no {word}");
        }
        assert!(!Path::new(&out).exists(), "{flags:?}");
        let mut plan = vec!["plan", "--model", &model];
        plan.extend(flags);
        assert_eq!(refused(&plan), told);
    }
    let good = [
        "--modules-to-save",
        "pooler",
        "--rank-pattern",
        "layer.0.*query=2",
        "--exclude-modules",
        "value",
        "--layers",
        "0",
    ];
    done(&train(&model, &rows, &out, &good));
}

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
fn a_task_is_what_the_configuration_says_after_merging_too() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let several = ["--task", "multi-label"];
    work.train(
        "out",
        &[
            &several[..],
            &["--steps", "2", "--max-length", "12", "--threads", "1"],
        ]
        .concat(),
    );
    let merged = work.path("merged");
    let into = ["--output", &merged];
    done(&[&["merge", "--model", &model, "--adapter", &out][..], &into].concat());
    let adapted = predict(&model, &rows, &["--adapter", &out]);
    let by_itself = predict(&merged, &rows, &[]);
    assert!(adapted["labels"].is_array(), "{adapted}");
    assert_eq!(adapted["labels"], by_itself["labels"]);
    for (label, p) in adapted["probabilities"].as_object().unwrap() {
        let other = by_itself["probabilities"][label].as_f64().unwrap();
        assert!((p.as_f64().unwrap() - other).abs() < 1e-5, "{label}");
    }
    let tokenizer = fs::read_to_string(work.path("merged/tokenizer_config.json")).unwrap();
    let tokenizer: Value = serde_json::from_str(&tokenizer).unwrap();
    assert_eq!(tokenizer["model_max_length"], 12);
    edit(&work.path("merged/config.json"), |config| {
        config.insert("problem_type".into(), "ordinal".into());
    });
    let told = refused(&["predict", "--model", &merged, "--data", &rows]);
    assert!(
        told.contains("`problem_type`") && told.contains("ordinal"),
        "{told}"
    );
}

#[test]
fn a_merged_head_has_its_labels_in_the_configuration() {
    let work = Workspace::new();
    // PEFT's own adapter, with a head of three, on a base without one.
    let model = work.path("bare");
    copy(&goldens().join("models/bert_base"), &model);
    let adapter = goldens().join("adapters/modules_to_save");
    let adapter = adapter.to_str().unwrap();
    let [merged, other] = ["merged", "other"].map(|name| work.path(name));
    let merge = |adapter: &str, output: &str| {
        done(&[
            "merge",
            "--model",
            &model,
            "--adapter",
            adapter,
            "--output",
            output,
        ]);
        let config = fs::read_to_string(Path::new(output).join("config.json")).unwrap();
        serde_json::from_str::<Value>(&config).unwrap()
    };
    edit(&format!("{model}/config.json"), |config| {
        config.insert("num_labels".into(), 7.into());
    });
    let config = merge(adapter, &merged);
    let file = AdapterFile::read(Path::new(adapter)).unwrap();
    let head = file
        .tensors
        .iter()
        .find(|(key, _)| key.ends_with("classifier.weight"));
    let outputs = head.unwrap().1.shape[0];
    assert_eq!(config["id2label"].as_object().unwrap().len(), outputs);
    assert_eq!(config["architectures"][0], "BertForSequenceClassification");
    assert!(config.get("num_labels").is_none());

    // Without its head, the model stays what it was.
    let headless = work.path("headless");
    copy(Path::new(adapter), &headless);
    let mut file = AdapterFile::read(Path::new(&headless)).unwrap();
    file.tensors.retain(|key, _| key.contains("lora"));
    file.write(&Path::new(&headless).join("adapter_model.safetensors"))
        .unwrap();
    let before = fs::read_to_string(format!("{model}/config.json")).unwrap();
    let before: Value = serde_json::from_str(&before).unwrap();
    assert_eq!(merge(&headless, &other), before);
}

#[test]
fn a_new_head_takes_other_labels() {
    let work = Workspace::new();
    let [rows, out, merged] = ["rows.csv", "out", "merged"].map(|name| work.path(name));
    let model = work.path("model");
    work.train("first", &["--steps", "2", "--threads", "1"]);
    let first = work.path("first");
    done(&[
        "merge",
        "--model",
        &model,
        "--adapter",
        &first,
        "--output",
        &merged,
    ]);
    // The merged model has a head for praise and blame.
    let three = work.path("three.csv");
    let row = |i: usize| format!("good word{},{}\n", 10 + i, ["yes", "no", "maybe"][i % 3]);
    let text: String = (0..60).map(row).collect();
    fs::write(&three, "text,label\n".to_owned() + &text).unwrap();
    let told = refused(&train(&merged, &three, &out, &[]));
    assert!(
        told.contains("head") && told.contains("--new-head"),
        "{told}"
    );
    let told = refused(&train(&merged, &three, &out, &["--task", "multi-label"]));
    assert!(told.contains("--new-head"), "{told}");

    let numbers = work.path("numbers.csv");
    let text: String = (0..60)
        .map(|i| format!("good word{},{}.5\n", 10 + i, i % 3))
        .collect();
    fs::write(&numbers, "text,label\n".to_owned() + &text).unwrap();
    let told = refused(&train(&merged, &numbers, &out, &["--task", "regress"]));
    assert!(told.contains("--new-head"), "{told}");

    done(&train(&merged, &three, &out, &["--new-head"]));
    let found = predict(&merged, &three, &["--adapter", &out]);
    let labels: Vec<&String> = found["probabilities"].as_object().unwrap().keys().collect();
    assert_eq!(labels, ["maybe", "no", "yes"]);
    let again = work.path("again");
    done(&[
        "merge",
        "--model",
        &merged,
        "--adapter",
        &out,
        "--output",
        &again,
    ]);
    let merged_again = predict(&again, &three, &[]);
    assert_eq!(merged_again["label"], found["label"]);
    done(&["verify", "--model", &merged, "--adapter", &out]);
    let more = work.path("more");
    done(&train(&merged, &three, &more, &["--adapter", &out]));
    let _ = rows;
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
    let count = std::cell::Cell::new(0);
    let mixed = rewritten("mixed", &|key| {
        count.set(count.get() + 1);
        key.replace("lora_A.", &format!("lora_A.a{}.", count.get() % 2))
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
        told.contains("several adapters in it") && told.contains("checkpoint-20"),
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
