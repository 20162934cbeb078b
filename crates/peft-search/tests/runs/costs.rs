//! The known cost of a configuration is what the file of its adapter holds.

use std::path::Path;

use peft_run::{
    Prepared, RunConfig,
    core::{format::AdapterConfig, read_adapter},
    train_prepared,
};
use peft_search::{
    Configuration, Space, Value,
    runs::{RunSpace, Workspace},
};

use crate::Work;

/// Values in an adapter's file beside the head.
fn held(folder: &Path) -> usize {
    let config = AdapterConfig::read(folder).unwrap();
    let method = peft_run::methods::from_config(&config).unwrap();
    let loaded = read_adapter(folder, config, method.as_ref()).unwrap();
    let tensors = loaded.modules.values().flat_map(|fields| fields.values());
    let all = tensors
        .chain(loaded.shared.values())
        .chain(loaded.whole.values());
    all.map(|tensor| tensor.shape.iter().product::<usize>())
        .sum()
}

/// The configuration of named values, with flags on and factors at 1 where nothing is said.
fn configuration(space: &Space, given: &[(&str, Value)]) -> Option<Configuration> {
    let mut values = given.to_vec();
    for parameter in space.parameters() {
        if let Some(value) = parameter.neutral()
            && given.iter().all(|(name, _)| *name != parameter.name)
        {
            values.push((parameter.name.as_str(), value));
        }
    }
    space.configuration(&values).ok()
}

/// Every method that fits an encoder, as it is, in another size and in one layer alone.
#[test]
fn known_values_are_those_that_files_hold() {
    let work = Work::new();
    let shared = RunConfig {
        steps: Some(12),
        worst_rows: 0,
        output: "".into(),
        ..work.run("")
    };
    let prepared = Prepared::new(&shared).unwrap();
    let space = Workspace::new(&prepared, &shared, &[]).unwrap();
    let method = &space.space().parameters()[0];
    let choice = |name: &str| Value::Choice(name.into());
    let mut seen = 0;
    for level in 0..method.levels() {
        let Value::Choice(name) = method.value(level) else {
            panic!("the methods have names");
        };
        let own = ("method", choice(&name));
        let variants = [
            vec![own.clone()],
            vec![
                own.clone(),
                ("size", Value::Number(0.5)),
                ("layer_0", Value::Flag(false)),
            ],
            vec![
                own.clone(),
                ("size", Value::Number(2.0)),
                ("place", choice("both")),
            ],
            vec![
                own.clone(),
                ("place", choice("attention")),
                ("layer_0", Value::Flag(false)),
            ],
        ];
        for (variant, values) in variants.iter().enumerate() {
            let Some(configuration) = configuration(space.space(), values) else {
                continue;
            };
            let mut config = space.settings(&shared, &configuration).unwrap();
            config.output = work.path(&format!("{name}-{variant}"));
            train_prepared(&prepared, &config, &mut ())
                .unwrap_or_else(|error| panic!("{name} {values:?}: {error}"));
            let known = space.values(&configuration);
            let held = held(&config.output) as f64;
            match name.as_str() {
                // It is trained with more values than are left of it in the end, which depend on the training.
                "adalora" => assert!(held <= known, "{held} {known} {values:?}"),
                _ => assert_eq!(held, known, "{name} {values:?}"),
            }
            assert!(known < space.most(), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
    let left_out = |name: &str| space.left_out().iter().any(|one| one.method == name);
    for name in ["sdt", "sdlora", "initial_state", "state_offset", "affix"] {
        assert!(left_out(name), "{name} is of state-space models");
    }
    assert!(left_out("smt"), "its values are known after gradients only");
    for name in [
        "lora",
        "dora",
        "adalora",
        "sdctft",
        "prefix",
        "bottleneck",
        "bitfit",
    ] {
        assert!(!left_out(name), "{:?}", space.left_out());
    }
}
