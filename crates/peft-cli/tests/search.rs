//! Searches from outside: killed at any moment, shared by workers, asked for what they found.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use common::{Workspace, done, peft, refused, stdout};
use serde_json::Value;

const PEFT: &str = env!("CARGO_BIN_EXE_peft");

fn arguments(work: &Workspace, output: &Path, trials: u64) -> Vec<String> {
    let (model, data) = (work.path("model"), work.path("rows.csv"));
    let text = format!(
        "search --model {} --data {} --task classify --output {} --methods lora,bottleneck,bitfit --trials {trials} \
         --initial 3 --epochs 2 --batch-size 16 --max-length 24 --threads 1 --search-seed 5 --attempts 99 --log-format json",
        model,
        data,
        output.display()
    );
    text.split_whitespace().map(str::to_owned).collect()
}

fn start(arguments: &[String]) -> Child {
    let mut command = Command::new(PEFT);
    let pipes = command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    pipes.spawn().unwrap()
}

/// The journal without times and workers.
fn events(folder: &Path) -> Vec<Value> {
    let journal = fs::read_to_string(folder.join("journal.jsonl")).unwrap();
    let lines = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = lines.filter_map(|line| line.get("search").cloned());
    events.collect()
}

fn kept(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("front.json")).unwrap()
}

