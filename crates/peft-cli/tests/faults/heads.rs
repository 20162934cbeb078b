//! Heads, tasks and names of modules.

use std::fs;
use std::path::Path;

use peft_run::core::format::AdapterFile;
use serde_json::Value;

use crate::common::{Workspace, done, goldens, refused};
use crate::{copy, edit, predict, train};

#[test]
fn names_that_match_nothing_are_errors_with_suggestions() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    for (flags, words) in [
        (
            &["--modules-to-save", "clasifier"][..],
            ["--modules-to-save", "classifier"],
        ),
        (&["--rank-pattern", "qery=2"], ["--rank-pattern", "query"]),
        (&["--alpha-pattern", "valu=2"], ["--alpha-pattern", "value"]),
        (
            &["--exclude-modules", "qery"],
            ["--exclude-modules", "query"],
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
