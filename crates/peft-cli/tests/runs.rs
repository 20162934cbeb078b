//! Several runs: their reports, and how they are listed and compared.

mod common;

use common::{Workspace, done, refused};
use serde_json::Value;

/// Runs of several ranks and learning rates, one of them of regression, below one folder.
fn several() -> Workspace {
    let work = Workspace::new();
    work.train(
        "runs/a",
        &["--steps", "2", "--rank", "2", "--learning-rate", "1e-5"],
    );
    work.train(
        "runs/b",
        &["--epochs", "3", "--rank", "4", "--learning-rate", "1e-2"],
    );
    work.train(
        "runs/deep/c",
        &["--steps", "3", "--rank", "8", "--method", "dora"],
    );
    work
}

fn objects(printed: &str) -> Vec<Value> {
    printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(runs: &[Value]) -> Vec<String> {
    let last = |run: &Value| {
        run["run"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    };
    runs.iter().map(last).collect()
}

#[test]
fn every_run_below_a_folder_gets_its_report() {
    let work = several();
    let runs = work.path("runs");
    for name in ["a", "b", "deep/c"] {
        std::fs::remove_file(work.path(&format!("runs/{name}/report.html"))).unwrap();
    }
    let printed = done(&["report", &runs]);
    let pages: Vec<&str> = printed.lines().collect();
    assert_eq!(pages.len(), 3, "{printed}");
    for (page, (method, rank)) in pages
        .iter()
        .zip([("lora", "2"), ("lora", "4"), ("dora", "8")])
    {
        let html = std::fs::read_to_string(page).unwrap();
        assert!(html.contains(&format!("{method} on model")), "{page}");
        for word in [
            "praise",
            "precision",
            "Worst rows",
            "kept step",
            "<svg",
            rank,
        ] {
            assert!(
                html.to_lowercase().contains(&word.to_lowercase()),
                "{page}: {word}"
            );
        }
        assert!(!html.contains("NaN") && !html.contains("<script"), "{page}");
    }
    // The same again, byte for byte.
    let before = std::fs::read(pages[0]).unwrap();
    assert_eq!(done(&["report", &work.path("runs/a")]).lines().count(), 1);
    assert_eq!(std::fs::read(pages[0]).unwrap(), before);
    assert!(refused(&["report", &work.path("model")]).contains("no run in it"));
}

#[test]
fn runs_are_sorted_by_what_is_asked() {
    let work = several();
    let runs = work.path("runs");
    let sorted = |column: &str| objects(&done(&["runs", &runs, "--sort", column]));
    assert_eq!(names(&objects(&done(&["runs", &runs]))), ["a", "b", "c"]);
    let by = |column: &str, of: &dyn Fn(&Value) -> f64, ascending: bool| {
        let values: Vec<f64> = sorted(column).iter().map(of).collect();
        let ordered = values.windows(2).all(|pair| match ascending {
            true => pair[0] <= pair[1],
            false => pair[0] >= pair[1],
        });
        assert!(ordered && values.len() == 3, "{column}: {values:?}");
    };
    by(
        "accuracy",
        &|run| run["selection"]["accuracy"].as_f64().unwrap(),
        false,
    );
    by(
        "loss",
        &|run| run["selection"]["loss"].as_f64().unwrap(),
        true,
    );
    by("time", &|run| run["train_time_s"].as_f64().unwrap(), true);
    by("memory", &|run| run["peak_memory"].as_f64().unwrap(), true);
    by(
        "trained",
        &|run| run["trainable_parameters"].as_f64().unwrap(),
        true,
    );
    by("begun", &|run| run["begun"].as_f64().unwrap(), false);
    assert_eq!(names(&sorted("trained"))[0], "a");
    let told = refused(&["runs", &runs, "--sort", "charm"]);
    assert!(
        told.contains("charm") && told.contains("accuracy"),
        "{told}"
    );
}

#[test]
fn only_what_differs_is_shown_of_the_settings() {
    let work = several();
    let runs = work.path("runs");
    let all = objects(&done(&["runs", &runs]));
    let different = all[0]["different"].as_object().unwrap();
    assert!(different.contains_key("learning_rate") && !different.contains_key("seed"));
    let table = done(&["runs", &runs, "--table", "--sort", "accuracy"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[0].contains("learning_rate") && lines[0].contains("accuracy"),
        "{table}"
    );
    assert!(!lines[0].contains("seed"), "{table}");
    assert!(
        lines[1..].iter().all(|line| line.contains("finished")),
        "{table}"
    );
}
