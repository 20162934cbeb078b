//! `peft quickstart` without the network and without its model, and models by their names.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Workspace, peft, stdout};
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
    assert!(
        said.contains(&format!(
            "LoRA and head               {:5.1} %",
            100.0 * share
        )),
        "{said}"
    );
    assert!(file("quickstart.svg").starts_with("<svg"));
    assert!(file("data/NOTICE").contains("MIT License"));
    for folder in ["head", "lora"] {
        assert!(file(&format!("{folder}/metrics.jsonl")).contains("\"event\":\"final\""));
    }

    let (_, next) = said.split_once("To try next:").unwrap();
    let commands: Vec<&str> = next
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(commands.len(), 4, "{next}");
    for command in commands {
        // As pasted, but for the length of the one that trains.
        let command = command.replace("--epochs 2", "--steps 2");
        let done = shell(&command);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {errors}");
        assert!(!done.stdout.is_empty(), "{command}");
    }
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
    if cfg!(not(feature = "hub")) {
        let line = refused(&["predict", "--model", "org/model", "--data", "x.csv"]);
        assert!(line.contains("--features hub"), "{line}");
    }
}
