//! What a newcomer sees: help, suggestions, streams that are closed, a run that is gone on with.

mod common;

use std::{
    io::Read,
    process::{Command, Stdio},
};

use common::{Workspace, done, peft, refused};

#[test]
fn help_is_short_and_all_of_it_is_there_on_request() {
    for verb in ["train", "plan"] {
        let (short, all) = (done(&[verb, "--help"]), done(&[verb, "--help-all"]));
        let lines = short.lines().count();
        assert!((20..=30).contains(&lines), "{verb}: {lines} lines\n{short}");
        assert!(all.lines().count() > 3 * lines);
        assert!(
            short.contains("Examples:") && short.contains("--help-all"),
            "{short}"
        );
        for name in ["lora", "fourierft", "shira"] {
            assert!(short.contains(name), "{name}: {short}");
        }
        assert!(!short.contains("--n-frequency") && all.contains("--n-frequency"));
    }
    assert!(done(&["search", "--help-all"]).contains("--n-frequency"));
    assert!(done(&["completions", "bash"]).contains("fourierft"));
}

#[test]
fn what_is_not_there_is_answered_with_what_is_meant() {
    let told = refused(&["train", "--lora-rank", "4"]);
    assert!(
        told.contains("--lora-rank") && told.contains("give --rank"),
        "{told}"
    );
    let told = refused(&["train", "--stop-early"]);
    assert!(told.contains("did you mean --early-stopping?"), "{told}");
    let told = refused(&["eval", "--model", "roberta-base", "--data", "rows.csv"]);
    assert!(told.contains("`FacebookAI/roberta-base`"), "{told}");
    // What is wrong otherwise is told as ever.
    let output = peft(&["eval"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--model"));
}

/// Runs with standard output or error closed at once: no panic, no message.
#[test]
fn readers_may_go_away() {
    let work = Workspace::new();
    work.train("out", &["--steps", "2"]);
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let used = ["--model", &model, "--adapter", &out, "--data", &rows];
    let commands: [Vec<&str>; 6] = [
        [&["predict"], &used[..]].concat(),
        [&["eval"], &used[..]].concat(),
        vec!["config", "schema"],
        vec!["completions", "zsh"],
        vec!["train", "--help-all"],
        vec!["inspect", &model, "--tensors"],
    ];
    for arguments in &commands {
        let start = |out: Stdio, errors: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_peft"));
            command
                .args(arguments)
                .stdout(out)
                .stderr(errors)
                .spawn()
                .unwrap()
        };
        let mut child = start(Stdio::piped(), Stdio::piped());
        drop(child.stdout.take());
        let mut errors = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{arguments:?}: {errors}");
        assert!(
            !errors.contains("panicked") && !errors.contains("pipe"),
            "{errors}"
        );
        let mut child = start(Stdio::null(), Stdio::piped());
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_folder_is_all_that_resuming_needs() {
    let work = Workspace::new();
    let [nowhere, out] = ["nowhere", "out"].map(|name| work.path(name));
    let told = refused(&["train", "--output", &nowhere, "--resume"]);
    assert!(
        told.contains("no run to resume") && told.contains("--model"),
        "{told}"
    );
    work.train("whole", &["--steps", "6", "--rank", "4", "--seed", "7"]);
    // A run that has ended is told again, from its record alone.
    let first = work.train("out", &["--steps", "6", "--rank", "4", "--seed", "7"]);
    let again = done(&["train", "--output", &out, "--resume"]);
    assert_eq!(first, again);
    let told = refused(&["train", "--output", &out, "--resume", "--rank", "2"]);
    assert!(told.contains("rank") || told.contains("`r`"), "{told}");
}