/// `kill -9` at any moment leaves a folder from which the same command goes on to the same journal and front.
#[test]
fn a_killed_search_goes_on_to_the_same() {
    let work = Workspace::new();
    let [calm, killed] = ["calm", "killed"].map(|name| PathBuf::from(work.path(name)));
    assert!(start(&arguments(&work, &calm, 6)).wait().unwrap().success());
    let command = arguments(&work, &killed, 6);
    let mut kills = 0;
    loop {
        let mut child = start(&command);
        // A hindered machine may get nowhere between two kills: the last process is left to end.
        if kills < 25 {
            std::thread::sleep(Duration::from_millis(150 + 67 * (kills % 11)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
        }
        match child.wait().unwrap().code() {
            Some(0) => break,
            Some(code) => panic!("the search ended with {code}"),
            None => {}
        }
    }
    assert!(kills > 0);
    assert_eq!(events(&killed), events(&calm));
    assert_eq!(kept(&killed), kept(&calm));
}

#[test]
fn a_search_is_asked_for_what_it_found() {
    let work = Workspace::new();
    let folder = PathBuf::from(work.path("study"));
    let path = folder.display().to_string();
    let output = peft(
        &arguments(&work, &folder, 5)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    let log = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    let result: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(result["trials"], 5);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ended = lines.iter().filter(|line| line["event"] == "trial");
    assert_eq!(ended.count(), 5, "{log}");

    let status: Value = serde_json::from_str(&done(&["search", "status", &path])).unwrap();
    assert_eq!(status["spent"]["trials"], 5);
    let best: Value = serde_json::from_str(&done(&["search", "best", &path])).unwrap();
    let most = best["values"].as_f64().unwrap();
    let adapter = PathBuf::from(best["adapter"].as_str().unwrap());
    assert!(adapter.join("adapter_model.safetensors").exists());
    let small = format!("{}", most as u64 - 1);
    let smaller = peft(&["search", "best", &path, "--max-parameters", &small]);
    if smaller.status.code() == Some(0) {
        let smaller: Value = serde_json::from_str(&stdout(&smaller)).unwrap();
        assert!(smaller["values"].as_f64().unwrap() < most);
        assert!(smaller["selection"].as_f64() <= best["selection"].as_f64());
    }
    assert_eq!(
        peft(&["search", "best", &path, "--max-parameters", "1"])
            .status
            .code(),
        Some(1)
    );
    let report = done(&["search", "report", &path]);
    assert!(fs::read_to_string(report.trim()).unwrap().contains("<svg"));

    // What is put in the queue is tried next, by a worker that is told nothing but the folder.
    let told = refused(&["search", "enqueue", &path, "methd=lora"]);
    assert!(told.contains("methd"), "{told}");
    for (values, said) in [
        (
            &["method=bitfit", "size=2"][..],
            "size: it does not count with method bitfit, only with",
        ),
        (
            &["method=lora", "method=bitfit"],
            "method: it is given twice",
        ),
        (
            &["layer_0=off", "layer_1=off"],
            "forbidden combination: layer_0 off, layer_1 off",
        ),
        (
            &["size=huge"],
            "size: `huge` is none of its values: 0.125, ",
        ),
    ] {
        let told = refused(&[&["search", "enqueue", &path][..], values].concat());
        assert!(told.contains(said) && !told.contains('['), "{told}");
    }
    done(&[
        "search",
        "enqueue",
        &path,
        "method=lora",
        "size=0.25",
        "layer_0=off",
    ]);
    let queued: Value = serde_json::from_str(&done(&["search", "status", &path])).unwrap();
    assert_eq!(queued["queued"], 1);
    let more = arguments(&work, &folder, 6);
    done(&more.iter().map(String::as_str).collect::<Vec<_>>());
    let last = events(&folder);
    let last = last.iter().rfind(|line| line["event"] == "asked").unwrap();
    assert_eq!(last["origin"], "enqueued");
    // A folder for the report need not be there.
    let reports = folder.join("reports/new");
    done(&[
        "search",
        "report",
        &path,
        "--output",
        reports.to_str().unwrap(),
    ]);
    assert!(reports.join("report.html").is_file());
    // It is replaced there, what something else wrote is not, and what that found is not told.
    let reported = [
        "search",
        "report",
        &path,
        "--output",
        reports.to_str().unwrap(),
    ];
    fs::write(reports.join("front.json"), "theirs").unwrap();
    done(&reported);
    fs::write(reports.join("report.html"), "<title>theirs</title>").unwrap();
    assert!(refused(&reported).contains("report.html"));
    assert_eq!(
        fs::read_to_string(reports.join("report.html")).unwrap(),
        "<title>theirs</title>"
    );
    // There is nothing left for a worker but to say so.
    done(&["search", "worker", "--study", &path, "--threads", "1"]);
}

#[test]
fn a_search_of_no_trials_is_described_and_takes_what_it_is_to_try() {
    let work = Workspace::new();
    let folder = PathBuf::from(work.path("study"));
    let path = folder.display().to_string();
    let run = |trials: u64| {
        let arguments = arguments(&work, &folder, trials);
        let output = done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        serde_json::from_str::<Value>(output.trim()).unwrap()
    };
    assert_eq!(run(0)["trials"], 0);
    assert!(!folder.join("trials").exists());
    let events_of = |kind: &str| {
        let lines = events(&folder).into_iter();
        lines.filter(|line| line.to_string().contains(kind)).count()
    };
    let before = events_of("enqueued");
    done(&["search", "enqueue", &path, "size=2"]);
    assert_eq!(events_of("enqueued"), before + 1);
    assert_eq!(run(1)["trials"], 1);
}

#[test]
fn what_a_search_chooses_is_not_given() {
    let work = Workspace::new();
    let folder = PathBuf::from(work.path("study"));
    let mut given = arguments(&work, &folder, 2);
    given.extend(["--learning-rate".into(), "1e-3".into()]);
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let told = refused(&given);
    assert!(
        told.contains("--learning-rate") && told.contains("chooses"),
        "{told}"
    );
    let told = refused(&["search", "--space", "nowhere", "--output", "x"]);
    assert!(told.contains("nowhere"), "{told}");
    let told = refused(&["search", "statsu", "nowhere"]);
    assert!(told.contains("`peft search status`"), "{told}");
    for limit in ["--total-epochs", "--idle"] {
        let output = peft(&["search", limit, "0"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(limit) && told.contains("1 or more"), "{told}");
    }
    let told = refused(&["search", "status", "nowhere"]);
    assert!(told.contains("study"), "{told}");
    assert!(!folder.exists());
}

/// `--initial` is the sampler's that has it, and an error for one that has not: it changes what a search tries.
#[test]
fn a_sampler_takes_its_settings_or_refuses_them() {
    let work = Workspace::new();
    for (sampler, place, usual) in [
        ("bayes", "initial", 20),
        ("autopeft", "initial", 100),
        ("motpe", "initial", 20),
        ("nsga2", "population", 50),
    ] {
        for (given, expected) in [(None, usual), (Some("4"), 4)] {
            let folder = PathBuf::from(work.path(&format!("{sampler}-{expected}")));
            let mut words: Vec<String> = arguments(&work, &folder, 1);
            let at = words.iter().position(|word| word == "--initial").unwrap();
            words.drain(at..at + 2);
            words.extend(["--sampler", sampler].map(str::to_owned));
            words.extend(
                given
                    .iter()
                    .flat_map(|n| ["--initial".to_owned(), (*n).to_owned()]),
            );
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            done(&words);
            let study = fs::read_to_string(folder.join("study.json")).unwrap();
            let study: Value = serde_json::from_str(&study).unwrap();
            assert_eq!(study["settings"][place], expected, "{sampler}: {study}");
        }
    }
    for (sampler, initial, said) in [
        ("random", "4", "learns from no trial"),
        ("nsga2", "1", "at least 2"),
        ("nsga2", "18446744073709551615", "at most 1,000,000"),
    ] {
        let folder = PathBuf::from(work.path("refused"));
        let mut words = arguments(&work, &folder, 1);
        words.extend(["--sampler", sampler, "--initial", initial].map(str::to_owned));
        let at = words.iter().position(|word| word == "--initial").unwrap();
        words.drain(at..at + 2);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let told = refused(&words);
        assert!(told.contains("--initial") && told.contains(said), "{told}");
        assert!(!folder.exists());
    }
}

/// A search in which nothing came to its end says so to scripts.
#[test]
fn a_search_without_a_result_ends_with_1() {
    let work = Workspace::new();
    let folder = PathBuf::from(work.path("study"));
    let space = work.path("space.toml");
    let places = "[[parameters]]\nname = \"target_modules\"\nchoices = [\"nowhere\", \"nobody\"]\n";
    fs::write(&space, places).unwrap();
    let mut words = arguments(&work, &folder, 2);
    let at = words.iter().position(|word| word == "--methods").unwrap();
    words.drain(at..at + 2);
    words.extend(["--space".into(), space.clone()]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = peft(&words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let result: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(result["front"], serde_json::json!([]));
    // A value that no run can have is refused instead, with its file.
    fs::write(&space, places.replace("target_modules", "method")).unwrap();
    let told = refused(&words);
    assert!(told.contains("space.toml: parameter method"), "{told}");
}
