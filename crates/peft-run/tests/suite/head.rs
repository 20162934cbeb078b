//! Training the head alone: what adapters are compared with.

use peft_run::core::format::{AdapterFile, TargetModules};
use peft_run::{BaseOptions, Event, MergeOptions, OpenOptions, Progress, merge, open, train};

use crate::common::cpu;
use crate::tiny::{config, workspace};

/// Losses of the steps, and what the plan says is trained in adapters.
#[derive(Default)]
struct Seen {
    losses: Vec<f64>,
    in_adapters: Option<(usize, usize)>,
}

impl Progress for Seen {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Plan { plan, .. } => {
                self.in_adapters = Some((plan.targets, plan.trainable_parameters));
            }
            Event::Step { loss, .. } => self.losses.push(*loss),
            _ => {}
        }
    }
}

#[test]
fn nothing_but_the_head_is_trained_and_stored() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("head");
    let mut config = config(&model, &data, &output);
    config.method = "head".into();
    let mut seen = Seen::default();
    train(&config, &mut seen).unwrap();
    assert_eq!(seen.in_adapters, Some((0, 0)));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let quarter = seen.losses.len() / 4;
    let (first, last) = seen.losses.split_at(quarter);
    assert!(mean(&last[last.len() - quarter..]) < mean(first));

    let file = AdapterFile::read(&output).unwrap();
    let mut names: Vec<&str> = file.tensors.keys().map(String::as_str).collect();
    names.sort_unstable();
    let prefix = "base_model.model.classifier";
    assert_eq!(
        names,
        [format!("{prefix}.bias"), format!("{prefix}.weight")]
    );

    let device = cpu();
    let adapted = open(&OpenOptions {
        model: &model,
        adapter: Some(&output),
        task: None,
        any_base: false,
        base: BaseOptions::default(),
        device: &device,
    })
    .unwrap();
    let (method, report) = adapted.adapter.unwrap();
    assert_eq!((method.name(), report.targets.len()), ("head", 0));

    let merged = dir.path().join("merged");
    let report = merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
    assert_eq!((report.merged, report.replaced), (0, 2));
}

#[test]
fn targets_are_refused() {
    let (dir, model, data) = workspace();
    let mut config = config(&model, &data, &dir.path().join("head"));
    config.method = "head".into();
    config.target_modules = TargetModules::AllLinear;
    let error = train(&config, &mut ()).unwrap_err().to_string();
    assert!(error.contains("head adapts no modules"), "{error}");
}
