//! `peft plan`, and what else is said before the first step.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Workspace, done, peft, refused, stdout};
use serde_json::Value;

fn planned(arguments: &[&str]) -> Value {
    let mut all = vec!["plan"];
    all.extend(arguments);
    all.push("--json");
    serde_json::from_str(&done(&all)).unwrap()
}

#[test]
fn a_plan_needs_no_data_and_writes_nothing() {
    let work = Workspace::new();
    let (model, out) = (work.path("model"), work.path("out"));
    let plan = planned(&["--model", &model, "--output", &out, "--rank", "4"]);
    assert_eq!(plan["method"], "lora");
    assert!(plan["trainable_parameters"].as_u64().unwrap() > 0);
    assert!(plan["memory"]["peak"].as_u64().unwrap() > 0);
    assert_eq!(
        plan["modules"][0]["name"],
        "bert.encoder.layer.{}.attention.self.query"
    );
    assert_eq!(plan.get("rows"), None);
    assert!(!Path::new(&out).exists());
    let shown = done(&["plan", "--model", &model]);
    assert!(
        shown.contains("left alone") && shown.contains("MB"),
        "{shown}"
    );
}

#[test]
fn training_does_what_was_planned() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let flags = [
        "--model",
        &model,
        "--data",
        &rows,
        "--target-modules",
        "all-linear",
        "--batch-size",
        "16",
        "--epochs",
        "2",
    ];
    let plan = planned(&flags);
    let mut train = vec!["train", "--output", &out];
    train.extend(flags);
    done(&train);
    let log = std::fs::read_to_string(work.path("out/metrics.jsonl")).unwrap();
    let event: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(event["event"], "plan");
    for (key, value) in plan.as_object().unwrap() {
        // Another test may calibrate in between.
        if key != "time" {
            assert_eq!(&event[key], value, "{key}");
        }
    }
    assert_eq!(plan["steps"], last["step"]);
    let file = std::fs::metadata(work.path("out/adapter_model.safetensors")).unwrap();
    assert_eq!(plan["adapter_bytes"], file.len());
    // To continue is to train the same again.
    let again = planned(&["--model", &model, "--data", &rows, "--adapter", &out]);
    for key in [
        "targets",
        "trainable_parameters",
        "head_parameters",
        "adapter_bytes",
    ] {
        assert_eq!(again[key], plan[key], "{key}");
    }
}

#[test]
fn a_target_without_a_match_is_told_with_what_was_meant() {
    let work = Workspace::new();
    let model = work.path("model");
    let output = peft(&["plan", "--model", &model, "--target-modules", "query,valeu"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("valeu; did you mean value"),
        "{}",
        stdout(&output)
    );
    assert!(refused(&["plan", "--model", &model, "--target-modules", "qeury"]).contains("query"));
    assert!(refused(&["plan", "--model", &model, "--max-length", "0"]).contains("--max-length"));
    let nothing = work.path("nowhere.csv");
    assert!(refused(&["plan", "--model", &model, "--data", &nothing]).contains("nowhere.csv"));
}

#[test]
fn time_is_known_after_a_calibration() {
    let work = Workspace::new();
    let (model, cache) = (work.path("model"), work.path("cache"));
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_peft"))
            .args(["plan", "--model", &model])
            .args(arguments)
            .env("PEFT_CACHE", &cache)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        stdout(&output)
    };
    assert!(run(&[]).contains("peft plan --calibrate"));
    assert!(!Path::new(&cache).exists());
    let measured: Value = serde_json::from_str(&run(&["--calibrate", "--json"])).unwrap();
    assert!(measured["time"]["step_s"].as_f64().unwrap() > 0.0);
    let kept: Value =
        serde_json::from_str(&run(&["--json", "--steps", "10", "--device", "cpu"])).unwrap();
    let time = &kept["time"];
    assert_eq!(time["step_s"], measured["time"]["step_s"]);
    let (step, all) = (
        time["step_s"].as_f64().unwrap(),
        time["run_s"].as_f64().unwrap(),
    );
    assert!((all / step - 10.0).abs() < 1e-9);
    // What is broken in the cache is measured again, not an error.
    std::fs::write(work.path("cache/calibration.json"), "{").unwrap();
    assert!(run(&[]).contains("peft plan --calibrate"));
}

