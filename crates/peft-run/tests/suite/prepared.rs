//! Runs that share a base and its data.

use std::path::Path;

use peft_run::{Prepared, RunConfig, RunError, train, train_prepared};

use crate::{
    resume::{assert_same, content},
    tiny::{config, workspace},
};

fn variant(model: &Path, data: &Path, output: &Path, method: &str) -> RunConfig {
    let mut config = config(model, data, output);
    config.method = method.into();
    config.epochs = 2.0;
    if method == "pissa" {
        config.method = "lora".into();
        let start = "pissa".into();
        config
            .method_config
            .insert("init_lora_weights".into(), start);
    }
    if method == "lora" {
        config.method_config.insert("r".into(), 2.into());
        config.learning_rate = Some(3e-3);
        config.batch_size = 8;
    }
    config
}

#[test]
fn runs_on_one_base_are_those_by_themselves() {
    let (dir, model, data) = workspace();
    let prepared = Prepared::new(&variant(&model, &data, Path::new(""), "lora")).unwrap();
    assert_eq!(prepared.task().labels.len(), 2);
    assert!(prepared.rows() > 0);
    // PiSSA changes the base's weights; sparse masks look at its gradients first.
    for method in ["lora", "pissa", "sift", "lora"] {
        let output = |name: &str| dir.path().join(format!("{method}-{name}"));
        let alone = variant(&model, &data, &output("alone"), method);
        let shared = variant(&model, &data, &output("shared"), method);
        for one in [&alone.output, &shared.output] {
            let _ = std::fs::remove_dir_all(one);
        }
        let first = train(&alone, &mut ()).unwrap();
        let second = train_prepared(&prepared, &shared, &mut ()).unwrap();
        assert_eq!(first, second, "{method}");
        assert_same(&content(&alone.output), &content(&shared.output));
    }
}

/// What is kept of the frozen blocks changes no bit, in runs of any method and of the same data, with room for all or for some of
/// it; and it is used where a run adapts no block below, with dropout in evaluation alone.
#[test]
fn hidden_states_that_are_kept_change_no_bit() {
    let (dir, model, data) = workspace();
    for (dropout, room) in [(0.0, 1 << 30), (0.0, 20_000), (0.5, 1 << 30)] {
        let mut base = variant(&model, &data, Path::new(""), "lora");
        base.model_dropout = Some(dropout);
        let prepared = Prepared::new(&base).unwrap().keeping_hidden_states(room);
        let mut kept = 0;
        // Where it is the first whose first adapted block is that one.
        for (method, layers, is_first) in [
            ("lora", vec![1], true),
            ("bottleneck", vec![1], false),
            ("lora", vec![0, 1], false),
            ("bitfit", Vec::new(), false),
            ("head", Vec::new(), true),
        ] {
            let output = |name: &str| dir.path().join(name);
            let run = |name: &str| RunConfig {
                model_dropout: Some(dropout),
                layers: layers.clone(),
                ..variant(&model, &data, &output(name), method)
            };
            let (alone, shared) = (run("alone"), run("shared"));
            for one in [&alone.output, &shared.output] {
                let _ = std::fs::remove_dir_all(one);
            }
            let first = train(&alone, &mut ()).unwrap();
            let second = train_prepared(&prepared, &shared, &mut ()).unwrap();
            assert_eq!(first, second, "{method}");
            assert_same(&content(&alone.output), &content(&shared.output));
            let bytes = prepared.hidden_state_bytes();
            match room {
                20_000 => assert!((1..=room).contains(&bytes)),
                _ => assert_eq!(bytes > kept, is_first, "{method} {layers:?}"),
            }
            kept = bytes;
        }
    }
}

#[test]
fn runs_that_ask_for_something_else_are_refused() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let given = config(&model, &data, &output);
    let prepared = Prepared::new(&given).unwrap();
    type Change = fn(&mut RunConfig);
    let changes: [(&str, Change); 4] = [
        ("seed", |config| config.seed = 1),
        ("max_length", |config| config.max_length = 23),
        ("model_dropout", |config| config.model_dropout = Some(0.5)),
        ("eval_data", |config| {
            config.eval_data = Some(config.data.clone())
        }),
    ];
    for (name, change) in changes {
        let mut config = given.clone();
        change(&mut config);
        let error = train_prepared(&prepared, &config, &mut ()).unwrap_err();
        match &error {
            RunError::NotPrepared { setting, .. } => assert_eq!(setting, name),
            other => panic!("{other}"),
        }
        assert!(error.to_string().contains("prepare anew"), "{error}");
        assert!(!output.exists());
    }
}
