//! Steps whose products are of bfloat16: beside ours in `f32`, and against PyTorch in each of its [modes](MODES).

use serde_json::Value;

use super::cases::{Case, Kind};

/// What precedes the name of a mode in that of a case.
pub const AGAINST: &str = "-bf16-vs-torch-";

/// PyTorch's modes, and what asks for them: the forward pass in `f32` or under `torch.autocast` in bfloat16, either by itself or by
/// `torch.compile`.
const MODES: [(&str, &[&str]); 4] = [
    ("f32", &[]),
    ("autocast", &["autocast"]),
    ("compiled", &["compiled"]),
    ("autocast-compiled", &["autocast", "compiled"]),
];

/// The cases of a setup that has the same name without what is added here.
fn of(name: &str, setup: &Value, iterations: u32) -> Vec<Case> {
    let mut ours = setup.clone();
    ours["compute"] = "bf16".into();
    let labelled = |mut setup: Value, label: &str| {
        setup["label"] = label.into();
        setup
    };
    let beside = Case {
        name: format!("{name}-bf16-vs-f32"),
        kind: Kind::Beside,
        ours: labelled(ours.clone(), "bf16"),
        base: Some(labelled(setup.clone(), "f32")),
        iterations,
    };
    let against = MODES.map(|(mode, keys)| {
        let mut theirs = setup.clone();
        for key in keys {
            theirs[key] = true.into();
        }
        Case {
            name: format!("{name}{AGAINST}{mode}"),
            kind: Kind::AgainstTorch,
            ours: ours.clone(),
            base: Some(theirs),
            iterations,
        }
    });
    std::iter::once(beside).chain(against).collect()
}

pub fn all(steps: &[(&str, Value, u32)]) -> Vec<Case> {
    steps
        .iter()
        .flat_map(|(name, setup, iterations)| of(name, setup, *iterations))
        .collect()
}
