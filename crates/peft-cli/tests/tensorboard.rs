//! Runs as TensorBoard reads them.

mod common;

use std::process::Command;

use common::{Workspace, stdout};
use serde_json::Value;

/// What a log says of one figure: step and value.
fn logged(log: &str, event: &str, split: Option<&str>, figure: &str) -> Vec<(u64, f64)> {
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = |line: Value| {
        let fits = line["event"] == event && split.is_none_or(|split| line["split"] == split);
        fits.then(|| {
            (
                line["step"].as_u64().unwrap(),
                line[figure].as_f64().unwrap(),
            )
        })
    };
    lines.filter_map(of).collect()
}

/// Needs `pip install tensorboard` in the Python that the variable names.
#[test]
#[ignore = "needs a Python with the package tensorboard: PEFT_TEST_TENSORBOARD"]
fn tensorboard_reads_what_the_log_says() {
    const SCRIPT: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"tensors": 0, "scalars": 0}).Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
"#;
    let python = std::env::var("PEFT_TEST_TENSORBOARD").expect("PEFT_TEST_TENSORBOARD");
    let work = Workspace::new();
    work.train("out", &["--epochs", "2", "--batch-size", "16"]);
    let out = work.path("out");
    let read = Command::new(python)
        .args(["-c", SCRIPT, &out])
        .output()
        .unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let found: Value = serde_json::from_str(stdout(&read).trim()).unwrap();
    let log = std::fs::read_to_string(format!("{out}/metrics.jsonl")).unwrap();
    for (tag, event, split, figure) in [
        ("train/loss", "step", None, "loss"),
        ("train/learning_rate", "step", None, "learning_rate"),
        ("selection/accuracy", "eval", Some("selection"), "accuracy"),
    ] {
        let points = found[tag]
            .as_array()
            .unwrap_or_else(|| panic!("{tag}: {found}"));
        let expected = logged(&log, event, split, figure);
        assert_eq!(points.len(), expected.len(), "{tag}");
        for (point, (step, value)) in points.iter().zip(expected) {
            assert_eq!(point[0], step);
            assert_eq!(
                point[1].as_f64().unwrap() as f32,
                value as f32,
                "{tag} at {step}"
            );
        }
    }
}

#[test]
fn a_run_leaves_a_record_for_every_line_of_its_log() {
    let work = Workspace::new();
    work.train("out", &["--steps", "5"]);
    let log = std::fs::read_to_string(work.path("out/metrics.jsonl")).unwrap();
    let bytes = std::fs::read(work.path("out/events.out.tfevents.peft")).unwrap();
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        at += 16 + length as usize;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), log.lines().count()));
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"brain.Event:2") && has(b"train/loss") && has(b"selection/accuracy"));
}
