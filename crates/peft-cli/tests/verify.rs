//! `peft verify`, and the refusal of bases that an adapter was not trained on.

mod common;

use std::{fs, path::Path};

use common::{Workspace, done, goldens, peft, refused, stdout};
use peft_run::core::format::{AdapterConfig, AdapterFile, save_adapter};
use serde_json::Value;

/// A workspace with an adapter of a few steps in `out`.
fn trained() -> Workspace {
    let work = Workspace::new();
    work.train("out", &["--steps", "3", "--threads", "1"]);
    work
}

/// The same model with its last byte changed: another base of the same shapes.
fn other_base(work: &Workspace) -> String {
    let other = work.path("other");
    fs::create_dir(&other).unwrap();
    for file in ["config.json", "vocab.txt"] {
        fs::copy(
            format!("{}/{file}", work.path("model")),
            format!("{other}/{file}"),
        )
        .unwrap();
    }
    let mut bytes = fs::read(work.path("model/model.safetensors")).unwrap();
    // The second byte from the end: an exponent bit of the last one could make a NaN.
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(format!("{other}/model.safetensors"), bytes).unwrap();
    other
}

/// The report and the exit code of a verification in JSON.
fn verified(model: &str, adapter: &str) -> (i32, Value) {
    let output = peft(&["verify", "--model", model, "--adapter", adapter, "--json"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{errors}"));
    (output.status.code().unwrap(), report)
}

fn kinds(report: &Value) -> Vec<&str> {
    let problems = report["problems"].as_array().unwrap().iter();
    problems
        .map(|problem| problem["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn what_was_just_trained_is_good() {
    let work = trained();
    let (model, out) = (work.path("model"), work.path("out"));
    let (code, report) = verified(&model, &out);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["base"]["same"], true);
    let modules = report["modules"].as_array().unwrap();
    assert!(!modules.is_empty());
    for module in modules {
        assert!(
            module["relative_change"].as_f64().unwrap() > 0.0,
            "{module}"
        );
        assert_eq!(module["zero"], false);
    }
    let shown = done(&["verify", "--model", &model, "--adapter", &out]);
    assert!(
        shown.contains("query") && shown.contains("nothing is wrong"),
        "{shown}"
    );
    // The adapter of the last step has its record, too.
    assert_eq!(verified(&model, &work.path("out/last")).0, 0);
}

#[test]
fn another_base_is_refused_by_every_verb_unless_asked_for() {
    let work = trained();
    let other = other_base(&work);
    let [model, rows, out, target] =
        ["model", "rows.csv", "out", "target"].map(|name| work.path(name));
    let (code, report) = verified(&other, &out);
    assert_eq!((code, kinds(&report)), (1, vec!["other base"]));
    let shown = peft(&["verify", "--model", &other, "--adapter", &out]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(
        stdout(&shown).contains("WRONG     base"),
        "{}",
        stdout(&shown)
    );

    let verbs: [&[&str]; 5] = [
        &["eval", "--data", &rows],
        &["predict", "--data", &rows],
        &["merge", "--output", &target],
        &["convert", "--output", &target],
        &[
            "train", "--data", &rows, "--output", &target, "--steps", "1",
        ],
    ];
    for verb in verbs {
        let mut arguments = vec![verb[0], "--model", &other, "--adapter", &out];
        arguments.extend(&verb[1..]);
        let line = refused(&arguments);
        for part in [model.as_str(), other.as_str(), "--any-base"] {
            assert!(line.contains(part), "{line} has no {part}");
        }
        assert!(
            !std::path::Path::new(&target).exists(),
            "{verb:?} left files"
        );
        arguments.push("--any-base");
        done(&arguments);
        let _ = fs::remove_dir_all(&target);
    }
    // An adapter of PEFT has no record, and is taken at its word.
    fs::remove_file(work.path("out/base.json")).unwrap();
    done(&[
        "eval",
        "--model",
        &other,
        "--adapter",
        &out,
        "--data",
        &rows,
    ]);
    let (code, report) = verified(&other, &out);
    assert_eq!((code, &report["base"]["same"]), (0, &Value::Null));
    assert!(done(&["verify", "--model", &other, "--adapter", &out]).contains("not recorded"));
}

/// Change the configuration of the adapter in `out`.
fn configure(work: &Workspace, change: impl Fn(&mut Value)) {
    let path = work.path("out/adapter_config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(&path, config.to_string()).unwrap();
}

#[test]
fn configuration_and_tensors_must_say_the_same() {
    let work = trained();
    let (model, out) = (work.path("model"), work.path("out"));
    configure(&work, |config| config["r"] = 4.into());
    let (code, report) = verified(&model, &out);
    assert_eq!(code, 1);
    assert!(
        kinds(&report).iter().all(|kind| *kind == "shape"),
        "{report}"
    );
    let problem = report["problems"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("adapter_config.json"), "{problem}");

    let targets = |names: &[&str]| configure(&work, |c| c["target_modules"] = names.into());
    configure(&work, |config| config["r"] = 8.into());
    targets(&["query"]);
    assert!(
        kinds(&verified(&model, &out).1)
            .iter()
            .all(|kind| *kind == "not targeted")
    );
    targets(&["query", "value", "key"]);
    assert!(
        kinds(&verified(&model, &out).1)
            .iter()
            .all(|kind| *kind == "no tensors")
    );
    targets(&["query", "value", "kye"]);
    assert_eq!(kinds(&verified(&model, &out).1), ["target"]);
    targets(&["query", "value"]);
    assert_eq!(verified(&model, &out).0, 0);
    configure(&work, |config| {
        config["modules_to_save"] = Vec::<String>::new().into()
    });
    assert!(kinds(&verified(&model, &out).1).contains(&"not targeted"));
}

#[test]
fn broken_values_are_named() {
    let work = trained();
    let (model, out) = (work.path("model"), work.path("out"));
    let path = work.path("out/adapter_model.safetensors");
    let whole = fs::read(&path).unwrap();
    // The file ends with some tensor's last value.
    let mut broken = whole.clone();
    let len = broken.len();
    broken[len - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &broken).unwrap();
    let (code, report) = verified(&model, &out);
    assert_eq!((code, kinds(&report)), (1, vec!["not finite"]), "{report}");

    // All zero from the end of the header on: nothing is adapted.
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut zero = whole.clone();
    zero[header..].fill(0);
    fs::write(&path, &zero).unwrap();
    let (code, report) = verified(&model, &out);
    assert_eq!(code, 1);
    assert!(
        kinds(&report).iter().all(|kind| *kind == "zero"),
        "{report}"
    );
    assert_eq!(report["modules"][0]["zero"], true);

    // What cannot be read at all cannot be verified.
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(refused(&["verify", "--model", &model, "--adapter", &out]).contains("adapter_model"));
}

#[test]
fn an_adapter_of_another_architecture_is_told_module_by_module() {
    let model = goldens().join("models/distilbert");
    let adapter = goldens().join("adapters/lora_qv");
    let (code, report) = verified(&model.to_string_lossy(), &adapter.to_string_lossy());
    assert_eq!(code, 1);
    assert!(
        kinds(&report).contains(&"no place") && kinds(&report).contains(&"target"),
        "{report}"
    );
}

/// What was cut out of a file is missed by every verb that uses it, and not only here.
#[test]
fn tensors_that_an_adapter_lacks_are_missed_before_it_is_used() {
    let work = trained();
    let [model, rows, out, merged] = ["model", "rows.csv", "out", "merged"].map(|n| work.path(n));
    let whole = AdapterFile::read(Path::new(&out)).unwrap().tensors;
    let config = AdapterConfig::read(Path::new(&out)).unwrap();
    let of_module = |name: &String| name.contains("layer.1.attention.self.query");
    let of_lora = |name: &String| name.contains("lora_");
    for (cut, told) in [
        (
            &of_module as &dyn Fn(&String) -> bool,
            "layer.1.attention.self.query",
        ),
        (&of_lora, "no tensors of lora"),
    ] {
        let kept = whole.iter().filter(|(name, _)| !cut(name));
        let kept = kept.map(|(name, tensor)| (name.clone(), tensor.clone()));
        save_adapter(Path::new(&out), &config, &kept.collect()).unwrap();
        let files = ["--model", &model, "--adapter", &out];
        for verb in [
            &["eval", "--data", &rows][..],
            &["predict", "--data", &rows],
            &["merge", "--output", &merged],
            &["convert", "--output", &merged],
        ] {
            let line = refused(&[verb, &files].concat());
            assert!(
                line.contains(told) && line.contains("adapter_model"),
                "{line}"
            );
        }
    }
}

/// A module in a place of a block changes no weight.
#[test]
fn what_cannot_be_merged_is_told() {
    let work = Workspace::new();
    work.train(
        "out",
        &["--steps", "2", "--threads", "1", "--method", "prompt"],
    );
    let files = [
        "--model",
        &work.path("model"),
        "--adapter",
        &work.path("out"),
    ];
    let shown = done(&[&["verify"][..], &files].concat());
    assert!(shown.contains("it cannot be merged"), "{shown}");
}
