//! Predictions: formats, ids, streams, and the tables of evaluations.

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Workspace, done, refused};
use serde_json::Value;

fn trained() -> Workspace {
    let work = Workspace::new();
    let fixed =
        "--epochs 3 --batch-size 16 --learning-rate 1e-2 --head-learning-rate 1e-2 --max-length 16";
    work.train("out", &fixed.split(' ').collect::<Vec<_>>());
    work
}

#[test]
fn rows_come_as_csv_with_their_ids() {
    let work = trained();
    let rows: String = (0..5)
        .map(|i| {
            format!(
                "r{i},\"{} word{}, and more\"\n",
                ["good", "bad"][i % 2],
                10 + i
            )
        })
        .collect();
    std::fs::write(work.path("ids.csv"), format!("key,text\n{rows}")).unwrap();
    let [model, out, data, csv] =
        ["model", "out", "ids.csv", "new/folder/labels.csv"].map(|name| work.path(name));
    let used = [
        "predict",
        "--model",
        &model,
        "--adapter",
        &out,
        "--data",
        &data,
        "--id-column",
        "key",
    ];
    let json = done(&used);
    let written = done(&[&used[..], &["--output", &csv]].concat());
    assert_eq!(written, "");
    let csv_text = std::fs::read_to_string(&csv).unwrap();
    let mut lines = csv_text.lines();
    assert_eq!(
        lines.next(),
        Some("index,id,label,probability_blame,probability_praise")
    );
    for ((number, line), object) in lines.enumerate().zip(json.lines()) {
        let object: Value = serde_json::from_str(object).unwrap();
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[0], number.to_string());
        assert_eq!(
            (cells[1], &object["id"]),
            (format!("r{number}").as_str(), &format!("r{number}").into())
        );
        assert_eq!(cells[2], object["label"].as_str().unwrap());
        let praise: f64 = cells[4].parse().unwrap();
        assert!((praise - object["probabilities"]["praise"].as_f64().unwrap()).abs() < 1e-6);
    }
    // Ours, and so replaced if asked; somebody's table is not.
    assert!(refused(&[&used[..], &["--output", &csv]].concat()).contains("--overwrite"));
    done(&[&used[..], &["--output", &csv, "--overwrite"]].concat());
    assert!(refused(&[&used[..], &["--output", &data, "--overwrite"]].concat()).contains("--data"));
    let top = done(&[&used[..], &["--top-k", "1", "--output-format", "csv"]].concat());
    assert!(
        top.starts_with("index,id,label,top1,probability1\n0,r0,praise,praise,"),
        "{top}"
    );
    assert!(refused(&[&used[..7], &["--id-column", "kye"]].concat()).contains("key"));
    assert!(refused(&[&used[..], &["--top-k", "0"]].concat()).contains("--top-k"));
}

/// Whoever sends a row and waits gets its label before the next.
#[test]
fn a_row_is_answered_before_the_next_is_sent() {
    let work = trained();
    let [model, out] = ["model", "out"].map(|name| work.path(name));
    let mut child = Command::new(env!("CARGO_BIN_EXE_peft"))
        .args([
            "predict",
            "--model",
            &model,
            "--adapter",
            &out,
            "--data",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for (index, (word, label)) in [("good", "praise"), ("bad", "blame"), ("good", "praise")]
        .iter()
        .enumerate()
    {
        writeln!(input, "{{\"text\": \"{word}\"}}").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&object["index"], &object["label"]),
            (&index.into(), &(*label).into()),
            "{line}"
        );
    }
    // Many at once, to the end.
    for index in 0..500 {
        writeln!(input, "{{\"text\": \"good word{}\"}}", 7 + index % 90).unwrap();
    }
    drop(input);
    let rest: Vec<String> = output.lines().map(Result::unwrap).collect();
    assert_eq!(rest.len(), 500);
    let last: Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!(last["index"], 502);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Ctrl-C leaves no half of a file behind.
#[test]
#[cfg(unix)]
fn an_interrupt_removes_what_is_half_written() {
    let work = trained();
    let [model, out, labels] = ["model", "out", "labels.jsonl"].map(|name| work.path(name));
    let mut child = Command::new(env!("CARGO_BIN_EXE_peft"))
        .args([
            "predict",
            "--model",
            &model,
            "--adapter",
            &out,
            "--data",
            "-",
            "--output",
            &labels,
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{{\"text\": \"good\"}}").unwrap();
    let parts = || {
        let entries = std::fs::read_dir(work.path("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("labels.jsonl")).count()
    };
    let begun = Instant::now();
    while parts() == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "nothing was begun"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let done = child.wait_with_output().unwrap();
    let errors = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{errors}");
    assert!(errors.ends_with("peft: interrupted\n"), "{errors}");
    assert_eq!(parts(), 0);
    drop(input);
}

#[test]
fn evaluations_are_tables_where_they_are_read() {
    let work = trained();
    let [model, out, rows] = ["model", "out", "rows.csv"].map(|name| work.path(name));
    let used = [
        "eval",
        "--model",
        &model,
        "--adapter",
        &out,
        "--data",
        &rows,
    ];
    let object: Value = serde_json::from_str(&done(&used)).unwrap();
    let table = done(&[&used[..], &["--table"]].concat());
    let accuracy = format!("{:.4}", object["accuracy"].as_f64().unwrap());
    let line = |start: &str| {
        table
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {table}"))
    };
    assert!(line("accuracy").ends_with(&accuracy), "{table}");
    assert!(line("rows").ends_with("160"), "{table}");
    assert!(
        line("class").contains("precision") && line("true \\ predicted").contains("praise"),
        "{table}"
    );
    assert_eq!(
        table
            .lines()
            .filter(|line| line.starts_with("praise"))
            .count(),
        2,
        "{table}"
    );
}
