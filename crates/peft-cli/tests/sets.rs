//! Several adapters with names: one is chosen by a flag, or each row chooses its own.

mod common;

use common::{Workspace, done, refused};

/// Two adapters of different methods, and the rows with a column that chooses between them.
struct Two {
    work: Workspace,
    flags: [String; 2],
    /// For each row the adapter that it chooses, as its number.
    of_rows: Vec<usize>,
}

const NAMES: [&str; 2] = ["low", "spectral"];

impl Two {
    fn new() -> Self {
        let work = Workspace::new();
        let common = [
            "--task",
            "classify",
            "--epochs",
            "1",
            "--learning-rate",
            "1e-2",
            "--max-length",
            "16",
        ];
        work.train("low", &[&common[..], &["--method", "lora"]].concat());
        work.train("spectral", &[&common[..], &["--method", "sdctft"]].concat());
        let rows = std::fs::read_to_string(work.path("rows.csv")).unwrap();
        let mut lines = rows.lines();
        let mut chosen = format!("{},who\n", lines.next().unwrap());
        let mut of_rows = Vec::new();
        for (row, line) in lines.enumerate() {
            let who = row * 7 % 5 % 2;
            chosen += &format!("{line},{}\n", NAMES[who]);
            of_rows.push(who);
        }
        std::fs::write(work.path("chosen.csv"), chosen).unwrap();
        let flags = NAMES.map(|name| format!("{name}={}", work.path(name)));
        Self {
            work,
            flags,
            of_rows,
        }
    }

    /// The arguments of a verb on a file, with both adapters.
    fn with<'a>(&'a self, paths: &'a [String; 2], verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let [model, data] = paths;
        let [low, spectral] = &self.flags;
        let both = [
            verb,
            "--model",
            model,
            "--data",
            data,
            "--adapter",
            low,
            "--adapter",
            spectral,
        ];
        [&both[..], more].concat()
    }
}

#[test]
fn rows_choose_their_adapters_and_get_what_each_predicts_alone() {
    let two = Two::new();
    let paths = ["model", "chosen.csv"].map(|name| two.work.path(name));
    let [model, data] = &paths;
    let alone = NAMES.map(|name| {
        let adapter = two.work.path(name);
        let plain = [
            "predict",
            "--model",
            model,
            "--data",
            data,
            "--adapter",
            &adapter,
        ];
        let plain = done(&plain);
        let chosen = done(&two.with(&paths, "predict", &["--adapter-name", name]));
        assert_eq!(chosen, plain, "{name}");
        plain.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    assert_ne!(alone[0], alone[1]);
    let mixed = done(&two.with(&paths, "predict", &["--adapter-column", "who"]));
    let mixed: Vec<&str> = mixed.lines().collect();
    assert_eq!(mixed.len(), two.of_rows.len());
    for (row, (line, who)) in mixed.iter().zip(&two.of_rows).enumerate() {
        assert_eq!(*line, alone[*who][row]);
    }

    // The evaluation is of the same predictions.
    let evaluate = |more: &[&str]| {
        let printed = done(&two.with(&paths, "eval", more));
        serde_json::from_str::<serde_json::Value>(&printed).unwrap()
    };
    let mixed = evaluate(&["--adapter-column", "who"]);
    let [low, spectral] = NAMES.map(|name| evaluate(&["--adapter-name", name]));
    assert_eq!(mixed["rows"], 160);
    let loss = |one: &serde_json::Value| one["loss"].as_f64().unwrap();
    let (least, most) = (
        loss(&low).min(loss(&spectral)),
        loss(&low).max(loss(&spectral)),
    );
    assert!(
        loss(&mixed) > 0.5 * least && loss(&mixed) < 2.0 * most,
        "{mixed}"
    );
}

#[test]
fn what_is_not_there_is_named() {
    let two = Two::new();
    let paths = ["model", "chosen.csv"].map(|name| two.work.path(name));
    let refuse = |more: &[&str]| refused(&two.with(&paths, "predict", more));
    let error = refuse(&[]);
    assert!(error.contains("--adapter-name") && error.contains("--adapter-column"));
    let error = refuse(&["--adapter-name", "lwo"]);
    assert!(
        error.contains("`lwo`") && error.contains("`low`, `spectral`"),
        "{error}"
    );
    let error = refuse(&["--adapter-name", "__base__"]);
    assert!(error.contains("no head of its own"), "{error}");
    let error = refuse(&["--adapter-column", "whom"]);
    assert!(
        error.contains("no column `whom`") && error.contains("`who`"),
        "{error}"
    );

    let data = std::fs::read_to_string(&paths[1]).unwrap();
    let wrong = two.work.path("wrong.csv");
    let lines = data.lines().enumerate().map(|(number, line)| match number {
        3 => line.replace("low", "hihg").replace("spectral", "hihg"),
        _ => line.to_owned(),
    });
    std::fs::write(&wrong, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let with = [paths[0].clone(), wrong.clone()];
    let error = refused(&two.with(&with, "predict", &["--adapter-column", "who"]));
    for part in [wrong.as_str(), "row 3", "`hihg`", "`low`, `spectral`"] {
        assert!(error.contains(part), "{error} has no {part}");
    }

    let [model, data] = &paths;
    let single = |adapter: &[&str]| {
        refused(&[&["predict", "--model", model, "--data", data], adapter].concat())
    };
    let (low, folder) = (two.flags[0].as_str(), two.work.path("low"));
    let error = single(&["--adapter", low, "--adapter", low, "--adapter-name", "low"]);
    assert!(error.contains("two adapters are called `low`"), "{error}");
    let error = single(&["--adapter", low, "--adapter", low]);
    assert!(error.contains("two adapters are called `low`"), "{error}");
    for nowhere in ["low=/nowhere", "/nowhere"] {
        let error = single(&["--adapter", nowhere]);
        assert!(
            error.contains(&format!("--adapter {nowhere}"))
                && error.contains("adapter_config.json"),
            "{error}"
        );
    }
    let error = single(&["--adapter", &folder, "--adapter-name", "low"]);
    assert!(error.contains("NAME=DIR"), "{error}");
    let error = single(&["--adapter", &folder, "--adapter", &folder]);
    assert!(error.contains("NAME=DIR"), "{error}");
    let error = single(&[
        "--adapter",
        &folder,
        "--adapter",
        low,
        "--adapter-name",
        "low",
    ]);
    assert!(error.contains("all of them"), "{error}");
    let both = ["--adapter-name", "low", "--adapter-column", "who"];
    let output = common::peft(&two.with(&paths, "predict", &both));
    assert_eq!(output.status.code(), Some(2));

    // Trained for other labels.
    let rows = std::fs::read_to_string(two.work.path("rows.csv")).unwrap();
    std::fs::write(two.work.path("rows.csv"), rows.replace("blame", "scorn")).unwrap();
    let flags = ["--task", "classify", "--steps", "1", "--max-length", "16"];
    two.work.train("scorn", &flags);
    let scorn = format!("scorn={}", two.work.path("scorn"));
    let error = single(&[
        "--adapter",
        low,
        "--adapter",
        &scorn,
        "--adapter-name",
        "low",
    ]);
    assert!(
        error.contains("`scorn`") && error.contains("`blame`"),
        "{error}"
    );
}