#[test]
fn what_is_missing_is_said_once() {
    let work = Workspace::new();
    let (model, rows) = (work.path("model"), work.path("rows.csv"));
    for line in [
        refused(&["inspect", "/nowhere"]),
        refused(&[
            "data",
            "preview",
            "--model",
            &model,
            "--data",
            "/nowhere.csv",
        ]),
    ] {
        assert_eq!(line.matches("No such file").count(), 1, "{line}");
    }
    assert!(refused(&["train", "--model", &model, "--data", &rows]).contains("--output"));
    assert!(refused(&["train", "--model", &model, "--output", "out"]).contains("--data"));
    let preview = ["data", "preview", "--model", &model, "--data", &rows];
    let zero = [&preview[..], &["--max-length", "0"]].concat();
    assert!(refused(&zero).contains("--max-length"));
    let words = refused(&[&preview[..], &["--task", "token-classify"]].concat());
    assert!(words.contains("lists of words"), "{words}");
    let some = done(&[&preview[..], &["--limit", "100"]].concat());
    assert!(some.contains("the first 100; there are more"), "{some}");
    let all = done(&[&preview[..], &["--limit", "160"]].concat());
    assert!(all.contains("rows       160\n"), "{all}");
}

#[test]
fn several_labels_may_stand_in_one_text() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "many.csv", "out"].map(|name| work.path(name));
    let mut text = "text,labels\n".to_owned();
    for i in 0..40 {
        text += ["good,praise|short\n", "bad,blame|short\n"][i % 2];
    }
    std::fs::write(&rows, text).unwrap();
    let flags = ["--model", &model, "--data", &rows, "--label-separator", "|"];
    let train = [
        "train",
        "--task",
        "multi-label",
        "--output",
        &out,
        "--steps",
        "1",
    ];
    done(&[&train[..], &flags].concat());
    let task = std::fs::read_to_string(work.path("out/task.json")).unwrap();
    let task: Value = serde_json::from_str(&task).unwrap();
    assert_eq!(
        task["labels"],
        serde_json::json!(["blame", "praise", "short"])
    );
    let measured = done(&[&["eval", "--adapter", &out][..], &flags].concat());
    let measured: Value = serde_json::from_str(&measured).unwrap();
    assert_eq!(measured["rows"], 40);
    assert!(refused(&[&train[..], &flags[..5], &["||"]].concat()).contains("--label-separator"));
}

#[test]
fn a_plan_refuses_what_training_refuses() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let run = ["--model", &model, "--data", &rows, "--output", &out];
    let impossible: [&[&str]; 6] = [
        &["--method", "sdctft", "--n-frequency", "999999999"],
        &["--method", "fourierft", "--n-frequency", "999999999"],
        &["--method", "loca", "--n-frequency", "999999999"],
        &["--method", "sdctft", "--n-frequency", "0"],
        &["--method", "c3a", "--block-size", "7"],
        &["--rank", "0"],
    ];
    for flags in impossible {
        let lines = ["plan", "train"].map(|verb| refused(&[&[verb], &run[..], flags].concat()));
        assert_eq!(lines[0], lines[1]);
        assert!(!Path::new(&out).exists(), "{flags:?}");
    }
}

#[test]
fn an_adapter_to_continue_keeps_its_targets() {
    let work = Workspace::new();
    work.train("first", &["--steps", "1"]);
    let [model, rows, first, out] =
        ["model", "rows.csv", "first", "out"].map(|name| work.path(name));
    let run = [
        "--model",
        &model,
        "--data",
        &rows,
        "--output",
        &out,
        "--adapter",
        &first,
    ];
    let flags: [[&str; 2]; 4] = [
        ["--target-modules", "key"],
        ["--exclude-modules", "key"],
        ["--layers", "0"],
        ["--modules-to-save", "pooler"],
    ];
    for flag in flags {
        for verb in ["plan", "train"] {
            let line = refused(&[&[verb], &run[..], &flag].concat());
            assert!(line.contains("--adapter"), "{line}");
        }
    }
}
