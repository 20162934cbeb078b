//! `peft quickstart` without the network and without its model, and models by their names.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Workspace, goldens, peft, stdout};
use serde_json::Value;

#[test]
fn a_run_writes_what_it_says_and_its_next_steps_work() {
    let work = Workspace::new();
    let [model, out] = ["model", "my out"].map(|name| work.path(name));
    let run = peft(&[
        "quickstart",
        "--model",
        &model,
        "--output",
        &out,
        "--steps",
        "2",
        "--threads",
        "2",
        "--offline",
    ]);
    let said = stdout(&run);
    let errors = String::from_utf8_lossy(&run.stderr);
    // Two steps of a tiny model that knows none of the words: both say the same of every tweet.
    assert_eq!(run.status.code(), Some(1), "{errors}");
    assert!(errors.contains("not ahead"), "{errors}");
    let file = |name: &str| std::fs::read_to_string(Path::new(&out).join(name)).unwrap();
    let result: Value = serde_json::from_str(&file("quickstart.json")).unwrap();
    assert_eq!(
        (&result["rows"], &result["ahead"]),
        (&1000.into(), &false.into())
    );
    let share = result["accuracy"]["lora"].as_f64().unwrap();
    let line = |name: &str| said.lines().find(|line| line.trim().starts_with(name));
    let lora = line("LoRA and head").unwrap();
    assert!(
        lora.ends_with(&format!("{:5.1} %", 100.0 * share)),
        "{said}"
    );
    // The tiny model's features tell more than what two steps train.
    let features = result["accuracy"]["features"].as_f64().unwrap();
    assert!((0.65..1.0).contains(&features), "{features}");
    let features = format!("{:5.1} %", 100.0 * features);
    assert!(
        line("frozen model, logistic").unwrap().ends_with(&features),
        "{said}"
    );
    assert!(file("quickstart.svg").starts_with("<svg"));
    assert!(file("data/NOTICE").contains("MIT License"));
    for folder in ["head", "lora"] {
        assert!(file(&format!("{folder}/metrics.jsonl")).contains("\"event\":\"final\""));
    }

    try_next(&said, 4, "--epochs 2");
}

/// The commands of the closing words work as pasted, but for the length of the one that trains.
#[track_caller]
fn try_next(said: &str, count: usize, length: &str) {
    let (_, next) = said.split_once("To try next:").unwrap();
    let commands: Vec<&str> = next
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(commands.len(), count, "{next}");
    for command in commands {
        let command = command.replace(length, "--steps 2");
        let done = shell(&command);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {errors}");
        assert!(!done.stdout.is_empty(), "{command}");
    }
}

/// A copy of a tiny language model that reads long texts, with a chat template or without.
fn talking(folder: &str, template: bool) {
    std::fs::create_dir(folder).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let from = goldens().join("llama_tiny").join(name);
        std::fs::copy(from, Path::new(folder).join(name)).unwrap();
    }
    let config = Path::new(folder).join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let long = text.replace(
        "\"max_position_embeddings\": 64",
        "\"max_position_embeddings\": 1024",
    );
    assert_ne!(long, text);
    std::fs::write(&config, long).unwrap();
    let mut settings = serde_json::json!({
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 1024,
    });
    if template {
        settings["chat_template"] = "{% for m in messages %}{{ m.role[0] }}. {{ m.content }}</s>\
            {% endfor %}{% if add_generation_prompt %}a. {% endif %}"
            .into();
    }
    let path = Path::new(folder).join("tokenizer_config.json");
    std::fs::write(path, settings.to_string()).unwrap();
}

