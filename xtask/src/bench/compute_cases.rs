//! Steps whose products are of bfloat16: beside ours in `f32`, and against PyTorch in `f32` and under `torch.autocast`.

use serde_json::{Value, json};

use super::cases::{Case, Kind};

/// The cases of a setup that has the same name without what is added here.
fn of(name: &str, setup: &Value, iterations: u32) -> Vec<Case> {
    let with = |key: &str, value: Value| {
        let mut setup = setup.clone();
        setup[key] = value;
        setup
    };
    let ours = with("compute", "bf16".into());
    let labelled = |mut setup: Value, label: &str| {
        setup["label"] = label.into();
        setup
    };
    let case = |words: &str, kind, ours, base| Case {
        name: format!("{name}-bf16-{words}"),
        kind,
        ours,
        base: Some(base),
        iterations,
    };
    vec![
        case(
            "vs-f32",
            Kind::Beside,
            labelled(ours.clone(), "bf16"),
            labelled(setup.clone(), "f32"),
        ),
        case(
            "vs-torch-f32",
            Kind::AgainstTorch,
            ours.clone(),
            setup.clone(),
        ),
        case(
            "vs-torch-autocast",
            Kind::AgainstTorch,
            ours,
            with("autocast", json!(true)),
        ),
    ]
}

pub fn all(steps: &[(&str, Value, u32)]) -> Vec<Case> {
    steps
        .iter()
        .flat_map(|(name, setup, iterations)| of(name, setup, *iterations))
        .collect()
}
