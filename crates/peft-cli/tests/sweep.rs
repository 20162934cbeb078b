//! Sweeps: every combination once, whatever is killed on the way.

mod common;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Workspace, done, refused};
use serde_json::Value;

fn flags(work: &Workspace, output: &str) -> Vec<String> {
    let [model, rows, out] = ["model", "rows.csv", output].map(|name| work.path(name));
    let paths = ["--model", &model, "--data", &rows, "--output", &out];
    let fixed = "--batch-size 16 --max-length 16 --threads 1 --head-learning-rate 1e-2";
    let all = paths.iter().map(|word| (*word).to_owned());
    all.chain(fixed.split(' ').map(str::to_owned)).collect()
}

fn sweep(work: &Workspace, output: &str, more: &[&str]) -> String {
    let flags = flags(work, output);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    done(&[&["sweep"], &flags[..], more].concat())
}

const OVER: [&str; 6] = [
    "--over",
    "rank=2,4",
    "--over",
    "learning_rate=1e-4,1e-2",
    "--epochs",
    "2",
];

/// What a sweep came to, without times and memory.
fn outcome(printed: &str) -> Vec<(String, Value, Value)> {
    let object: Value = serde_json::from_str(printed.trim()).unwrap();
    let trials = object["trials"].as_array().unwrap().iter();
    let of = |trial: &Value| {
        let run = trial["run"].as_str().unwrap().to_owned();
        let name = Path::new(&run)
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        (name, trial["settings"].clone(), trial["selection"].clone())
    };
    trials.map(of).collect()
}

#[test]
fn every_combination_is_trained_and_the_best_is_told() {
    let work = Workspace::new();
    let printed = sweep(&work, "out", &OVER);
    let object: Value = serde_json::from_str(printed.trim()).unwrap();
    let trials = object["trials"].as_array().unwrap();
    assert_eq!((trials.len(), &object["metric"]), (4, &"accuracy".into()));
    let accuracy = |trial: &Value| trial["selection"]["accuracy"].as_f64().unwrap();
    assert!(
        trials
            .iter()
            .all(|one| accuracy(one) <= accuracy(&object["best"]))
    );
    assert_eq!(object["best"], trials[0]);
    // Each is the run that `peft train` makes of the same settings.
    let best = &object["best"]["settings"];
    let [rank, rate] = ["rank", "learning-rate"].map(|name| best[name].as_str().unwrap());
    let alone = flags(&work, "alone");
    let alone: Vec<&str> = alone.iter().map(String::as_str).collect();
    let more = ["--epochs", "2", "--rank", rank, "--learning-rate", rate];
    done(&[&["train"], &alone[..], &more].concat());
    let adapter =
        |folder: &str| std::fs::read(format!("{folder}/adapter_model.safetensors")).unwrap();
    assert_eq!(
        adapter(object["best"]["run"].as_str().unwrap()),
        adapter(&work.path("alone"))
    );
    // All of it is there to look at.
    let read = |name: &str| std::fs::read_to_string(work.path(name)).unwrap();
    let page = read("out/report.html");
    for word in [
        "learning-rate",
        "accuracy",
        "000_rank=2_learning-rate=1e-4",
        "<svg",
    ] {
        assert!(page.contains(word), "{word}");
    }
    let plot = read("out/sweep.svg");
    assert!(
        plot.contains("rank 2") && plot.contains("rank 4") && !plot.contains("NaN"),
        "{plot}"
    );
    assert_eq!(done(&["runs", &work.path("out")]).lines().count(), 4);
    // Once more: nothing is left to do, and the table says the same.
    let table = done(&[
        "sweep",
        "--output",
        &work.path("out"),
        "--resume",
        "--table",
    ]);
    assert!(
        table.lines().next().unwrap().contains("learning-rate"),
        "{table}"
    );
    assert_eq!(table.matches(" done ").count(), 4, "{table}");
    assert!(
        table.contains(object["best"]["run"].as_str().unwrap()),
        "{table}"
    );
}

