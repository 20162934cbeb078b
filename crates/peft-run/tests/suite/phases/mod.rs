//! A run that trains one thing to choose another, interrupted anywhere.

mod method;

use std::path::Path;

use peft_run::{
    Event, Prepared, Progress, RunConfig, RunError, core::WarmUpChoice, core::format::AdapterFile,
    train_method, train_prepared,
};

use self::method::Largest;
use crate::{
    resume::{assert_same, content},
    tiny::{config, workspace},
};

const WARM_UP: u64 = 7;
const STEPS: u64 = 9;

fn largest(resets: bool) -> Box<Largest> {
    Box::new(Largest {
        entries: 12,
        warm_up: WARM_UP,
        resets,
        chosen: WarmUpChoice::new(),
    })
}

/// Asks to stop after so many steps of any phase.
struct Stop {
    after: Option<u64>,
    steps: u64,
}

impl Progress for Stop {
    fn event(&mut self, event: &Event) {
        if let Event::Step { .. } | Event::WarmUp { .. } = event {
            self.steps += 1;
        }
    }

    fn should_stop(&self) -> bool {
        self.after == Some(self.steps)
    }
}

fn settings(model: &Path, data: &Path, output: &Path) -> RunConfig {
    let mut config = config(model, data, output);
    config.steps = Some(STEPS);
    config.model_dropout = Some(0.1);
    config.grad_accumulation = 2;
    config
}

fn go(
    prepared: &Prepared,
    config: &RunConfig,
    resets: bool,
    after: Option<u64>,
) -> Result<(), RunError> {
    let mut stop = Stop { after, steps: 0 };
    train_method(prepared, config, largest(resets), &mut stop).map(drop)
}

#[test]
fn a_run_that_is_ended_in_any_phase_goes_on_to_the_same_bits() {
    let (dir, model, data) = workspace();
    let prepared = Prepared::new(&settings(&model, &data, Path::new(""))).unwrap();
    let whole = dir.path().join("whole");
    go(&prepared, &settings(&model, &data, &whole), true, None).unwrap();
    let expected = content(&whole);
    // In the warm-up, at its very end, at the first step of training, and later.
    let cases: [&[u64]; 5] = [&[0], &[3], &[7], &[2, 5, 0, 4], &[12, 1]];
    for (case, stops) in cases.iter().enumerate() {
        let output = dir.path().join(format!("case{case}"));
        let mut config = settings(&model, &data, &output);
        for stop in *stops {
            let error = go(&prepared, &config, true, Some(*stop)).unwrap_err();
            match &error {
                RunError::InterruptedBefore { phase, total, .. } => {
                    assert_eq!((phase.as_str(), *total), ("warm-up", WARM_UP));
                }
                RunError::Interrupted { total, .. } => assert_eq!(*total, STEPS),
                other => panic!("{other}"),
            }
            config.resume = true;
        }
        go(&prepared, &config, true, None).unwrap();
        assert_same(&content(&output), &expected);
    }
}

#[test]
fn the_warm_up_chooses_and_is_gone() {
    let (dir, model, data) = workspace();
    let prepared = Prepared::new(&settings(&model, &data, Path::new(""))).unwrap();
    let output = dir.path().join("out");
    go(&prepared, &settings(&model, &data, &output), true, None).unwrap();
    let file = AdapterFile::read(&output).unwrap();
    let chosen = file.tensors.keys().filter(|key| key.ends_with(".places"));
    // Queries and values of two layers.
    assert_eq!(chosen.count(), 4);
    assert!(!file.tensors.keys().any(|key| key.ends_with(".change")));
    for (key, tensor) in &file.tensors {
        if key.ends_with(".values") {
            assert_eq!(tensor.shape, [12], "{key}");
        }
    }
    let log = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let count = |event: &str| log.matches(&format!("\"event\":\"{event}\"")).count() as u64;
    assert_eq!((count("warm-up"), count("step")), (WARM_UP, STEPS));

    // After a reset the head begins as that of a run without a warm-up; without one it goes on from there.
    let plain = dir.path().join("plain");
    train_prepared(&prepared, &settings(&model, &data, &plain), &mut ()).unwrap();
    let other = dir.path().join("other");
    go(&prepared, &settings(&model, &data, &other), false, None).unwrap();
    let first = |output: &Path| {
        let log = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
        let line = log.lines().find(|line| line.contains("\"event\":\"step\""));
        let event: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
        event["loss"].as_f64().unwrap()
    };
    assert_eq!(first(&output), first(&plain));
    assert_ne!(first(&other), first(&output));
}

#[test]
fn a_run_without_a_rate_or_with_strange_phases_is_refused() {
    let (dir, model, data) = workspace();
    let mut config = settings(&model, &data, &dir.path().join("out"));
    let prepared = Prepared::new(&config).unwrap();
    let mut method = largest(true);
    method.warm_up = 0;
    let error = train_method(&prepared, &config, method, &mut ()).unwrap_err();
    assert!(error.to_string().contains("no length"), "{error}");
    config.learning_rate = None;
    let error = go(&prepared, &config, true, None).unwrap_err();
    assert!(error.to_string().contains("learning_rate"), "{error}");
}