#[test]
fn a_language_model_is_measured_before_and_after_and_its_next_steps_work() {
    let work = Workspace::new();
    let [model, out] = ["talking", "my out"].map(|name| work.path(name));
    talking(&model, true);
    let flags = [
        "quickstart",
        "--causal",
        "--model",
        &model,
        "--output",
        &out,
        "--steps",
        "2",
        "--threads",
        "2",
        "--offline",
    ];
    let run = peft(&flags);
    let said = stdout(&run);
    let errors = String::from_utf8_lossy(&run.stderr);
    let file = |name: &str| std::fs::read_to_string(Path::new(&out).join(name)).unwrap();
    let result: Value = serde_json::from_str(&file("quickstart.json")).unwrap();
    let better = result["better"].as_bool().unwrap();
    assert_eq!(run.status.code(), Some(i32::from(!better)), "{errors}");
    assert_eq!(result["rows"], 200);
    for (side, words) in [("before", "the model as it was"), ("after", "with LoRA")] {
        let perplexity = result[side]["perplexity"].as_f64().unwrap();
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with(words));
        let shown: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(
            (shown - perplexity).abs() <= 0.005 * (1.0 + 1e-9),
            "{line:?}"
        );
    }
    let ratio = &result["ratio"];
    let middle = ratio["after_over_before"].as_f64().unwrap();
    let [low, high] = [0, 1].map(|end: usize| ratio["interval"][end].as_f64().unwrap());
    assert!(low <= middle && middle <= high, "{ratio}");
    assert_eq!(better, high < 1.0);
    let examples = result["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let question = example["question"].as_str().unwrap();
        assert!(said.contains(question.trim()), "{said}");
        assert!(
            example["expected"]
                .as_str()
                .unwrap()
                .contains("The answer is")
        );
    }
    assert!(file("quickstart.svg").starts_with("<svg"));
    assert!(file("data/NOTICE").contains("MIT License"));
    assert!(file("lora/metrics.jsonl").contains("\"event\":\"final\""));

    // What it says of the adapter is what `peft eval` says.
    let held_out = format!("{out}/data/held-out.jsonl");
    let adapter = format!("{out}/lora");
    let measured = peft(&[
        "eval",
        "--model",
        &model,
        "--adapter",
        &adapter,
        "--data",
        &held_out,
        "--each-row",
    ]);
    let lines: Vec<Value> = stdout(&measured)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (total, rows) = lines.split_last().unwrap();
    assert_eq!(rows.len(), 200);
    let tokens: u64 = rows.iter().map(|row| row["tokens"].as_u64().unwrap()).sum();
    assert_eq!(result["tokens"], tokens);
    let nats: f64 = rows
        .iter()
        .map(|row| row["loss"].as_f64().unwrap() * row["tokens"].as_f64().unwrap())
        .sum();
    let perplexity = (nats / tokens as f64).exp();
    for other in [
        total["perplexity"].as_f64().unwrap(),
        result["after"]["perplexity"].as_f64().unwrap(),
    ] {
        assert!(
            (perplexity / other - 1.0).abs() < 1e-9,
            "{perplexity} {other}"
        );
    }
    try_next(&said, 5, "--epochs 1");

    // A finished run is not replaced unasked, and comes to the same when it is.
    let again = peft(&flags);
    assert_eq!(again.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&again.stderr);
    assert!(errors.contains("--overwrite"), "{errors}");
    let replaced = peft(&[&flags[..], &["--overwrite"]].concat());
    assert_eq!(replaced.status.code(), run.status.code());
    assert_eq!(
        serde_json::from_str::<Value>(&file("quickstart.json")).unwrap(),
        result
    );
    // And so it does when it goes on.
    let resumed = peft(&[&flags[..], &["--resume"]].concat());
    assert_eq!(resumed.status.code(), run.status.code());
}

#[test]
fn a_model_that_does_not_talk_is_refused_before_anything_is_computed() {
    let work = Workspace::new();
    let [encoder, silent, out] = ["model", "silent", "out"].map(|name| work.path(name));
    let quickstart = |model: &str| {
        common::refused(&["quickstart", "--causal", "--model", model, "--output", &out])
    };
    let line = quickstart(&encoder);
    assert!(line.contains("encoder"), "{line}");
    talking(&silent, false);
    let line = quickstart(&silent);
    assert!(line.contains("no chat template"), "{line}");
    assert!(!Path::new(&out).exists());
}

fn shell(command: &str) -> Output {
    Command::new("sh").args(["-c", command]).output().unwrap()
}

#[test]
fn a_name_without_a_model_ends_with_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_peft"))
            .args(arguments)
            .envs([("PEFT_CACHE", cache.path()), ("HF_HOME", cache.path())])
            .env_remove("HF_HUB_CACHE")
            .env("HF_TOKEN", "hf_secret_of_the_test")
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(!errors.contains("hf_secret"), "{errors}");
        errors
    };
    let line = refused(&[
        "--offline",
        "eval",
        "--model",
        "org/model",
        "--data",
        "x.csv",
    ]);
    assert!(
        line.contains("`org/model`") && line.contains("--offline"),
        "{line}"
    );
    let line = refused(&["quickstart", "--offline", "--output", "never"]);
    assert!(
        line.contains("all-MiniLM-L6-v2") && line.contains("--model"),
        "{line}"
    );
    let line = refused(&["quickstart", "--causal", "--offline", "--output", "never"]);
    assert!(
        line.contains("SmolLM2-135M-Instruct") && line.contains("--model"),
        "{line}"
    );
    if cfg!(not(feature = "hub")) {
        let line = refused(&["predict", "--model", "org/model", "--data", "x.csv"]);
        assert!(line.contains("--features hub"), "{line}");
    }
}
