//! When a run selects.

use std::path::Path;

use peft_run::RunError;

use crate::{
    resume::{Stop, assert_same, content, run},
    tiny::{config, workspace},
};

#[test]
fn selections_follow_every_nth_epoch_and_the_last_step() {
    let (dir, model, data) = workspace();
    let settings = |name: &str| {
        let mut config = config(&model, &data, &dir.path().join(name));
        config.epochs = 5.0;
        config.select_epochs = 2;
        config
    };
    let whole = settings("whole");
    let report = run(&whole, 1, &mut Stop::default()).unwrap();
    let text = std::fs::read_to_string(whole.output.join("metrics.jsonl")).unwrap();
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let selections: Vec<u64> = events
        .filter(|event| event["event"] == "eval")
        .map(|event| event["step"].as_u64().unwrap())
        .collect();
    let epoch = report.steps / 5;
    assert_eq!(selections, [2 * epoch, 4 * epoch, report.steps]);

    // Interrupted beyond an epoch that selects nothing.
    let mut parted = settings("parted");
    let error = run(&parted, 1, &mut Stop::after(3 * epoch + 1)).unwrap_err();
    assert!(matches!(error, RunError::Interrupted { .. }), "{error:?}");
    parted.resume = true;
    assert_eq!(run(&parted, 2, &mut Stop::default()).unwrap(), report);
    assert_same(&content(&whole.output), &content(&parted.output));
    parted.select_epochs = 0;
    let error = run(&parted, 1, &mut Stop::default()).unwrap_err();
    assert!(error.to_string().contains("`select_epochs`"), "{error}");
}

/// Steps, splits and figures of the evaluations in a log.
fn evaluations(output: &Path) -> Vec<(u64, String, f64)> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "eval")
        .map(|event| {
            let step = event["step"].as_u64().unwrap();
            let split = event["split"].as_str().unwrap().to_owned();
            (step, split, event["loss"].as_f64().unwrap())
        })
        .collect()
}

#[test]
fn a_run_may_select_by_steps_and_stop_early() {
    let (dir, model, data) = workspace();
    let settings = |name: &str| {
        let mut config = config(&model, &data, &dir.path().join(name));
        config.steps = Some(60);
        config.eval_steps = Some(3);
        config.early_stopping = Some(2);
        config.select_metric = Some("loss".into());
        config.eval_data = Some(data.clone());
        // So large a rate that the loss soon rises again.
        config.learning_rate = Some(0.1);
        config.head_learning_rate = Some(0.1);
        config
    };
    let whole = settings("whole");
    let mut stop = Stop::default();
    let report = run(&whole, 1, &mut stop).unwrap();
    assert!(
        report.steps < 60 && report.steps.is_multiple_of(3),
        "{report:?}"
    );
    // The best, and two that were not better.
    assert_eq!(report.kept_step + 6, report.steps);
    assert!(stop.told("stopped after step"), "{stop:?}");
    let found = evaluations(&whole.output);
    let expected: Vec<u64> = (1..=report.steps / 3).map(|n| 3 * n).collect();
    for split in ["selection", "report"] {
        let steps = found.iter().filter(|one| one.1 == split).map(|one| one.0);
        assert_eq!(steps.collect::<Vec<_>>(), expected, "{split}");
    }
    let losses = found.iter().filter(|one| one.1 == "selection");
    let best = losses.min_by(|a, b| a.2.total_cmp(&b.2)).unwrap();
    assert_eq!(best.0, report.kept_step);

    // Interrupted before and after selections, and while it waits.
    let mut parted = settings("parted");
    for steps in [2, 1, report.steps - 5] {
        let error = run(&parted, 1, &mut Stop::after(steps)).unwrap_err();
        assert!(matches!(error, RunError::Interrupted { .. }), "{error:?}");
        parted.resume = true;
    }
    assert_eq!(run(&parted, 2, &mut Stop::default()).unwrap(), report);
    assert_same(&content(&whole.output), &content(&parted.output));
    // A finished run says the same again.
    assert_eq!(run(&parted, 1, &mut Stop::default()).unwrap(), report);
    parted.early_stopping = Some(3);
    let error = run(&parted, 1, &mut Stop::default()).unwrap_err();
    assert!(error.to_string().contains("`early_stopping`"), "{error}");
    parted.select_metric = Some("acuracy".into());
    let error = run(&parted, 1, &mut Stop::default()).unwrap_err();
    assert!(error.to_string().contains("`select_metric`"), "{error}");
}

#[test]
fn rare_classes_may_weigh_more_and_one_answer_for_all_is_told() {
    let (dir, model, data) = workspace();
    // One row of twelve is praise.
    let rows = std::fs::read_to_string(&data).unwrap();
    let keeps = |(number, row): &(usize, &str)| row.ends_with("blame") || number % 24 == 0;
    let (header, rows) = rows.split_once('\n').unwrap();
    let few: Vec<&str> = rows
        .lines()
        .enumerate()
        .filter(keeps)
        .map(|one| one.1)
        .collect();
    std::fs::write(&data, format!("{header}\n{}\n", few.join("\n"))).unwrap();
    let go = |name: &str, weights: Option<&str>| {
        let mut config = config(&model, &data, &dir.path().join(name));
        config.steps = Some(1);
        config.head_learning_rate = Some(0.5);
        config.select_data = Some(data.clone());
        config.class_weights = weights.map(|text| text.to_owned().into());
        let mut stop = Stop::default();
        let report = run(&config, 1, &mut stop).map(|report| report.selection);
        (report, stop, config.output)
    };
    let (plain, stop, output) = go("plain", None);
    let confusion = plain.unwrap().confusion.unwrap();
    assert_eq!(confusion.only_prediction(), Some(0), "{confusion:?}");
    assert!(stop.told("predicted to be `blame`"), "{stop:?}");
    let card = std::fs::read_to_string(output.join("README.md")).unwrap();
    assert!(
        card.contains("| class | rows | precision | recall | F1 |"),
        "{card}"
    );
    assert!(card.contains("predicted class (across)"), "{card}");
    let weights = dir.path().join("weights.json");
    std::fs::write(&weights, r#"{"praise": 1000}"#).unwrap();
    let (heavy, _, _) = go("heavy", weights.to_str());
    assert_eq!(heavy.unwrap().confusion.unwrap().only_prediction(), Some(1));
    let (balanced, _, output) = go("balanced", Some("balanced"));
    balanced.unwrap();
    let state = std::fs::read_to_string(output.join("checkpoint/state.json")).unwrap();
    assert!(state.contains("--class-weights"), "{state}");
    std::fs::write(&weights, r#"{"prais": 2}"#).unwrap();
    let (error, _, _) = go("wrong", weights.to_str());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("prais") && error.contains("weights.json"),
        "{error}"
    );
}
