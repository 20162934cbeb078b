//! When a run selects.

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
