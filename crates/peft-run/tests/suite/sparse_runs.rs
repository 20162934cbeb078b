//! Whole runs of the sparse methods on a tiny model: probe, training, files, merging.

use peft_run::{MergeOptions, core::format::AdapterConfig, merge, train, verify};
use serde_json::json;

use crate::{
    common::cpu,
    tiny::{config, workspace},
};

#[test]
fn every_sparse_method_trains_verifies_and_merges() {
    let (dir, model, data) = workspace();
    let device = cpu();
    for (index, (method, settings)) in [
        ("shira", json!({ "r": 2, "mask_type": "snip" })),
        ("sift", json!({ "density": 0.05 })),
        ("spiel", json!({ "density": 0.05, "select_every": 3 })),
        (
            "smt",
            json!({ "density": 0.1, "block_size": 8, "probe_batches": 3 }),
        ),
        ("sparsegrad", json!({ "density": 0.05 })),
        (
            "sparsegrad",
            json!({ "density": 0.05, "mask": "topk_fixed", "shared_basis": false }),
        ),
        (
            "sparsegrad",
            json!({ "density": 0.05, "mask": "topk_refresh", "refresh": 4 }),
        ),
        (
            "sparsegrad",
            json!({ "density": 0.05, "mask": "topk_each_step" }),
        ),
        ("gmt", json!({})),
        ("topk_grad", json!({ "mask_update": true })),
        ("meprop", json!({ "k": 4 })),
    ]
    .into_iter()
    .enumerate()
    {
        let run = |part: &str| {
            let output = dir.path().join(format!("{method}-{index}-{part}"));
            let mut config = config(&model, &data, &output);
            config.method = method.to_owned();
            config.epochs = 1.0;
            config.learning_rate = Some(1e-3);
            config.method_config = settings.as_object().unwrap().clone();
            train(&config, &mut ()).unwrap();
            output
        };
        let [output, again] = ["one", "two"].map(run);
        let file = "adapter_model.safetensors";
        let bytes = [&output, &again].map(|folder| std::fs::read(folder.join(file)).unwrap());
        assert!(bytes[0] == bytes[1], "{method} {settings}: other bytes");

        let report = verify(&model, &output, &device).unwrap();
        assert!(
            report.is_good(),
            "{method} {settings}: {:?}",
            report.problems
        );
        assert!(report.relative_change > 0.0);
        let merged = dir.path().join(format!("{method}-{index}-merged"));
        let report = merge(&MergeOptions::new(&model, &output, &merged, &device)).unwrap();
        assert!(
            report.merged > 0 && report.largest_change > 0.0,
            "{method} {settings}"
        );

        let config = AdapterConfig::read(&output).unwrap();
        let targets = format!("{:?}", config.target().modules);
        match method {
            "sparsegrad" => assert!(targets.contains("intermediate|output"), "{targets}"),
            // What the budget left out is not named.
            "smt" => assert!(targets.contains("encoder.layer."), "{targets}"),
            _ => assert!(targets.contains("query"), "{targets}"),
        }
    }
}