#[test]
fn a_killed_sweep_ends_as_one_left_alone() {
    let work = Workspace::new();
    let whole = outcome(&sweep(&work, "whole", &OVER));
    let (out, arguments) = (work.path("out"), flags(&work, "out"));
    let mut kills = 0;
    for round in 0..6 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peft"));
        match round {
            0 => command.arg("sweep").args(&arguments).args(OVER),
            _ => command.args(["sweep", "--output", &out, "--resume"]),
        };
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Until the journal is there, then a little longer each time.
        let begun = Instant::now();
        let there = || Path::new(&out).join("journal.jsonl").exists();
        while !there() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(150 + 170 * round));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills > 0);
    let again = outcome(&done(&["sweep", "--output", &out, "--resume"]));
    assert_eq!(again, whole);
    for (name, ..) in &whole {
        let adapter = |sweep: &str| {
            std::fs::read(work.path(&format!("{sweep}/trials/{name}/adapter_model.safetensors")))
        };
        assert_eq!(adapter("whole").unwrap(), adapter("out").unwrap(), "{name}");
    }
}

#[test]
fn a_finished_sweep_is_replaced_when_asked_for_and_nothing_else() {
    let work = Workspace::new();
    let over = ["--steps", "1", "--over", "rank=2,4"];
    sweep(&work, "out", &over);
    let again = |more: &[&str]| {
        let flags = flags(&work, "out");
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        refused(&[&["sweep"], &flags[..], more].concat())
    };
    assert!(again(&over).contains("--overwrite"));
    // A new one that makes no sense costs nothing.
    let wrong = ["--over", "learning-rate=1e-3,0", "--overwrite"];
    assert!(again(&wrong).contains("learning-rate"));
    let notes = work.path("out/trials/000_rank=2/thesis.tex");
    std::fs::write(&notes, "all of it").unwrap();
    let replacing = ["--steps", "1", "--over", "seed=1,2", "--overwrite"];
    assert!(again(&replacing).contains("thesis.tex"));
    std::fs::remove_file(&notes).unwrap();
    sweep(&work, "out", &replacing);
    let trials = std::fs::read_dir(work.path("out/trials")).unwrap();
    let mut names: Vec<String> = trials
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["000_seed=1", "001_seed=2"]);
    // One that was killed is gone on with, or left.
    let journal = work.path("out/journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&journal, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    assert!(again(&replacing).contains("--resume"));
}

#[test]
fn what_makes_no_sweep_is_refused_before_any_run() {
    let work = Workspace::new();
    let with = |output: &str, more: &[&str]| {
        let flags = flags(&work, output);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        refused(&[&["sweep"], &flags[..], more].concat())
    };
    assert!(with("out", &["--over", "rnak=4,8"]).contains("`rank`"));
    assert!(with("out", &["--over", "learning-rate=1e-3,0"]).contains("learning-rate"));
    assert!(with("out", &[]).contains("--over"));
    assert!(!Path::new(&work.path("out")).exists());
    let out = work.path("out");
    assert!(refused(&["sweep", "--output", &out, "--resume"]).contains("no sweep to resume"));
    std::fs::create_dir(&out).unwrap();
    std::fs::write(work.path("out/thesis.tex"), "all of it").unwrap();
    assert!(with("out", &["--over", "rank=2,4"]).contains("something else"));
}

#[test]
fn a_run_that_fails_is_told_and_the_others_go_on() {
    let work = Workspace::new();
    let over = ["--steps", "4", "--over", "target-modules=query;nowhere"];
    let printed = sweep(&work, "out", &over);
    let object: Value = serde_json::from_str(printed.trim()).unwrap();
    let trials = object["trials"].as_array().unwrap();
    assert_eq!(trials[0]["status"], "done");
    assert_eq!(trials[1]["status"], "failed");
    assert!(
        trials[1]["reason"].as_str().unwrap().contains("nowhere"),
        "{printed}"
    );
}
